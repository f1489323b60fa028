"""A watched folder that vanishes, returns, or loses its events."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from waiting import until
from watch_scene import WHOLE, watched

from livepick.core.formats.file_version import FileVersion
from livepick.ledger.inbox import Landed

BINDFS, UMOUNT = shutil.which("bindfs"), shutil.which("umount")


@pytest.mark.parametrize("mode", ["inotify", "poll"])
def test_loss_and_return_of_a_folder_are_reported(tmp_path: Path, mode: str) -> None:
    root = tmp_path / "share"
    root.mkdir()
    (root / "a.mrc").write_bytes(WHOLE)
    with watched(root, mode=mode, rescan_seconds=0.2) as scene:
        scene.wait_for("a.mrc")
        root.rename(tmp_path / "away")
        until(lambda: scene.roots()[-1] is False, "the loss")
        assert scene.watcher.health().folders[0].space is None
        (tmp_path / "away" / "b.mrc").write_bytes(WHOLE)
        (tmp_path / "away").rename(root)
        until(lambda: scene.roots() == [True, False, True], "the return")
        scene.wait_for("a.mrc", "b.mrc")
        space = scene.watcher.health().folders[0].space
        assert space is not None
        assert 0 < space.free_bytes < space.size_bytes
        (root / "c.mrc").write_bytes(WHOLE)
        scene.wait_for("a.mrc", "b.mrc", "c.mrc")


def test_recreated_folder_gets_new_events(tmp_path: Path) -> None:
    """An inotify watch stays with the old folder; the next scan here is an hour away."""
    root = tmp_path / "share"
    root.mkdir()
    with watched(root) as scene:
        scene.wait_until_watched()
        root.rename(tmp_path / "old")
        root.mkdir()
        until(lambda: scene.watcher.health().restarts > 0 or False in scene.roots(), "a restart")
        until(lambda: scene.watcher.health().folders[0].available, "the folder")
        (root / "a.mrc").write_bytes(WHOLE)
        scene.wait_for("a.mrc")


def test_folder_created_later_is_watched(tmp_path: Path) -> None:
    root = tmp_path / "later"
    with watched(root, rescan_seconds=0.2) as scene:
        until(lambda: scene.roots() == [False], "the first state")
        root.mkdir()
        (root / "a.mrc").write_bytes(WHOLE)
        scene.wait_for("a.mrc")
        assert scene.roots() == [False, True]


def test_folder_is_checked_when_a_worker_cannot_read_a_file(tmp_path: Path) -> None:
    """The loss is known at once, not at the next scan."""
    root = tmp_path / "share"
    root.mkdir()
    (root / "a.mrc").write_bytes(WHOLE)
    with watched(root, mode="poll") as scene:
        scene.wait_for("a.mrc")
        root.rename(tmp_path / "away")
        scene.watcher.not_found(root, Path("a.mrc"), gone=True)
        until(lambda: scene.roots() == [True, False], "the loss")
        assert scene.watcher.health().folders[0].mode == "poll"


def test_unmounted_share_is_unavailable_and_not_empty(
    tmp_path: Path,
) -> None:
    known = {(tmp_path, Path("a.mrc")): FileVersion(1, 2, 3)}
    with watched(tmp_path, known, rescan_seconds=0.2) as scene:
        until(lambda: scene.roots() == [False], "the state")
        (tmp_path / "b.mrc").write_bytes(WHOLE)
        scene.wait_for("b.mrc")


def test_dead_threads_of_watchdog_are_replaced(tmp_path: Path) -> None:
    """Files that came in between are found by the next scan."""
    with watched(tmp_path) as scene:
        scene.wait_until_watched()
        notifier = scene.watcher._watched[0]._notifier
        assert notifier is not None
        for emitter in list(notifier._observer.emitters):
            emitter.stop()
        (tmp_path / "a.mrc").write_bytes(WHOLE)
        scene.wait_for("a.mrc")
        assert scene.watcher.health().restarts == 1
        (tmp_path / "b.mrc").write_bytes(WHOLE)
        scene.wait_for("a.mrc", "b.mrc")


@pytest.mark.skipif(
    BINDFS is None or UMOUNT is None or not os.access("/dev/fuse", os.W_OK),
    reason="needs bindfs and /dev/fuse: a mount that others write to from behind",
)
def test_network_mount_is_polled_and_may_be_unmounted(tmp_path: Path) -> None:
    """Writes by other machines cause no event; an unmounted share looks empty."""
    assert BINDFS
    assert UMOUNT
    behind, mount = tmp_path / "behind", tmp_path / "mount"
    behind.mkdir()
    mount.mkdir()
    subprocess.run([BINDFS, behind, mount], check=True)
    try:
        # Scans come when they are told to: during one, the share cannot be unmounted.
        with watched(mount, mode="auto", rescan_seconds=3600) as scene:
            scene.wait_until_watched()
            (state,) = scene.watcher.health().folders
            assert (state.mode, state.detail) == ("poll", "fuse, poll")
            (behind / "a.mrc").write_bytes(WHOLE)
            scene.watcher.scan_soon()
            scene.wait_for("a.mrc")
            landed = next(m for m in scene.messages if isinstance(m, Landed))
            assert landed.version.inode == 0
            subprocess.run([UMOUNT, mount], check=True)
            scene.watcher.scan_soon()
            until(lambda: scene.roots()[-1] is False, "the loss")
            (behind / "b.mrc").write_bytes(WHOLE)
            subprocess.run([BINDFS, behind, mount], check=True)
            until(lambda: "b.mrc" in scene.landed(), "the return")
            assert scene.roots() == [True, False, True]
            assert sorted(scene.landed()) == ["a.mrc", "b.mrc"]
    finally:
        subprocess.run([UMOUNT, "-l", mount], check=False)

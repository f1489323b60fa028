"""The watcher, with real files: each complete file lands once, and no other."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until
from watch_scene import DEADLINE_SECONDS, PIXELS, WHOLE, Scene, header, watched

from livepick.config.sections import Watch
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.header import Header
from livepick.ingest import folder
from livepick.ingest.scan import Found
from livepick.ingest.watch_health import FileEvents
from livepick.ingest.watcher import Watcher
from livepick.ledger.inbox import Landed, Message, SetAside


@pytest.fixture(params=["inotify", "poll"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Watch a folder, with events for each file or with scans only."""
    rescan = 3600 if request.param == "inotify" else 0.2
    with watched(tmp_path, mode=request.param, rescan_seconds=rescan) as scene:
        scene.wait_until_watched()
        yield scene


@pytest.mark.parametrize(("mode", "rescan_seconds"), [("inotify", 3600), ("poll", 0.2)])
def test_files_in_the_first_listing_are_marked(
    tmp_path: Path, mode: str, rescan_seconds: float
) -> None:
    """Their age is unknown. Files that come later are not marked, nor is new content.

    A file that the ledger knows is not reported again.
    """
    for name in ("old.mrc", "known.mrc"):
        (tmp_path / name).write_bytes(WHOLE)
    known = {(tmp_path, Path("known.mrc")): FileVersion.of((tmp_path / "known.mrc").stat())}
    with watched(tmp_path, known, mode=mode, rescan_seconds=rescan_seconds) as scene:
        scene.wait_until_watched()
        scene.wait_for("old.mrc")
        for name in ("new.mrc", "known.mrc"):
            (tmp_path / name).write_bytes(header() + PIXELS[::-1])
        scene.wait_for("old.mrc", "new.mrc", "known.mrc")

    marks = {str(m.relative): m.at_start for m in scene.messages if isinstance(m, Landed)}
    assert marks == {"old.mrc": True, "new.mrc": False, "known.mrc": False}


def test_files_that_are_there_at_the_start_land(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.mrc").write_bytes(WHOLE)
    with watched(tmp_path) as scene:
        scene.wait_for("a/b.mrc")
    landed = next(m for m in scene.messages if isinstance(m, Landed))
    assert landed.version == FileVersion.of((tmp_path / "a" / "b.mrc").stat())
    assert abs(landed.landed_at - time.time()) < DEADLINE_SECONDS


def test_what_the_ledger_knows_is_not_sent_again(tmp_path: Path) -> None:
    for name in ("old.mrc", "changed.mrc"):
        (tmp_path / name).write_bytes(WHOLE)
    known = {
        (tmp_path, Path("old.mrc")): FileVersion.of((tmp_path / "old.mrc").stat()),
        (tmp_path, Path("changed.mrc")): FileVersion(1, 2, 3),
    }
    with watched(tmp_path, known) as scene:
        scene.wait_for("changed.mrc")


def test_a_file_written_slowly_in_place_lands_when_it_is_whole(scene: Scene) -> None:
    with (scene.root / "slow.mrc").open("wb", buffering=0) as file:
        for start in range(0, len(WHOLE), 512):
            assert scene.landed() == []
            file.write(WHOLE[start : start + 512])
            time.sleep(0.1)
    scene.wait_for("slow.mrc")


def test_file_whose_header_comes_last_is_never_set_aside(scene: Scene) -> None:
    with (scene.root / "mc2.mrc").open("wb", buffering=0) as file:
        file.seek(1024)
        file.write(PIXELS)
        until(lambda: scene.watcher.health().watching == 1, "the file to be seen")
        time.sleep(0.4)  # twice the settling time
        file.seek(0)
        file.write(header())
    scene.wait_for("mc2.mrc")
    assert scene.set_aside() == {}


def test_a_presized_file_lands_only_after_its_content(scene: Scene) -> None:
    with (scene.root / "smb.mrc").open("wb", buffering=0) as file:
        file.truncate(len(WHOLE))
        time.sleep(0.4)
        assert scene.landed() == []
        file.write(WHOLE)
    scene.wait_for("smb.mrc")


def test_rename_and_rsync_and_hidden_folders_land_under_the_final_name(scene: Scene) -> None:
    for temporary, final in (
        (".a.mrc.X1y2Zz", "a.mrc"),
        ("b.mrc.part", "b.mrc"),
        (".~tmp~/c.mrc", "c.mrc"),
        ("d.tmp", "d.MRC"),
    ):
        place = scene.root / temporary
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(WHOLE)
        time.sleep(0.05)
        place.rename(scene.root / final)
    scene.wait_for("a.mrc", "b.mrc", "c.mrc", "d.MRC")


def test_a_new_folder_with_an_immediate_file_loses_nothing(scene: Scene) -> None:
    names = []
    for k in range(50):
        folder = scene.root / f"GridSquare_{k}" / "Data"
        folder.mkdir(parents=True)
        (folder / "x.mrc").write_bytes(WHOLE)
        names.append(f"GridSquare_{k}/Data/x.mrc")
    scene.wait_for(*names)


def test_a_folder_moved_in_from_outside_lands(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "job002"
    (outside / "Movies").mkdir(parents=True)
    (outside / "Movies" / "x.mrc").write_bytes(WHOLE)
    outside.rename(scene.root / "job002")
    scene.wait_for("job002/Movies/x.mrc")


def test_replaced_content_lands_again_with_its_version(scene: Scene) -> None:
    path = scene.root / "x.mrc"
    path.write_bytes(WHOLE)
    scene.wait_for("x.mrc")
    other = scene.root / ".x"
    other.write_bytes(WHOLE[:-1] + b"!")
    other.rename(path)
    until(lambda: len(scene.landed()) == 2, "the new content")
    first, second = (m for m in scene.messages if isinstance(m, Landed))
    assert first.version != second.version == FileVersion.of(path.stat())


def test_renames_of_relion_and_motioncor_end_with_the_weighted_image(tmp_path: Path) -> None:
    """X.mrc is first the unweighted sum, and X_DW.mrc is renamed to it; X.star comes last."""
    with watched(tmp_path, preset="relion") as scene:
        scene.wait_until_watched()
        (tmp_path / "X.mrc").write_bytes(WHOLE)
        (tmp_path / "X_DW.mrc").write_bytes(WHOLE[:-1] + b"!")
        time.sleep(0.4)
        (tmp_path / "X.mrc").rename(tmp_path / "X_noDW.mrc")
        (tmp_path / "X_DW.mrc").rename(tmp_path / "X.mrc")
        time.sleep(0.4)
        assert scene.landed() == []
        (tmp_path / "X.star").write_text("data_\n")
        scene.wait_for("X.mrc")
        landed = next(m for m in scene.messages if isinstance(m, Landed))
        assert landed.version == FileVersion.of((tmp_path / "X.mrc").stat())


def test_motioncor_preset_prefers_the_weighted_image(tmp_path: Path) -> None:
    with watched(tmp_path, preset="motioncor") as scene:
        scene.wait_until_watched()
        (tmp_path / "X.mrc").write_bytes(WHOLE[:-1])  # it is first, and does not land before
        for name in ("X_DW.mrc", "X_ODD.mrc", "Y.mrc", "X.mrc"):
            (tmp_path / name).write_bytes(WHOLE)
        scene.wait_for("X_DW.mrc", "Y.mrc")


def test_file_waits_until_its_forbidden_sidecar_is_removed(tmp_path: Path) -> None:
    with watched(tmp_path, preset="cryoem-services") as scene:
        scene.wait_until_watched()
        (tmp_path / "X.tmp").touch()
        (tmp_path / "X.mrc").write_bytes(WHOLE)
        (tmp_path / "Y.mrc").write_bytes(WHOLE)
        scene.wait_for("Y.mrc")
        (tmp_path / "X.tmp").unlink()
        scene.wait_for("Y.mrc", "X.mrc")


def test_bad_files_are_set_aside_with_a_reason_and_land_when_fixed(
    tmp_path: Path,
) -> None:
    (tmp_path / "movie.mrc").write_bytes(header(depth=40) + PIXELS)
    (tmp_path / "garbage.mrc").write_bytes(b"garbage!" * 1000)
    (tmp_path / "packed.mrc").write_bytes(header(mode=101) + PIXELS)
    (tmp_path / "truncated.mrc").write_bytes(WHOLE[:-1])
    (tmp_path / "zeros.mrc").write_bytes(bytes(5000))
    (tmp_path / "empty.mrc").touch()
    (tmp_path / "good.mrc").write_bytes(WHOLE)
    with watched(tmp_path, incomplete_timeout_seconds=1) as scene:
        until(lambda: len(scene.set_aside()) == 5, f"five reasons, not {scene.set_aside()}")
        scene.wait_for("good.mrc")
        assert scene.set_aside() == {
            "movie.mrc": "movie",
            "garbage.mrc": "header",
            "packed.mrc": "header",
            "truncated.mrc": "incomplete",
            "zeros.mrc": "incomplete",
        }
        (tmp_path / "truncated.mrc").write_bytes(WHOLE)
        (tmp_path / "movie.mrc").write_bytes(WHOLE)
        scene.wait_for("good.mrc", "truncated.mrc", "movie.mrc")


def test_file_that_returns_unchanged_is_sent_again(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A job that found it missing has failed; the ledger knows whether it needs it."""
    path, away = scene.root / "x.mrc", tmp_path_factory.mktemp("outside") / "x.mrc"
    path.write_bytes(WHOLE)
    scene.wait_for("x.mrc")
    path.rename(away)
    until(lambda: "x.mrc" in scene.watcher._watched[0].folder._missing, "its absence")
    away.rename(path)
    until(lambda: scene.landed() == ["x.mrc", "x.mrc"], "its return")


def test_file_that_a_worker_did_not_find_is_sent_again(tmp_path: Path) -> None:
    """It may have been back before a scan missed it; one that could not be read is not awaited."""
    (tmp_path / "x.mrc").write_bytes(WHOLE)
    (tmp_path / "y.mrc").write_bytes(WHOLE)
    with watched(tmp_path, rescan_seconds=0.2) as scene:
        scene.wait_for("x.mrc", "y.mrc")
        scene.watcher.not_found(tmp_path, Path("y.mrc"), gone=False)
        scene.watcher.not_found(tmp_path, Path("x.mrc"), gone=True)
        until(lambda: len(scene.landed()) == 3, "its return")
        assert sorted(scene.landed()) == ["x.mrc", "x.mrc", "y.mrc"]
        assert scene.roots() == [True]


def test_two_thousand_files_at_once_land_once_each(scene: Scene) -> None:
    names = [f"square_{k % 20}/mic_{k:04d}.mrc" for k in range(2000)]
    for name in names:
        path = scene.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(WHOLE)
    scene.wait_for(*names)
    assert scene.watcher.health().watching == 0


def test_events_are_counted_by_type(tmp_path: Path) -> None:
    """Events for files that are not micrographs count too."""
    with watched(tmp_path) as scene:
        scene.wait_until_watched()
        (tmp_path / "a").write_bytes(b"text")
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "b").unlink()
        until(lambda: scene.watcher.health().events == FileEvents(1, 1, 1, 1), "four events")


def test_overflow_causes_a_scan(tmp_path: Path) -> None:
    with watched(tmp_path) as scene:
        scene.wait_until_watched()
        before = scene.watcher.health().last_scan_at
        logging.getLogger("watchdog.observers.inotify_c").warning(
            "Inotify queue overflowed; filesystem events were lost"
        )
        until(lambda: scene.watcher.health().last_scan_at > before, "the scan")
        assert scene.watcher.health().overflows == 1


def test_links_are_ignored_unless_the_config_follows_them(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.mrc").write_bytes(WHOLE)
    (tmp_path / "plain.mrc").write_bytes(WHOLE)
    (tmp_path / "file.mrc").symlink_to(outside / "x.mrc")
    (tmp_path / "dangling.mrc").symlink_to(outside / "none.mrc")
    (tmp_path / "device.mrc").symlink_to("/dev/zero")
    (tmp_path / "folder").symlink_to(outside)
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.mrc")
    with watched(tmp_path) as scene:
        scene.wait_for("plain.mrc")
    with watched(tmp_path, follow_symlinks=True) as scene:
        scene.wait_until_watched()
        until(lambda: "folder/x.mrc" in scene.landed(), "the linked folder")
        scene.wait_for("plain.mrc", "file.mrc", "folder/x.mrc")


def test_names_are_arbitrary_bytes(scene: Scene) -> None:
    name = os.fsdecode(b"\xff\xfe l\xe9 \n.mrc")
    (scene.root / name).write_bytes(WHOLE)
    scene.wait_for(name)


def test_failing_receiver_does_not_stop_the_watcher(tmp_path: Path) -> None:
    """Watching continues after an unexpected failure, counts it, and tries the file again."""
    received: list[Message] = []

    def send(message: Message) -> None:
        if isinstance(message, Landed) and message.relative == Path("a.mrc"):
            raise RuntimeError("full")
        received.append(message)

    config = Watch.model_validate(
        {"directories": [tmp_path], "settle_seconds": 0.2, "rescan_seconds": 1}
    )
    watcher = Watcher(config, send)
    watcher.start()
    try:
        (tmp_path / "a.mrc").write_bytes(WHOLE)
        until(lambda: watcher.health().errors >= 1, "the failure")
        (tmp_path / "b.mrc").write_bytes(WHOLE)
        until(lambda: any(isinstance(m, Landed) for m in received), "the next file")
        until(lambda: watcher.health().errors >= 2, "the next try")
    finally:
        watcher.stop(DEADLINE_SECONDS)
    assert "watch" not in {thread.name for thread in threading.enumerate()}


def test_a_file_that_no_reader_expected_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error becomes one of the file; the others land."""
    read = folder.read_header

    def broken(path: Path, *, follow_symlinks: bool) -> Header:
        if path.name == "odd.mrc":
            raise RecursionError("maximum recursion depth exceeded")
        return read(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(folder, "read_header", broken)
    received: list[Message] = []
    config = Watch.model_validate({"directories": [tmp_path], "settle_seconds": 0.2})
    watcher = Watcher(config, received.append)
    for name in ("a.mrc", "odd.mrc"):
        (tmp_path / name).write_bytes(WHOLE)
    watcher.start()
    try:
        until(lambda: sum(isinstance(m, Landed | SetAside) for m in received) == 2, "both files")
    finally:
        watcher.stop()
    (odd,) = (message for message in received if isinstance(message, SetAside))
    assert odd.relative == Path("odd.mrc")
    assert "RecursionError" in odd.error
    assert watcher.health().errors == 1


def test_the_first_of_many_files_land_before_the_last_are_listed(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with thousands of files is moved here; its files come one after another."""
    monkeypatch.setattr(folder, "AT_ONCE", 1)
    (watched_folder,) = scene.watcher._watched
    take_in, listed = watched_folder.folder._take_in, set()
    first = threading.Event()

    def slow(found: Found, *, first_listing: bool = False) -> bool:
        if found.relative not in listed:
            listed.add(found.relative)
            if len(listed) == len(names):  # the last one waits until another has landed
                first.wait(120)
            time.sleep(0.1)
        return take_in(found, first_listing=first_listing)

    monkeypatch.setattr(watched_folder.folder, "_take_in", slow)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    names = [f"{number:02d}.mrc" for number in range(20)]
    for name in names:
        (outside / name).write_bytes(WHOLE)
    outside.rename(tmp_path / "burst")
    until(lambda: bool(scene.landed()), "the first")
    first.set()
    scene.wait_for(*(f"burst/{name}" for name in names))

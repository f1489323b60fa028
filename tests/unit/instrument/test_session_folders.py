"""Search for the sessions of an instrument, and their names."""

import contextlib
import os
import re
import time
from pathlib import Path

import pytest

from livepick.instrument.session_folders import FoundSession, SessionFolders
from livepick.instrument.session_names import session_name

ALLOWED = re.compile(r"[\w.+-]{1,100}")


def test_a_link_to_a_session_beside_it_is_never_one_itself(tmp_path, monkeypatch):
    """Not even while that session is renamed, and the link has just found it."""
    (tmp_path / "s1").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "s1")
    (tmp_path / "elsewhere").mkdir()
    folders = SessionFolders(tmp_path / "{session}")
    real = os.scandir

    def without_s1(path):
        kept = [entry for entry in real(path) if entry.name != "s1"]
        return contextlib.nullcontext(kept)

    monkeypatch.setattr(os, "scandir", without_s1)
    found = {each.folder.name: each.state for each in folders.search().sessions}
    assert found == {"current": "same", "elsewhere": "ready"}


def test_a_time_in_the_future_counts_as_that_of_the_look(tmp_path):
    """The clock of a file server may be ahead; the next look says the same."""
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "a.mrc").touch()
    os.utime(tmp_path / "s1", (time.time() + 3600,) * 2)
    folders = SessionFolders(tmp_path / "{session}")
    (first,) = folders.search().sessions
    (second,) = folders.search().sessions
    assert first.newest_at <= time.time()
    assert second.newest_at == first.newest_at


def test_folders_of_a_file_system_are_no_sessions(tmp_path):
    for name in ("lost+found", "$RECYCLE.BIN", ".snapshot", "s1"):
        (tmp_path / name).mkdir()
    listing = SessionFolders(tmp_path / "{session}").search()
    assert ([each.folder.name for each in listing.sessions], listing.hidden) == (["s1"], 3)


@pytest.mark.parametrize("folder", ["s1", "2026-11-30_ribosome.v2", "a+b", "_x"])
def test_a_name_that_is_one_is_kept(folder: str) -> None:
    assert session_name(folder) == folder


@pytest.mark.parametrize(
    "folder",
    ["a b", "Köln", "x" * 200, "日本", "a\nb", "..", "-v", "a\udcff", "a/b", "{session}", "é" * 90],
)
def test_another_name_becomes_a_valid_one_of_its_own(folder: str) -> None:
    name = session_name(folder)
    assert ALLOWED.fullmatch(name)
    assert name.isascii()
    assert session_name(name) == name
    assert session_name(folder + " ") != name


def search(root: Path, pattern: str = "{session}/MotionCorr") -> dict[str, FoundSession]:
    found = SessionFolders(root / pattern).search()
    return {each.folder.name: each for each in found.sessions}


def test_a_folder_is_ready_when_the_folder_of_its_micrographs_is_there(tmp_path: Path) -> None:
    (tmp_path / "s1" / "MotionCorr").mkdir(parents=True)
    (tmp_path / "s2").mkdir()
    (tmp_path / "notes.txt").touch()
    found = search(tmp_path)
    assert {name: each.state for name, each in found.items()} == {"s1": "ready", "s2": "incomplete"}
    assert found["s2"].detail == "MotionCorr does not exist yet"
    assert found["s1"].newest_at is None


def test_the_newest_file_may_be_in_a_sub_folder(tmp_path: Path) -> None:
    grid = tmp_path / "s1" / "MotionCorr" / "grid1"
    grid.mkdir(parents=True)
    folders = SessionFolders(tmp_path / "{session}/MotionCorr")
    assert folders.search().sessions[0].newest_at is None
    (grid / "a.mrc").touch()
    os.utime(grid, (1000.5, 1000.5))
    os.utime(grid.parent, (2000, 2000))
    assert folders.search().sessions[0].newest_at == 1000.5


def test_a_prefix_of_the_name_may_be_given(tmp_path: Path) -> None:
    for name in ("run_a", "run_b", "other", "run_"):
        (tmp_path / name).mkdir()
    folders = SessionFolders(tmp_path / "run_{session}")
    listing = folders.search()
    assert [folders.name_of(each.folder) for each in listing.sessions] == ["a", "b"]
    assert listing.others == 2


def test_a_link_to_another_session_is_not_picked_twice(tmp_path: Path) -> None:
    (tmp_path / "zebra" / "MotionCorr").mkdir(parents=True)
    (tmp_path / "current").symlink_to("zebra")
    (tmp_path / "loop").symlink_to("loop")
    found = search(tmp_path)
    assert {name: each.state for name, each in found.items()} == {
        "zebra": "ready",
        "current": "same",
    }
    assert "zebra" in found["current"].detail


def test_a_link_to_a_folder_elsewhere_is_a_session(tmp_path: Path) -> None:
    (tmp_path / "disk" / "MotionCorr").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "s1").symlink_to(tmp_path / "disk")
    assert search(tmp_path / "root")["s1"].state == "ready"


def test_hidden_folders_are_counted_and_left_out(tmp_path: Path) -> None:
    (tmp_path / ".snapshot" / "MotionCorr").mkdir(parents=True)
    listing = SessionFolders(tmp_path / "{session}/MotionCorr").search()
    assert (listing.sessions, listing.hidden) == ((), 1)


def test_a_name_that_is_no_text_is_said_and_harms_no_other(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/a\xff")  # noqa: PTH102 - Path has no bytes
    (tmp_path / "s1" / "MotionCorr").mkdir(parents=True)
    found = search(tmp_path)
    assert found["a\udcff"].state == "unreadable_name"
    assert found["s1"].state == "ready"


def test_a_root_that_is_missing_is_said(tmp_path: Path) -> None:
    listing = SessionFolders(tmp_path / "data" / "{session}").search()
    assert listing.is_missing
    assert listing.fault
    (tmp_path / "data").touch()
    listing = SessionFolders(tmp_path / "data" / "{session}").search()
    assert listing.fault
    assert not listing.is_missing


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_harms_no_other(tmp_path: Path) -> None:
    (tmp_path / "s1" / "MotionCorr").mkdir(parents=True)
    (tmp_path / "s2" / "MotionCorr").mkdir(parents=True)
    (tmp_path / "s1" / "MotionCorr").chmod(0)
    found = search(tmp_path)
    (tmp_path / "s1" / "MotionCorr").chmod(0o755)
    assert (found["s1"].state, found["s2"].state) == ("denied", "ready")


def test_a_folder_where_the_pattern_has_a_file_is_incomplete(tmp_path: Path) -> None:
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "MotionCorr").touch()
    found = search(tmp_path, "{session}/MotionCorr/Micrographs")
    assert found["s1"].state == "incomplete"

"""The output folder: where files are, and how they are written and removed."""

import errno
from pathlib import Path

import pytest
from picked_micrographs import ROOT

from livepick.errors import MicrographError, OutputError
from livepick.host import atomic_files
from livepick.picking.output_tree import (
    Branches,
    remove_file,
    sweep,
    write_file,
    write_if_different,
)


@pytest.mark.parametrize(
    ("roots", "branches"),
    [
        (["/x/avg"], ["."]),
        (["/x/avg", "/x/avg"], [".", "."]),
        (["/x/avg", "/y/sums"], ["avg", "sums"]),
        (["/x/avg", "/y/avg", "/z"], ["x/avg", "y/avg", "z"]),
    ],
)
def test_several_watched_folders_do_not_collide(roots, branches):
    """Each has a folder with its own name, and its parents' names where those are equal."""
    tree = Branches([Path(root) for root in roots])
    places = [tree.place(Path(root), Path("sub/a.b.mrc")) for root in roots]
    assert places == [Path(branch, "sub/a.b") for branch in branches]


def test_a_watched_folder_of_later_has_a_folder_of_its_name():
    """It was not known when the tree was made."""
    assert Branches([ROOT]).place(Path("/data/new"), Path("a.mrc")) == Path("new/a")


@pytest.mark.parametrize("name", ["a\nb.mrc", 'a"b.mrc', "a\udce9.mrc", "a\x7f.mrc"])
def test_names_that_no_star_file_can_contain_are_refused(name):
    """A retry does not help, so the error must differ from that of a full disk."""
    with pytest.raises(MicrographError) as caught:
        Branches([ROOT]).place(ROOT, Path(name))
    assert not caught.value.retryable


@pytest.mark.parametrize("name", ["a b.mrc", "b's.mrc", "b's c.mrc", "krypton-µg_é_粒子.mrc", "#1"])
def test_names_with_spaces_apostrophes_and_unicode_are_kept(name):
    assert Branches([ROOT]).place(ROOT, Path(name)).name == Path(name).stem


def test_folders_are_created_for_a_file(tmp_path):
    write_file(tmp_path / "one/two/a.txt", b"1")
    assert (tmp_path / "one/two/a.txt").read_bytes() == b"1"


def test_a_name_that_is_too_long_is_an_error_of_the_micrograph(tmp_path):
    """It cannot have a file, and need not have one removed."""
    path = tmp_path / ("x" * 256)
    with pytest.raises(MicrographError) as caught:
        write_file(path, b"")
    assert not caught.value.retryable
    remove_file(path)


def test_a_folder_in_the_way_is_an_error_of_the_micrograph(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(MicrographError, match="directory"):
        write_file(tmp_path / "a.txt", b"1")


def test_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    """Nothing is half-written, and the error is retryable."""
    write_file(tmp_path / "a.txt", b"before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    for write in (write_file, write_if_different):
        with pytest.raises(OutputError, match="No space left") as caught:
            write(tmp_path / "a.txt", b"after")
        assert caught.value.retryable
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_an_unchanged_file_is_not_written_again(tmp_path):
    path = tmp_path / "out" / "list"
    assert write_if_different(path, b"1")
    inode = path.stat().st_ino
    assert not write_if_different(path, b"1")
    assert path.stat().st_ino == inode
    assert write_if_different(path, b"2")


def test_removing_a_missing_file_is_not_an_error(tmp_path):
    """The result is the same."""
    (tmp_path / "a").touch()
    remove_file(tmp_path / "a")
    remove_file(tmp_path / "a")
    remove_file(tmp_path / "no folder" / "a")
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_only_our_unfinished_files(tmp_path):
    """Sub-folders are swept; files of other programs stay."""
    folder = tmp_path / "sub"
    folder.mkdir()
    for name in (".livepick-abc.tmp", "other.tmp", "a_autopick.star"):
        (folder / name).touch()
    assert sweep(tmp_path) == 1
    assert {path.name for path in folder.iterdir()} == {"other.tmp", "a_autopick.star"}
    assert sweep(tmp_path / "missing") == 0

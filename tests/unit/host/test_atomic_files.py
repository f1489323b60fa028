"""Files are whole or absent, and get the permissions of the umask."""

import os
import stat

import pytest

from livepick.host.atomic_files import replace_if_different, write_atomically


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    """With UMask=0027 in the unit, other users cannot read the picks."""
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "picks.star", b"data")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "picks.star").stat().st_mode) == 0o640


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """The disk is full when the new content is synced."""
    path = tmp_path / "picks.star"
    path.write_bytes(b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["picks.star"]


def test_a_large_file_is_replaced_only_if_it_differs(tmp_path):
    """It is written bit by bit, and nothing is left behind."""
    path = tmp_path / "picks.cs"

    def write(file):
        file.write(b"0" * 100_000)
        file.write(b"1")
        file.seek(0)
        file.write(b"2")

    assert replace_if_different(path, write)
    inode = path.stat().st_ino
    assert not replace_if_different(path, write)
    assert path.stat().st_ino == inode
    assert replace_if_different(path, lambda file: file.write(b"3"))
    assert path.read_bytes() == b"3"
    assert [p.name for p in tmp_path.iterdir()] == ["picks.cs"]


def test_a_large_file_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "picks.cs"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_if_different(path, write)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["picks.cs"]

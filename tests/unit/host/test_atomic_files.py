"""Files are whole or absent, and get the permissions of the umask."""

import os
import stat

import pytest

from livepick.host.atomic_files import write_atomically


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

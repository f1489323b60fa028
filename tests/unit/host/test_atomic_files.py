"""Files are whole or absent, and get the permissions of the umask."""

import os
import stat

import pytest

from livepick.host.atomic_files import make_folder, write_atomically


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path):
    """A command by sudo leaves nothing that the service's user cannot read and replace."""
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 12345, 12346)
    write_atomically(state / "file", b"x")
    make_folder(state / "decisions")
    make_folder(state / "decisions")
    write_atomically(state / "decisions" / "file", b"x")
    for path in (state / "file", state / "decisions", state / "decisions" / "file"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)
    write_atomically(tmp_path / "file", b"x")  # in a folder of root
    assert (tmp_path / "file").stat().st_uid == 0

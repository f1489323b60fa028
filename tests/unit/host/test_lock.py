"""Locks between processes."""

import os

import pytest

from livepick.host.lock import lock_folder, try_lock


def test_a_locked_folder_is_refused_until_it_is_released(tmp_path):
    """Each opening of a folder counts as another holder."""
    with lock_folder(tmp_path, wait=False), pytest.raises(BlockingIOError):
        lock_folder(tmp_path, wait=False)
    lock_folder(tmp_path, wait=True).close()


def test_a_folder_that_is_missing_cannot_be_locked(tmp_path):
    with pytest.raises(FileNotFoundError):
        lock_folder(tmp_path / "missing", wait=True)


def test_readers_share_a_lock_and_a_writer_has_it_alone(tmp_path):
    """A refused lock leaves the others as they are."""
    (tmp_path / "lock").touch()
    one, two, three = (os.open(tmp_path / "lock", os.O_RDWR) for _ in range(3))
    try:
        assert try_lock(one, shared=True)
        assert try_lock(two, shared=True)
        assert not try_lock(three)
    finally:
        for descriptor in (one, two, three):
            os.close(descriptor)

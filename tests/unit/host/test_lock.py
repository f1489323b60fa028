"""Locks between processes."""

import fcntl
import os
import struct

import pytest

from livepick.host import lock as module
from livepick.host.lock import lock_folder, try_lock, try_lock_anywhere


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


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens the same file again."""
    made = []

    def again(flags=os.O_RDWR):
        made.append(os.open(tmp_path / "lock", flags | os.O_CREAT))
        return made[-1]

    yield again
    for descriptor in made:
        os.close(descriptor)


@pytest.mark.skipif(module._RANGE_LOCK is None, reason="needs Linux")
def test_a_lock_of_another_machine_is_seen_as_nfs_passes_it_on(opened):
    """There, flock of a client is a lock of all bytes; flock of a program of the server is not."""
    service, client = opened(), opened()
    client_lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(client, module._RANGE_LOCK, client_lock)
    assert not try_lock_anywhere(service)
    assert not try_lock_anywhere(service, shared=True)
    assert try_lock(opened())  # what was refused has left nothing behind


def test_a_lock_of_an_earlier_version_is_seen(opened):
    assert try_lock(opened())
    assert not try_lock_anywhere(opened())


@pytest.mark.parametrize("command", [None, -1])
def test_without_range_locks_a_lock_holds_on_this_machine(opened, monkeypatch, command):
    """Some file systems, and other systems than Linux, have none."""
    monkeypatch.setattr(module, "_RANGE_LOCK", command)
    assert try_lock_anywhere(opened())
    assert not try_lock_anywhere(opened())

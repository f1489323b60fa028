"""Locks between processes. The kernel releases them however their holder ends.

A lock between machines has to be two locks. NFS passes a ``flock`` to its server as a lock of a
range of bytes, which does not meet a ``flock`` of a program of the server's own machine, but does
meet its range lock (flock(2)); other shared file systems keep one of the two to the machine.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
import time
from pathlib import Path

from livepick.errors import BusyError, LedgerError

__all__ = ["StateLock", "holder", "lock_file", "lock_folder", "try_lock", "try_lock_anywhere"]

PROC_LOCKS = Path("/proc/locks")
"""All locks of the machine, each with its process and the inode of its file."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
"""Errors of file systems that cannot lock a folder."""

_RANGE_LOCK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
"""Command to lock bytes for an open file instead of for a process; Linux has it."""

TRIES = 6
TRY_SECONDS = 0.1
"""Pause between tries. A process that only queries the holder has the lock for a moment, and a
service must not fail because of that."""


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock_anywhere(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, against other machines that see it as well.

    Besides ``flock`` it takes a lock on all bytes that belongs to the open file, as ``flock`` does.
    A file system without such locks has ``flock`` alone.

    Parameters
    ----------
    descriptor
        The file, open for writing if ``shared`` is False.
    shared
        True for a lock that others can share.

    Returns
    -------
    bool
        False if another process, here or on another machine, holds the lock.
    """
    if not try_lock(descriptor, shared=shared):
        return False
    if _RANGE_LOCK is None:
        return True
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(descriptor, _RANGE_LOCK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return True  # a file system without range locks
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    return True


def lock_folder(folder: Path, *, wait: bool) -> contextlib.ExitStack:
    """Lock a folder itself, which needs no lock file with an owner.

    Parameters
    ----------
    folder
        The folder.
    wait
        True to wait while another process holds the lock.

    Returns
    -------
    contextlib.ExitStack
        Context manager that releases the lock.

    Raises
    ------
    BlockingIOError
        Another process holds the lock, and ``wait`` is False.
    OSError
        The folder does not exist or cannot be opened.
    """
    with contextlib.ExitStack() as release:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        release.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return release.pop_all()


def lock_file(ledger: Path) -> Path:
    """Return the file that is locked for a ledger."""
    return ledger.with_name(ledger.name + ".lock")


def holder(ledger: Path) -> str | None:
    """Return the process id of the service that uses a ledger.

    ``unknown`` if there is one whose lock file was removed, and the kernel does not tell its
    process. None if there is no such service, or if neither folder nor lock file can be opened.
    """
    for path, flags in ((lock_file(ledger), 0), (ledger.parent, os.O_DIRECTORY)):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
        except OSError:
            continue
        try:
            if not try_lock(descriptor, shared=True):
                return _process(descriptor)
        except OSError:  # a file system without locks
            continue
        finally:
            os.close(descriptor)
    return None


class StateLock:
    """Lock that is held from its creation until ``release`` or the end of this process.

    Two things are locked. The folder itself, whatever name it is opened by: that holds when files
    in it are removed, replaced or renamed. And a file beside the ledger, which has the number of
    the process, and which earlier versions lock as well.

    Parameters
    ----------
    ledger
        The ledger; the lock file is beside it, with ``.lock`` appended.

    Raises
    ------
    BusyError
        Another process holds it.
    LedgerError
        The folder cannot be created or written.
    """

    def __init__(self, ledger: Path) -> None:
        self.path = lock_file(ledger)
        folder = self.path.parent
        with contextlib.ExitStack() as ending:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                # Workers and trainers, which may briefly outlive the service, do not inherit them.
                in_folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                ending.callback(os.close, in_folder)
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                ending.callback(os.close, descriptor)
            except OSError as error:
                raise LedgerError(
                    f"{self.path} cannot be written: {error.strerror}",
                    "Give state.directory a folder that the service's user may write.",
                ) from error
            for each in (descriptor, in_folder):
                if not _take(each):
                    raise BusyError(
                        f"another livepick (process {_process(each)}) works on {folder}",
                        "Stop it first, or give this one another state.directory.",
                    )
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            self._locks = ending.pop_all()

    def release(self) -> None:
        """Release the folder for another service."""
        self._locks.close()


def _take(descriptor: int) -> bool:
    """Lock an open file or folder; return False if another process keeps the lock."""
    try:
        for _ in range(TRIES - 1):
            if try_lock_anywhere(descriptor):
                return True
            time.sleep(TRY_SECONDS)
        return try_lock_anywhere(descriptor)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True  # the other of the two locks is held


def _process(descriptor: int) -> str:
    """Return the number of the process that holds a lock, as text."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and (written := os.read(descriptor, 20)):
        return written.decode(errors="replace").strip() or "unknown"
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError):
        for line in PROC_LOCKS.read_text().splitlines():
            words = line.split()
            if place in words and "FLOCK" in words:
                return words[words.index(place) - 1]
    return "unknown"

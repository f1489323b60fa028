"""Locks between processes. The kernel releases them however their holder ends."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from livepick.errors import BusyError, LedgerError

__all__ = ["StateLock", "holder", "lock_file", "lock_folder", "try_lock"]

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

    None if there is no such service, or if the lock file cannot be opened.
    """
    try:
        descriptor = os.open(lock_file(ledger), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if try_lock(descriptor, shared=True) else _written(descriptor) or "unknown"
    finally:
        os.close(descriptor)


class StateLock:
    """Lock that is held from its creation until ``release`` or the end of this process.

    Parameters
    ----------
    ledger
        The ledger; the lock is the file beside it with ``.lock`` appended.

    Raises
    ------
    BusyError
        Another process holds it.
    LedgerError
        The folder cannot be created or written.
    """

    def __init__(self, ledger: Path) -> None:
        self.path = lock_file(ledger)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Workers and trainers, which may briefly outlive the service, do not inherit it.
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LedgerError(
                f"{self.path} cannot be written: {error.strerror}",
                "Give state.directory a folder that the service's user may write.",
            ) from error
        if not self._take():
            process = _written(self._descriptor)
            os.close(self._descriptor)
            raise BusyError(
                f"another livepick (process {process}) works on {self.path.parent}",
                "Stop it first, or give this one another state.directory.",
            )
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def _take(self) -> bool:
        for _ in range(TRIES - 1):
            if try_lock(self._descriptor):
                return True
            time.sleep(TRY_SECONDS)
        return try_lock(self._descriptor)

    def release(self) -> None:
        """Release the folder for another service."""
        os.close(self._descriptor)


def _written(descriptor: int) -> str:
    return os.read(descriptor, 20).decode(errors="replace").strip()

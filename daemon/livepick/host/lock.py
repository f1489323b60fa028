"""Lock on a state folder: one service at a time; the kernel frees it however the service ends."""

import fcntl
import os
import time
from pathlib import Path

from livepick.errors import BusyError, LedgerError

__all__ = ["StateLock", "holder", "lock_file"]

TRIES = 6
TRY_SECONDS = 0.1
"""Pause between tries. A process that only queries the holder has the lock for a moment, and a
service must not fail because of that."""


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
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(descriptor) or "unknown"
    finally:
        os.close(descriptor)
    return None


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
        try:
            self._take()
        except BlockingIOError as error:
            process = _written(self._descriptor)
            os.close(self._descriptor)
            raise BusyError(
                f"another livepick (process {process}) works on {self.path.parent}",
                "Stop it first, or give this one another state.directory.",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def _take(self) -> None:
        for _ in range(TRIES - 1):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(TRY_SECONDS)
            else:
                return
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Release the folder for another service."""
        os.close(self._descriptor)


def _written(descriptor: int) -> str:
    return os.read(descriptor, 20).decode(errors="replace").strip()

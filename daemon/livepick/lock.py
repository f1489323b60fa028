"""The lock on a state folder: one service at a time, freed by the kernel however it ends."""

import fcntl
import os
from pathlib import Path

from livepick.errors import BusyError, LedgerError

__all__ = ["StateLock"]


class StateLock:
    """Held from its making until ``release`` or the end of this process.

    Parameters
    ----------
    ledger
        The ledger; the lock is the file beside it with ``.lock`` appended.

    Raises
    ------
    BusyError
        Another process holds it.
    LedgerError
        The folder cannot be made or written.
    """

    def __init__(self, ledger: Path) -> None:
        self.path = ledger.with_name(ledger.name + ".lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not inherited by workers and trainers, which may outlive the service for a moment.
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LedgerError(
                f"{self.path} cannot be written: {error.strerror}",
                "Give state.directory a folder that the service's user may write.",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._descriptor, 20).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise BusyError(
                f"another livepick (process {holder}) works on {self.path.parent}",
                "Stop it first, or give this one another state.directory.",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let another service have the folder."""
        os.close(self._descriptor)

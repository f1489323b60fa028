"""Watch on the ledger while a service uses it: damage that a query met, and the file itself."""

import contextlib
import threading
from collections.abc import Sequence

from livepick.errors import DamagedLedgerError, LedgerError, StateFolderGoneError
from livepick.ledger.database import Database
from livepick.ledger.place import Place

__all__ = ["LedgerCheck"]


class LedgerCheck:
    """Finds out whether the ledger of a running service can still be used.

    Parameters
    ----------
    databases
        All connections of the service: the writable one, one for reading, and others.
    """

    def __init__(self, databases: Sequence[Database]) -> None:
        self._databases = databases

    def start(self) -> None:
        """Check the table of micrographs once, in a thread of its own.

        Candidates are not checked, because they can be gigabytes; they are read one by one.
        """
        threading.Thread(target=self._check_once, name="ledger check", daemon=True).start()

    @property
    def place(self) -> Place:
        """Place of the ledger when it was opened."""
        return self._databases[0].place

    def loss_of_folder(self) -> StateFolderGoneError | None:
        """Return the error of a state folder that is not at its path any more; None if it is."""
        try:
            self.place.refuse_other_folder()
        except StateFolderGoneError as error:
            return error
        return None

    def damage(self) -> DamagedLedgerError | None:
        """Return why the ledger cannot be used any more; None if it can.

        Damage is known as soon as any query has met it.
        """
        for database in self._databases:
            if database.damage is not None:
                return database.damage
        writable = self._databases[0]
        if not writable.in_place():
            return DamagedLedgerError(
                f"{writable.path} was removed or replaced while livepick was running",
                "livepick puts it back, and starts again.",
            )
        return None

    def _check_once(self) -> None:
        with contextlib.suppress(LedgerError):  # damage stays known; other errors will be met again
            self._databases[-1].check()

"""Folders of class averages on disk: ``classes/NNNN`` in the state folder.

A folder is begun by the service, and its result appears by one rename. A folder without a result in
which no program runs is of a program or a service that was killed: it is removed, because other
picks are the newest by now.
"""

import contextlib
import logging
import shutil
from pathlib import Path

from livepick.core.contracts.bundle import bundle_name, numbered_folders
from livepick.core.contracts.class_averages import (
    PICTURE,
    RESULT,
    ClassesOrder,
    ClassesResult,
)
from livepick.errors import TrainerError
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_rows import ClassAveragesRow
from livepick.retraining.trainer_process import TrainerProcess

__all__ = ["ClassFolders", "picture_of"]

KEPT = 3
"""Latest results that are kept, so that a page that was loaded before finds its picture."""

_log = logging.getLogger(__name__)


def picture_of(classes: Path, number: int) -> Path:
    """Return the path of the picture of a result, which may have been removed.

    Parameters
    ----------
    classes
        Folder of all class averages.
    number
        Number of the result.
    """
    return classes / bundle_name(number) / RESULT / PICTURE


class ClassFolders:
    """The folders of a session's class averages.

    Parameters
    ----------
    directory
        Folder of all of them; it need not exist.
    session
        Name of the session: results of another one are removed.
    """

    def __init__(self, directory: Path, session: str) -> None:
        self._directory = directory
        self._session = session

    def begin(self, order: ClassesOrder, last: ClassAveragesRow | None) -> Path:
        """Create the next folder, with its order. Raises OSError."""
        self._directory.mkdir(exist_ok=True)
        numbers = [int(folder.name) for folder in numbered_folders(self._directory)]
        number = 1 + max([*numbers, 0 if last is None else last.number])
        folder = self._directory / bundle_name(number)
        folder.mkdir()
        order.write(folder)
        return folder

    def running(self) -> Path | None:
        """Return the folder in which a program runs, here or elsewhere; None if there is none."""
        folders = numbered_folders(self._directory)
        return next((one for one in folders[::-1] if TrainerProcess.is_running(one)), None)

    def row(self, folder: Path, ledger: LedgerReader) -> ClassAveragesRow | None:
        """Return the row for the result in a folder; None without a result of this session.

        The last micrograph of the order must be the one with its number in the ledger, which is
        another one after a ledger was lost.
        """
        with contextlib.suppress(TrainerError):
            order, result = ClassesOrder.read(folder), ClassesResult.read(folder)
            last = ledger.get(order.last_id)
            is_ours = last is not None and last.path == order.micrographs[-1].path
            if order.session == self._session and is_ours:
                return ClassAveragesRow.of(int(folder.name), order, result)
        return None

    def recover(self, ledger: LedgerReader) -> list[ClassAveragesRow]:
        """Return the results that are not in the ledger yet, the oldest first.

        Call it while no program runs.
        """
        last = next(iter(ledger.class_averages()), None)
        known = 0 if last is None else last.number
        newer = (one for one in numbered_folders(self._directory) if int(one.name) > known)
        return [row for folder in newer if (row := self.row(folder, ledger)) is not None]

    def remove_others(self, kept: list[int]) -> None:
        """Remove all folders but those of the latest of these numbers.

        A folder that cannot be removed stays, and is tried again the next time.
        """
        wanted = {bundle_name(number) for number in sorted(kept)[-KEPT:]}
        for folder in numbered_folders(self._directory):
            if folder.name not in wanted:
                self.remove(folder)

    def remove(self, folder: Path) -> None:
        """Remove a folder; if that fails, it is logged."""
        try:
            shutil.rmtree(folder)
        except OSError as error:
            _log.warning("class averages: %s cannot be removed: %s", folder, error.strerror)

"""Looks for changes that others make in the output folders: files deleted, obstacles gone.

A small share of the time goes into looking at the files that livepick wrote, one after another, so
that it never holds up picking: 100,000 files on a local disk take about two minutes. After the last
one there is a pause. The first one found missing asks for a check of all of them.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from livepick.picking.output_folder import OutputFolder

__all__ = ["OutputLosses"]

LOOK_SECONDS = 1.0
"""Shortest interval between two looks."""

SHARE = 0.02
"""Fraction of the time for looking for deleted files, while the disk answers slowly."""

CPU_SHARE = 0.004
"""Fraction of the processor time of a core for that."""

PAUSE_SHARE = 0.001
"""Fraction of the processor time of a core for that, including the pause after the last file."""

LONGEST_PAUSE_SECONDS = 60.0
"""Longest pause, so that a deleted file is noticed within a minute or two."""

_log = logging.getLogger(__name__)


class OutputLosses:
    """Looks for changes in output folders. For one thread.

    Parameters
    ----------
    folders
        The folders.
    """

    def __init__(self, folders: Sequence[OutputFolder]) -> None:
        self._folders = folders
        self._gone: dict[Path, OutputFolder] = {}
        self._used_seconds: dict[OutputFolder, float] = {}
        """Processor time for the files of a folder since its first one."""
        self._pause_until: dict[OutputFolder, float] = {}
        self._looked_at = float("-inf")

    def found(self, *, is_checking: bool) -> bool:
        """Look if it is time to; return True if all files must be checked.

        Parameters
        ----------
        is_checking
            True while a check of all files is in progress, which finds what is missing.
        """
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return False
        freed = [path for folder in self._folders for path in folder.freed()]
        if freed:
            _log.info("output: %s has gone or has changed", freed[0])
        lost = [folder for folder in self._folders if folder.was_lost()]
        for folder in lost:
            _log.warning("output: %s was emptied; its files are written again", folder.path)
        if not is_checking:
            self._look()
        self._looked_at = time.monotonic()
        return bool(freed or lost or (self._gone and not is_checking))

    def _look(self) -> None:
        """Look for deleted files, and forget those that the last check has not brought back."""
        for path, folder in self._gone.items():
            if not folder.is_there(path):
                folder.forget(path)
        self._gone.clear()
        for folder in self._folders:
            self._gone |= dict.fromkeys(self._missing(folder), folder)
        if self._gone:
            path = next(iter(self._gone))
            _log.warning("output: %s has been deleted; what is missing is written again", path)

    def _missing(self, folder: OutputFolder) -> list[Path]:
        """Look at some files of a folder, or pause after its last one."""
        if time.monotonic() < self._pause_until.get(folder, 0.0):
            return []
        began = time.thread_time()
        missing = folder.missing(SHARE * LOOK_SECONDS, CPU_SHARE * LOOK_SECONDS)
        used_seconds = self._used_seconds.pop(folder, 0.0) + time.thread_time() - began
        if folder.has_more:
            self._used_seconds[folder] = used_seconds
        else:
            pause_seconds = min(used_seconds / PAUSE_SHARE, LONGEST_PAUSE_SECONDS)
            self._pause_until[folder] = time.monotonic() + pause_seconds
        return missing

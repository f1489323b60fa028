"""Looks for what CTF programs write beside micrographs, now and then, in a thread of its own.

CTF estimation runs beside livepick and is as often late as early, so a worker would miss half of
it. What is found becomes a message, and the dispatch loop writes it into the ledger. A thread of
its own, since a folder on a network may hang, and neither watchdog nor loop may wait for it.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.imaging.quality import CtfFigures
from livepick.errors import LedgerError
from livepick.ledger.inbox import CtfFound
from livepick.ledger.writer import ReadLedger

__all__ = ["Sidecars"]

LOOK_SECONDS = 60.0
"""Between two looks."""

AT_ONCE = 500
"""Micrographs looked for in one look, the latest: what is older has been looked for before."""

_log = logging.getLogger(__name__)


class Sidecars:
    """The thread: make it, call ``run`` in it, and ``stop`` from elsewhere.

    Parameters
    ----------
    ledger
        Knows which picked micrographs have no CTF figures yet.
    place
        ``micrograph.ctf`` of the config.
    found
        Called for each micrograph whose figures are there; it must return at once.
    """

    def __init__(
        self, ledger: ReadLedger, place: Path | None, *, found: Callable[[CtfFound], None]
    ) -> None:
        self._ledger = ledger
        self._place = place
        self._found = found
        self._faults: set[str] = set()
        self._stop = threading.Event()

    def use(self, place: Path | None) -> None:
        """Look elsewhere from the next look on."""
        self._place = place

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stop.set()

    def run(self) -> None:
        """Look until stopped."""
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except (LedgerError, OSError) as error:
                _log.warning("defocus: not looked for: %s", error)

    def look(self) -> int:
        """Look once; return how many micrographs have figures that had none.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        OSError
            A folder cannot be listed.
        """
        wanted = {row.path: row for row in self._ledger.without_ctf(AT_ONCE)}
        ctfs, faults = find_ctfs(self._place, list(wanted))
        for path, ctf in ctfs.items():
            row = wanted[path]
            self._found(CtfFound(row.id, row.content, CtfFigures.of(ctf)))
        new = {str(fault) for fault in faults} - self._faults
        for fault in sorted(new):
            _log.warning("defocus: left out: %s", fault)
        self._faults |= new
        return len(ctfs)

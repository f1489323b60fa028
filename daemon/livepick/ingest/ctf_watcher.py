"""Periodic search, in a thread of its own, for files that CTF programs write beside micrographs.

CTF estimation runs beside livepick and finishes after picking as often as before, so a worker would
miss half of the results. Each result is sent as a message, and the dispatch loop writes it to the
ledger. The search has its own thread because a folder on a network may hang, and neither the
watchdog nor the loop may wait for it.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.formats.header import printable
from livepick.core.imaging.ctf import Ctf
from livepick.core.imaging.quality import CtfFigures
from livepick.errors import LedgerError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.inbox import CtfFound
from livepick.ledger.reader import LedgerReader

__all__ = ["CtfWatcher"]

SEARCH_SECONDS = 60.0
"""Time between two searches."""

AT_ONCE = 500
"""Number of micrographs, the latest, in one search: older ones were in earlier searches."""

_log = logging.getLogger(__name__)


class CtfWatcher:
    """Searches for CTF files: call ``run`` in a thread of its own, and ``stop`` from another.

    Parameters
    ----------
    ledger
        Ledger that lists the picked micrographs without CTF figures.
    place
        ``micrograph.ctf`` of the config, if it is a path.
    found
        Called for each micrograph whose figures were found; it must return at once.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        place: Path | None,
        *,
        found: Callable[[CtfFound], None],
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._unexpected = unexpected or UnexpectedErrors()
        self._ledger = ledger
        self._place = place
        self._found = found
        self._faults: set[str] = set()
        self._stop = threading.Event()
        self.latest: tuple[Path, Ctf] | None = None
        """The micrograph whose CTF was found last, and that CTF with its optics."""

    def use(self, place: Path | None) -> None:
        """Search at another place from the next search on."""
        self._place = place

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stop.set()

    def run(self) -> None:
        """Search until stopped."""
        while not self._stop.wait(SEARCH_SECONDS):
            try:
                with self._unexpected.passing_over("ctf", "the search for CTF files"):
                    self.search_once()
            except (LedgerError, OSError) as error:
                _log.warning("defocus: search failed: %s", error)

    def search_once(self) -> int:
        """Search once; return the number of micrographs whose figures were found.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        OSError
            A folder cannot be listed.
        """
        wanted = {row.path: row for row in self._ledger.without_ctf(AT_ONCE)}
        ctfs, faults = find_ctfs(self._place, list(wanted), self._ledger.paths())
        for path, ctf in ctfs.items():
            row = wanted[path]
            self.latest = path, ctf
            with self._unexpected.passing_over("ctf", printable(path)):
                self._found(CtfFound(row.id, row.content, CtfFigures.of(ctf)))
        new = {str(fault) for fault in faults} - self._faults
        for fault in sorted(new):
            _log.warning("defocus: skipped: %s", fault)
        self._faults |= new
        return len(ctfs)

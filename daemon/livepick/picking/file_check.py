"""Check of all coordinates files against the ledger, a few in each turn of the dispatch loop."""

import itertools
import math
import time
from collections import deque
from collections.abc import Iterator

from livepick.ledger.output_rows import Visible
from livepick.ledger.reader import LedgerReader

__all__ = ["BATCH", "FileCheck"]

BATCH = 50
"""Maximum number of files checked or repaired between two checks of the inbox."""


class FileCheck:
    """The micrographs whose files are still to be checked. For one thread.

    Parameters
    ----------
    ledger
        Source of the micrographs.
    """

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger
        self._unchecked: deque[Visible] = deque()
        self._more: Iterator[Visible] = iter(())
        """Those that follow ``_unchecked``; they are read in small portions."""
        self.ended_at = math.inf
        """End of the last check, in monotonic seconds; infinite during one, and before."""

    def begin(self) -> None:
        """Begin again with the first micrograph."""
        self._unchecked.clear()
        self._more = self._ledger.visible()
        self.ended_at = math.inf

    @property
    def is_running(self) -> bool:
        """True if there are files left to check."""
        self._read()
        return bool(self._unchecked)

    def batch(self) -> Iterator[Visible]:
        """Yield the next micrographs, a few.

        Each is dropped when the following one is asked for, so after an error it comes again.
        """
        self._read()
        for _ in range(min(BATCH, len(self._unchecked))):
            yield self._unchecked[0]
            self._unchecked.popleft()
        if self.ended_at == math.inf and not self.is_running:
            self.ended_at = time.monotonic()

    def _read(self) -> None:
        if not self._unchecked:
            self._unchecked.extend(itertools.islice(self._more, BATCH))

"""Recording of the messages that come in thousands, arrivals and CTF figures, a batch at a time."""

import itertools
from collections.abc import Sequence

from livepick.core.formats.header import printable
from livepick.errors import LivepickError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.inbox import CtfFound, Landed, SetAside
from livepick.ledger.writer import LedgerWriter
from livepick.picking.backlog import Backlog
from livepick.picking.instruments import Instruments
from livepick.picking.output_sync import Outputs
from livepick.picking.take_arrivals import take_arrivals

__all__ = ["BulkRecorder"]

BATCH = 100
"""Maximum number of arrivals, or of CTF figures, handled in one turn. Each batch is one commit."""


class BulkRecorder:
    """Records arrivals and CTF figures in the ledger. For one thread.

    Parameters
    ----------
    backlog
        The messages.
    ledger, outputs, instruments
        Where they are recorded, shown in tables, and counted.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        backlog: Backlog,
        *,
        ledger: LedgerWriter,
        outputs: Outputs,
        instruments: Instruments,
        unexpected: UnexpectedErrors,
    ) -> None:
        self._backlog = backlog
        self._ledger = ledger
        self._outputs = outputs
        self._instruments = instruments
        self._unexpected = unexpected

    def turn(self) -> None:
        """Record the oldest arrivals or CTF figures, and drop them on success.

        Raises
        ------
        LedgerWriteError
            Writing to the ledger failed; nothing was recorded or dropped.
        """
        if batch := self._backlog.arrivals(BATCH):
            self._take_arrivals(batch)
        else:
            self._record_figures()

    def _take_arrivals(self, batch: Sequence[Landed | SetAside]) -> None:
        """Record the arrivals at the head of the backlog in one commit.

        If that meets an unexpected error, each is recorded alone, to find the one at fault.
        """
        bulk = self._backlog.bulk
        try:
            self._take(batch)
        except LivepickError:
            raise
        except Exception as error:  # noqa: BLE001 - the other arrivals must be recorded
            if len(batch) == 1:
                name = printable(batch[0].root / batch[0].relative)
                self._unexpected.passed_over("dispatch", name, error)
                bulk.popleft()
                return
            for message in batch:
                name = printable(message.root / message.relative)
                with self._unexpected.passing_over("dispatch", name):
                    self._take([message])
                bulk.popleft()
            return
        for _ in batch:
            bulk.popleft()

    def _take(self, batch: Sequence[Landed | SetAside]) -> None:
        take_arrivals(
            batch, ledger=self._ledger, outputs=self._outputs, instruments=self._instruments
        )

    def _record_figures(self) -> None:
        """Record the CTF figures at the head of the backlog in one commit."""
        bulk, recorded = self._backlog.bulk, 0
        with self._ledger.database.transaction():
            for message in itertools.islice(bulk, BATCH):
                if not isinstance(message, CtfFound):
                    break
                with self._unexpected.passing_over("dispatch", "CTF figures"):
                    self._record_ctf(message)
                recorded += 1
        for _ in range(recorded):
            bulk.popleft()

    def _record_ctf(self, found: CtfFound) -> None:
        before = self._ledger.reader.get(found.micrograph_id)
        if self._ledger.ctf.found(found.micrograph_id, found.content, found.figures):
            self._outputs.figures_changed()
            if before is not None and before.ctf is None:  # a fitted one was counted
                self._instruments.ctf_found(found.figures)

"""Whether the session is still what its model was promoted on, as the ledger has it.

The reference are the first micrographs that landed after the *training* of the model had begun.
Part of them landed before its promotion and were picked again by it, so that the reference is
complete soon; none of them was trained on, for a network scores what it has learned from higher
than anything that it will meet, and every session would seem to get worse. Nor does it matter how
often a model is promoted, or when the service was started: the reference is always the same.

The window are the last that the same model picked. All scores are cut at one threshold, that of
the newest micrograph, so that a changed ``picking.threshold`` is no drift. A blob picker, whose
picks are provisional, is not watched.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from livepick.core.evaluation.drift_test import (
    REFERENCE,
    WINDOW,
    Drift,
    DriftFinding,
    DriftKind,
    Picked,
    compare,
    silent,
)
from livepick.ledger.rows import MicrographRow
from livepick.ledger.writer import ReadLedger

__all__ = ["DriftWatch", "read_drift"]

LOOK_SECONDS = 5.0
"""Between two looks at the ledger; a micrograph comes every few seconds at most."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What there is to compare."""

    model_version: int
    reference: tuple[MicrographRow, ...]
    window: tuple[MicrographRow, ...]

    @property
    def mark(self) -> tuple[object, ...]:
        """Differs if and only if a comparison may."""
        rows = (*self.reference, *self.window)
        return (self.model_version, *((row.id, row.picked_at) for row in rows))


def read_drift(ledger: ReadLedger) -> Drift:
    """Return what one look at the ledger says, for whoever has no earlier one.

    Raises
    ------
    LedgerError
        The ledger cannot be read.
    """
    rows = _rows(ledger)
    return (None if rows is None else _compared(ledger, rows, ())) or silent()


class DriftWatch:
    """Looks at the ledger every now and then, and tells when a drift begins and when it ends.

    Parameters
    ----------
    drifted
        Called with a sentence once when a drift begins; it must return at once.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        ledger: ReadLedger,
        *,
        drifted: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._drifted = drifted
        self._clock = clock
        self._looked_at = float("-inf")
        self._mark: tuple[object, ...] = ()
        self._model_version: int | None = None
        self._drift = silent()

    @property
    def drift(self) -> Drift:
        """What the last look found. May be asked from any thread."""
        return self._drift

    def look(self) -> Drift:
        """Look, if it is time and there is something new; return what the last look found.

        Raises
        ------
        LedgerError
            The ledger cannot be read; the next look is as if this one had not been.
        """
        if self._clock() - self._looked_at < LOOK_SECONDS:
            return self._drift
        self._looked_at = self._clock()
        rows = _rows(self._ledger)
        mark = () if rows is None else rows.mark
        if mark == self._mark:
            return self._drift
        version = None if rows is None else rows.model_version
        before = self._drift.findings if version == self._model_version else ()
        kinds = tuple(finding.kind for finding in before)
        now = silent() if rows is None else _compared(self._ledger, rows, kinds)
        if now is None:
            return self._drift
        self._mark, self._model_version = mark, version
        before, self._drift = self._drift.findings, now
        self._tell(before, now.findings)
        return now

    def _tell(self, before: Sequence[DriftFinding], now: Sequence[DriftFinding]) -> None:
        kinds = {finding.kind for finding in before}
        for finding in now:
            if finding.kind not in kinds:
                _log.warning("drift: %s", finding.sentence)
        over = kinds - {finding.kind for finding in now}
        for kind in sorted(over):
            _log.info("drift: over: %s", kind.replace("_", " "))
        if now and not before:
            self._drifted(now[0].sentence)


def _rows(ledger: ReadLedger) -> _Rows | None:
    """Return what the present model has to compare, or None if too little."""
    model = ledger.model()
    if model is None or model.kind == "blob":
        return None
    began = (run.started_at for run in ledger.runs() if run.version == model.version)
    reference = ledger.first_picked(
        model.version, landed_since=next(began, model.since), limit=REFERENCE
    )
    if len(reference) < REFERENCE:
        return None
    window = ledger.last_picked(model.version, after=reference[-1].id, limit=WINDOW)
    if len(window) < WINDOW:
        return None
    return _Rows(model.version, tuple(reference), tuple(window))


def _compared(ledger: ReadLedger, rows: _Rows, active: Sequence[DriftKind]) -> Drift | None:
    """Return what the rows say, or None if one of them has changed since it was read."""
    threshold = rows.window[-1].threshold or 0.0
    sides: list[list[Picked]] = []
    for side in (rows.reference, rows.window):
        found = [(row, ledger.candidates(row.id)) for row in side]
        sides.append(
            [
                Picked(picks.above(threshold).score, row.masked_fraction)
                for row, picks in found
                if picks is not None
            ]
        )
    reference, window = sides
    if len(reference) < len(rows.reference) or len(window) < len(rows.window):
        return None
    return compare(reference, window, model_version=rows.model_version, active=active)

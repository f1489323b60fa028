"""Drift detection: compare a session with the data its model was promoted on, from the ledger.

The reference is the first micrographs that landed after the *training* of the model had begun.
Some of them landed before its promotion and were picked again by it, so the reference is complete
soon. None of them was used for training: a network scores its training data higher than any new
data, so every session would seem to get worse. The reference does not depend on how often a model
is promoted or when the service was started.

The window is the last micrographs that the same model picked. All scores are cut at one threshold,
that of the newest micrograph, so a changed ``picking.threshold`` does not count as drift. A blob
picker is not monitored, because its picks are provisional.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from livepick.core.contracts.bundle import is_provisional
from livepick.core.evaluation.drift_test import (
    REFERENCE,
    WINDOW,
    Drift,
    DriftKind,
    Picked,
    compare,
)
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.monitoring.drift_findings import findings_of

__all__ = ["DriftMonitor", "read_drift"]

CHECK_SECONDS = 5.0
"""Interval between two ledger reads; micrographs arrive at most every few seconds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Micrographs to compare."""

    model_version: int
    reference: tuple[MicrographRow, ...]
    window: tuple[MicrographRow, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Value that changes if and only if the result of a comparison may change."""
        rows = (*self.reference, *self.window)
        return (self.model_version, *((row.id, row.picked_at) for row in rows))


def read_drift(ledger: LedgerReader) -> Drift:
    """Return the drift from a single read of the ledger, without an earlier result.

    Raises
    ------
    LedgerError
        The ledger cannot be read.
    """
    rows = _rows(ledger)
    return (None if rows is None else _compared(ledger, rows, ())) or Drift()


class DriftMonitor:
    """Periodic check of the ledger that reports when a drift begins and when it ends.

    Parameters
    ----------
    drifted
        Called once with the evidence when a drift begins; it must not block.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        *,
        drifted: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._drifted = drifted
        self._clock = clock
        self._checked_at = float("-inf")
        self._checked_key: tuple[object, ...] = ()
        self._model_version: int | None = None
        self._drift = Drift()

    @property
    def drift(self) -> Drift:
        """Result of the last check. Safe to read from any thread."""
        return self._drift

    def check(self) -> Drift:
        """Check for drift if the interval has passed and the data changed; return the last result.

        Raises
        ------
        LedgerError
            The ledger cannot be read. The next check is not affected.
        """
        if self._clock() - self._checked_at < CHECK_SECONDS:
            return self._drift
        self._checked_at = self._clock()
        rows = _rows(self._ledger)
        key = () if rows is None else rows.key
        if key == self._checked_key:
            return self._drift
        version = None if rows is None else rows.model_version
        active = self._drift.changes if version == self._model_version else ()
        kinds = tuple(change.kind for change in active)
        now = Drift() if rows is None else _compared(self._ledger, rows, kinds)
        if now is None:
            return self._drift
        self._checked_key, self._model_version = key, version
        before, self._drift = self._drift, now
        self._report(before, now)
        return now

    def _report(self, before: Drift, now: Drift) -> None:
        kinds = {change.kind for change in before.changes}
        findings = findings_of(now)
        for finding in findings:
            if finding.kind not in kinds:
                _log.warning("drift: %s; %s", finding.evidence, finding.remedy)
        over = kinds - {finding.kind for finding in findings}
        for kind in sorted(over):
            _log.info("drift: ended: %s", kind.replace("_", " "))
        if findings and not before.changes:
            self._drifted(findings[0].evidence)


def _rows(ledger: LedgerReader) -> _Rows | None:
    """Return the current model's reference and window, or None if there are too few rows."""
    model = ledger.model()
    if model is None or is_provisional(model.kind):
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


def _compared(ledger: LedgerReader, rows: _Rows, active: Sequence[DriftKind]) -> Drift | None:
    """Return the drift of the rows, or None if one of them has changed since it was read."""
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

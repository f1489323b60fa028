"""Figures of all micrographs with picks over time, kept in memory for the plots of the page.

A session has tens of thousands of micrographs, and the ledger changes every second. So only the
rows that have changed are read again.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from livepick.ledger.rows import Moment

__all__ = ["Timeline", "TimelineReader"]

MOST_CHANGED = 5000
"""With more changed rows, all are read."""

_COLUMNS = (
    "id, changed_at, picked_content is not null, landed_at, pick_count, median_score, model_version"
)

_Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Micrographs with picks, in the order in which they landed first. Arrays of one length."""

    landed_at: NDArray[np.float64]
    """Unix seconds."""
    pick_count: NDArray[np.float64]
    median_score: NDArray[np.float64]
    """NaN without picks."""
    model_version: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.landed_at)

    @classmethod
    def of(cls, moments: Iterable[Moment]) -> Self:
        """Return the timeline of some micrographs."""
        table = np.array([tuple(moment) for moment in moments], dtype=np.float64).reshape(-1, 4)
        return cls(*table.T)

    def scored(self) -> Self:
        """Return the micrographs that have picks with scores."""
        known = ~np.isnan(self.median_score)
        return type(self)(
            self.landed_at[known],
            self.pick_count[known],
            self.median_score[known],
            self.model_version[known],
        )


class TimelineReader:
    """Reads the timeline, and later what has changed. Thread-safe.

    Parameters
    ----------
    rows
        ``Database.rows`` of the ledger.
    """

    def __init__(self, rows: Callable[..., list[Any]]) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._table: _Table = np.empty((0, 7))
        self._until = float("-inf")

    def read(self) -> Timeline:
        """Return the timeline as it is now."""
        with self._lock:
            changed = None
            if self._until <= time.time():  # else the clock was set back
                changed = self._rows(
                    f"select {_COLUMNS} from micrograph where changed_at >= ?"  # noqa: S608
                    " order by changed_at limit ?",
                    self._until,
                    MOST_CHANGED,
                )
            if changed is None or len(changed) == MOST_CHANGED:
                self._table = _table(
                    self._rows(f"select {_COLUMNS} from micrograph order by id")  # noqa: S608
                )
            else:
                self._merge(_table(changed))
            self._until = float(self._table[:, 1].max()) if len(self._table) else float("-inf")
            shown = self._table[self._table[:, 2] > 0]
            return Timeline(*shown[:, 3:].T)

    def _merge(self, changed: _Table) -> None:
        changed = changed[np.argsort(changed[:, 0])]
        places = np.searchsorted(self._table[:, 0], changed[:, 0])
        is_known = places < len(self._table)
        is_known[is_known] = self._table[places[is_known], 0] == changed[is_known, 0]
        self._table[places[is_known]] = changed[is_known]
        added = changed[~is_known]
        if len(added):
            table = np.concatenate([self._table, added])
            self._table = table[np.argsort(table[:, 0], kind="stable")]


def _table(rows: list[Any]) -> _Table:
    """Return rows as numbers; a value that is not known is NaN."""
    return np.array([tuple(row) for row in rows], dtype=np.float64).reshape(-1, 7)

"""Figures of all micrographs with picks over time, kept in memory for the plots of the page.

A session has tens of thousands of micrographs, and the ledger changes every second. So only the
rows that have changed are read again.
"""

import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.quality_limits import VERDICTS

__all__ = ["Timeline", "TimelineReader"]

MOST_CHANGED = 5000
"""With more changed rows, all are read."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Micrographs with picks, in the order in which they landed. Arrays of one length.

    A value that is not known is NaN.
    """

    id: FloatArray
    """Number of the micrograph in the ledger."""
    landed_at: FloatArray
    """Unix seconds."""
    pick_count: FloatArray
    median_score: FloatArray
    model_version: FloatArray
    verdict: FloatArray
    """Index in ``VERDICTS``."""
    ice_ring: FloatArray
    defocus_micrometre: FloatArray
    """Mean of both defocus values."""
    ctf_resolution_angstrom: FloatArray
    ctf_is_fitted: FloatArray
    """1 if livepick has fitted the CTF, 0 if another program has."""

    def __len__(self) -> int:
        return len(self.landed_at)

    @classmethod
    def empty(cls) -> Self:
        """Return the timeline of a session without micrographs."""
        return cls(*np.empty((len(_COLUMNS), 0)))

    def between(self, from_at: float, until_at: float) -> Self:
        """Return the micrographs that landed in a span, both ends included (unix seconds)."""
        return self.where((self.landed_at >= from_at) & (self.landed_at <= until_at))

    def where(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return some of the micrographs, selected by a mask or by indices."""
        columns = (getattr(self, field.name) for field in dataclasses.fields(self))
        return type(self)(*(column[keep] for column in columns))


_VERDICT = " ".join(f"when '{verdict}' then {n}" for n, verdict in enumerate(VERDICTS))

_COLUMNS = (
    "id",
    "landed_at",
    "pick_count",
    "median_score",
    "model_version",
    f"case quality_verdict {_VERDICT} end",
    "ice_ring",
    "(defocus_u_angstrom + defocus_v_angstrom) / 2e4",
    "ctf_resolution_angstrom",
    "ctf_source = 'fitted'",
)
"""Expressions for the arrays of ``Timeline``."""

_SELECT = (
    f"select id, changed_at, picked_content is not null, {', '.join(_COLUMNS)} from micrograph"  # noqa: S608
)
_WIDTH = 3 + len(_COLUMNS)


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
        self._table: FloatArray = np.empty((0, _WIDTH))
        self._until = float("-inf")

    def read(self) -> Timeline:
        """Return the timeline as it is now."""
        with self._lock:
            changed = None
            if self._until <= time.time():  # else the clock was set back
                changed = self._rows(
                    f"{_SELECT} where changed_at >= ? order by changed_at limit ?",
                    self._until,
                    MOST_CHANGED,
                )
            if changed is None or len(changed) == MOST_CHANGED:
                self._table = _table(self._rows(f"{_SELECT} order by id"))
            else:
                self._merge(_table(changed))
            self._until = float(self._table[:, 1].max()) if len(self._table) else float("-inf")
            timeline = Timeline(*self._table[self._table[:, 2] > 0, 3:].T)
        order = np.argsort(timeline.landed_at, kind="stable")
        return timeline.where(order)

    def _merge(self, changed: FloatArray) -> None:
        changed = changed[np.argsort(changed[:, 0])]
        places = np.searchsorted(self._table[:, 0], changed[:, 0])
        is_known = places < len(self._table)
        is_known[is_known] = self._table[places[is_known], 0] == changed[is_known, 0]
        self._table[places[is_known]] = changed[is_known]
        added = changed[~is_known]
        if len(added):
            table = np.concatenate([self._table, added])
            self._table = table[np.argsort(table[:, 0], kind="stable")]


def _table(rows: list[Any]) -> FloatArray:
    """Return rows as numbers; a value that is not known is NaN."""
    return np.array([tuple(row) for row in rows], dtype=np.float64).reshape(-1, _WIDTH)

"""Which micrographs of a session are the best and the worst, and how its figures are spread."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from livepick.core.quality import CTF_LIMITS, LIMITS, VERDICTS, Limit
from livepick.records import MicrographRow

__all__ = ["FigureRow", "Ranking", "rank"]


@dataclass(frozen=True, slots=True)
class FigureRow:
    """How one figure is spread over a session."""

    name: str
    known: int
    """Micrographs that have it."""
    low: str
    """The 10th percentile, as it is written; this and the next are empty if none has it."""
    median: str
    high: str
    """The 90th percentile."""
    doubtful: int | None
    """Micrographs that it makes doubtful; None for a figure without a limit."""
    bad: int | None
    limits: str
    """From where on a value is doubtful, and from where on bad."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a look at all picked micrographs gives."""

    best: tuple[int, ...]
    """Numbers of micrographs, the best first."""
    worst: tuple[int, ...]
    """The worst first; none of them is among the best."""
    figures: tuple[FigureRow, ...]


_Value = Callable[[MicrographRow], float | None]


@dataclass(frozen=True, slots=True)
class _Figure:
    name: str
    value: _Value
    form: str
    limit: Limit | None


def _of_quality(name: str) -> _Value:
    def value(row: MicrographRow) -> float | None:
        found: float | None = getattr(row.quality, name, None)
        return found

    return value


def _of_ctf(name: str) -> _Value:
    def value(row: MicrographRow) -> float | None:
        found: float | None = getattr(row.ctf, name, None)
        return found

    return value


_NAMES: Final = {
    "contrast": "contrast, (S + N) / N",
    "signal_fraction": "power above the noise",
    "occupied_fraction": "area under picks",
    "masked_fraction": "masked area",
    "contamination_fraction": "area under contamination",
    "uneven_fraction": "uneven patches",
    "mottle": "mottle",
    "ice_ring": "ring of crystalline ice",
    "anisotropy": "anisotropy of Thon rings",
    "ice_gradient_sigmas": "gradient, in sigmas of the noise",
    "ctf_resolution_angstrom": "CTF fit, Å",
    "astigmatism_angstrom": "astigmatism, Å",
}
"""Figures that have limits, as people read them."""

_FIGURES: Final = (
    _Figure("picks", lambda row: row.pick_count, "{:.0f}", None),
    _Figure("median score of picks", _of_quality("median_score"), "{:.2f}", None),
    *(
        _Figure(_NAMES[limit.figure], _of_quality(limit.figure), limit.form, limit)
        for limit in LIMITS
    ),
    _Figure("area under carbon film", _of_quality("carbon_fraction"), "{:.0%}", None),
    _Figure("defocus, Å", _of_ctf("defocus_angstrom"), "{:.0f}", None),
    *(
        _Figure(_NAMES[limit.figure], _of_ctf(limit.figure), limit.form, limit)
        for limit in CTF_LIMITS
    ),
)


def rank(rows: Iterable[MicrographRow], most: int) -> Ranking:
    """Return the best and the worst of micrographs, and how their figures are spread.

    The verdict counts first, then the picks: the best are good and have many, the worst are bad
    and have few. Those without a verdict are neither.

    Parameters
    ----------
    rows
        Micrographs that have picks; they are walked once.
    most
        How many of the best, and how many of the worst.
    """
    places: list[tuple[int, int, int]] = []
    values: list[list[float]] = [[] for _ in _FIGURES]
    for row in rows:
        if row.quality_verdict is not None:
            places.append((VERDICTS.index(row.quality_verdict), -(row.pick_count or 0), row.id))
        for figure, known in zip(_FIGURES, values, strict=True):
            value = figure.value(row)
            if value is not None:
                known.append(value)
    order = [number for _, _, number in sorted(places)]
    worst_count = min(most, len(order) // 2)
    worst = order[len(order) - worst_count :][::-1]
    best = order[: min(most, len(order) - worst_count)]
    spread = map(_spread, _FIGURES, values)
    return Ranking(tuple(best), tuple(worst), tuple(row for row in spread if row.known))


def _spread(figure: _Figure, values: list[float]) -> FigureRow:
    low, median, high = (
        (figure.form.format(value) for value in np.percentile(values, (10, 50, 90)))
        if values
        else ("", "", "")
    )
    limit = figure.limit
    if limit is None:
        return FigureRow(figure.name, len(values), low, median, high, None, None, "")
    found = [limit.verdict(value) for value in values]
    side = "from" if limit.bad > limit.doubtful else "up to"
    doubtful, bad = (limit.form.format(value) for value in (limit.doubtful, limit.bad))
    return FigureRow(
        figure.name,
        len(values),
        low,
        median,
        high,
        found.count("doubtful"),
        found.count("bad"),
        f"doubtful {side} {doubtful}, bad {side} {bad}",
    )

"""Which micrographs of a session are the best and the worst, and how its figures are spread."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from livepick.core.imaging.quality_limits import VERDICTS, Verdict
from livepick.ledger.rows import MicrographRow
from livepick.monitoring.quality_figures import FIGURES, Figure

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
    values: list[list[tuple[float, Verdict]]] = [[] for _ in FIGURES]
    for row in rows:
        if row.quality_verdict is not None:
            places.append((VERDICTS.index(row.quality_verdict), -(row.pick_count or 0), row.id))
        for figure, known in zip(FIGURES, values, strict=True):
            value = figure.value(row)
            if value is not None:
                known.append((value, figure.verdict(row)))
    order = [number for _, _, number in sorted(places)]
    worst_count = min(most, len(order) // 2)
    worst = order[len(order) - worst_count :][::-1]
    best = order[: min(most, len(order) - worst_count)]
    spread = map(_spread, FIGURES, values)
    return Ranking(tuple(best), tuple(worst), tuple(row for row in spread if row.known))


def _spread(figure: Figure, known: list[tuple[float, Verdict]]) -> FigureRow:
    values = [value for value, _ in known]
    low, median, high = (
        (figure.form.format(value) for value in np.percentile(values, (10, 50, 90)))
        if values
        else ("", "", "")
    )
    if figure.limit is None:
        return FigureRow(figure.name, len(values), low, median, high, None, None, "")
    found = [verdict for _, verdict in known]
    return FigureRow(
        figure.name,
        len(values),
        low,
        median,
        high,
        found.count("doubtful"),
        found.count("bad"),
        figure.limits,
    )

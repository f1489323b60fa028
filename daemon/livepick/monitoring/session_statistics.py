"""Best and worst micrographs of a session, and the distribution of its quality figures."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from livepick.core.imaging.quality_limits import VERDICTS, QualityVerdict
from livepick.ledger.rows import MicrographRow
from livepick.monitoring.quality_figures import FIGURES, Figure

__all__ = ["FigureRow", "Ranking", "rank"]


@dataclass(frozen=True, slots=True)
class FigureRow:
    """Distribution of one figure over a session."""

    name: str
    known: int
    """Number of micrographs that have the figure."""
    low: str
    """10th percentile as formatted text; all percentiles are empty if no micrograph has the figure.
    """
    median: str
    high: str
    """90th percentile as formatted text."""
    doubtful: int | None
    """Number of micrographs that this figure makes doubtful; None for a figure without a limit."""
    bad: int | None
    limits: str
    """Limits beyond which a value is doubtful, and bad, as text."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranking and statistics of all picked micrographs."""

    best: tuple[int, ...]
    """Ledger numbers of the best micrographs, best first."""
    worst: tuple[int, ...]
    """Ledger numbers of the worst, worst first; none of them is among the best."""
    figures: tuple[FigureRow, ...]


def rank(rows: Iterable[MicrographRow], most: int) -> Ranking:
    """Return the best and the worst micrographs, and the distribution of their figures.

    Micrographs are ordered by verdict, then by number of picks: the best are good and have many
    picks, the worst are bad and have few. Micrographs without a verdict are not ranked.

    Parameters
    ----------
    rows
        Micrographs that have picks; iterated once.
    most
        Maximum number of the best, and of the worst.
    """
    places: list[tuple[int, int, int]] = []
    values: list[list[tuple[float, QualityVerdict]]] = [[] for _ in FIGURES]
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


def _spread(figure: Figure, known: list[tuple[float, QualityVerdict]]) -> FigureRow:
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

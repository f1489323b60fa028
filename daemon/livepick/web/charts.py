"""Plots as plain SVG: numbers go in, places go out, templates draw.

A session of ten thousand micrographs is shown in at most ``MOST_BINS`` equal spans of time, each by
its median and the range from the 10th to the 90th percentile: a page has no more columns than
that, and a pause of the microscope stays a gap. Horizontal places are percentages and vertical
ones pixels, so that a plot has the width of its box and its letters keep their size.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.training_report import Epoch
from livepick.ledger.rows import Moment

__all__ = [
    "Curve",
    "Curves",
    "Mark",
    "Plot",
    "Tick",
    "clock",
    "curves",
    "picks_plot",
    "score_plot",
]

MOST_BINS = 160
HEIGHT_PX = 132
"""Of the area that is drawn in."""

SIDES_PERCENT = 1.5
"""Empty at both sides, for dots on the edge."""

MOST_CHANGES = 12
"""Of the model; with more of them, as while all is picked again, the plot would be stripes."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tick:
    """A number or a time on an axis."""

    at: float
    """Percent across, or pixels down."""
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One span of time."""

    x: float
    """Percent across."""
    y: float
    """Of the median, pixels down."""
    low: float
    """Pixels down; the lower end of the range is further down."""
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Values over time."""

    title: str
    summary: str
    """What it shows, for who cannot see it."""
    marks: tuple[Mark, ...] = ()
    rows: tuple[Tick, ...] = ()
    columns: tuple[Tick, ...] = ()
    models: tuple[Tick, ...] = ()
    """Where another model began to pick."""
    height: int = HEIGHT_PX


@dataclass(frozen=True, slots=True)
class Curve:
    """One line."""

    name: str
    points: str
    """As SVG takes them, 0 to 100 across and down."""
    last: float


@dataclass(frozen=True, slots=True)
class Curves:
    """Lines over epochs."""

    title: str
    lines: tuple[Curve, ...]
    rows: tuple[Tick, ...]
    epochs: int
    height: int = HEIGHT_PX


def picks_plot(timeline: Sequence[Moment]) -> Plot:
    """Return the picks per micrograph over time."""
    counts = np.array([moment.pick_count for moment in timeline], dtype=float)
    highest = float(np.percentile(counts, 98)) if len(counts) else 1.0
    return _plot("Picks per micrograph", timeline, counts, (0.0, max(highest, 1.0)), "{:.0f}")


def score_plot(timeline: Sequence[Moment]) -> Plot:
    """Return the median score of a micrograph's picks over time."""
    scored = [moment for moment in timeline if moment.median_score is not None]
    scores = np.array([moment.median_score for moment in scored], dtype=float)
    lowest = math.floor(10 * float(scores.min())) / 10 if len(scores) else 0.0
    return _plot("Median score", scored, scores, (min(lowest, 0.9), 1.0), "{:.2f}")


@dataclass(frozen=True, slots=True)
class _Axes:
    begin: float
    """Unix seconds."""
    span: float
    low: float
    high: float

    def x(self, at: float) -> float:
        share = (at - self.begin) / self.span
        return round(SIDES_PERCENT + share * (100 - 2 * SIDES_PERCENT), 2)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT_PX * (1 - min(max(share, 0.0), 1.0)), 1)


def _plot(
    title: str,
    timeline: Sequence[Moment],
    values: FloatArray,
    limits: tuple[float, float],
    form: str,
) -> Plot:
    if not len(values):
        return Plot(title, f"{title}: nothing is picked yet.")
    at = np.array([moment.landed_at for moment in timeline])
    begin, span = float(at.min()), max(float(np.ptp(at)), 1.0)
    rows = _round_numbers(*limits)
    axes = _Axes(begin, span, rows[0], rows[-1])
    latest = form.format(float(values[-1]))
    return Plot(
        title,
        f"{title}: median {form.format(float(np.median(values)))}, latest {latest}.",
        tuple(_marks(at, values, axes, form)),
        tuple(Tick(axes.y(row), f"{row:g}") for row in rows),
        tuple(
            Tick(axes.x(begin + share * span), clock(begin + share * span))
            for share in (0.0, 0.5, 1.0)
        ),
        _changes(timeline, axes),
    )


def _marks(at: FloatArray, values: FloatArray, axes: _Axes, form: str) -> Iterator[Mark]:
    share = (at - axes.begin) / axes.span
    spans = np.minimum((share * MOST_BINS).astype(int), MOST_BINS - 1)
    # Few micrographs are shown one by one, each at its own time.
    of = spans if len(at) > MOST_BINS else np.arange(len(at))
    order = np.lexsort((values, of))
    firsts = np.flatnonzero(np.diff(of[order], prepend=-1))
    counts = np.diff(firsts, append=len(order))
    means = np.add.reduceat(at[order], firsts) / counts
    low, middle, high = (
        values[order][firsts + np.round(share * (counts - 1)).astype(int)]
        for share in (0.1, 0.5, 0.9)
    )
    table = (means.tolist(), low.tolist(), middle.tolist(), high.tolist(), counts.tolist())
    for mean_at, lower, median, upper, count in zip(*table, strict=True):
        many = f", {count} micrographs" if count > 1 else ""
        title = f"{clock(mean_at)}: {form.format(median)}{many}"
        yield Mark(axes.x(mean_at), axes.y(median), axes.y(lower), axes.y(upper), title)


def _changes(timeline: Sequence[Moment], axes: _Axes) -> tuple[Tick, ...]:
    """Return where the micrographs of another model begin."""
    changes = [
        Tick(axes.x(moment.landed_at), f"model {moment.model_version}")
        for before, moment in itertools.pairwise(timeline)
        if moment.model_version != before.model_version
    ]
    return tuple(changes) if len(changes) <= MOST_CHANGES else ()


def _round_numbers(low: float, high: float) -> list[float]:
    """Return three to six round numbers, evenly, that hold both ends between them."""
    rough = max(high - low, 1e-9) / 3
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(number * step, 10) for number in range(first, last + 1)]


def curves(title: str, epochs: Sequence[Epoch], *, accuracy: bool = False) -> Curves | None:
    """Return the losses over epochs, or the accuracies; None with less than two epochs."""
    pairs = [
        (epoch.training_accuracy, epoch.validation_accuracy)
        if accuracy
        else (epoch.training_loss, epoch.validation_loss)
        for epoch in epochs
    ]
    if len(pairs) < 2 or any(None in pair for pair in pairs):
        return None
    values = np.array(pairs, dtype=float)
    rows = _round_numbers(float(values.min()), 1.0 if accuracy else float(values.max()))
    low, high = rows[0], rows[-1]
    across = np.linspace(0, 100, len(values))
    down = 100 * (1 - (values - low) / (high - low))
    lines = tuple(
        Curve(
            name,
            " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down[:, number], strict=True)),
            float(values[-1, number]),
        )
        for number, name in enumerate(("training", "held out"))
    )
    ticks = tuple(Tick(HEIGHT_PX * (1 - (row - low) / (high - low)), f"{row:g}") for row in rows)
    return Curves(title, lines, ticks, len(values))


def clock(at: float) -> str:
    """Return a time of the clock on the wall where the service runs."""
    return time.strftime("%d %b %H:%M", time.localtime(at))

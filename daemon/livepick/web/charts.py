"""Plots as plain SVG: compute positions from numbers; the templates draw them.

A session of ten thousand micrographs is shown in at most ``MOST_BINS`` equal time spans, each by
its median and the range from the 10th to the 90th percentile. A page has no room for more columns,
and a pause of the microscope stays visible as a gap. Horizontal positions are percentages and
vertical ones pixels, so that a plot fills the width of its box and the text keeps its size.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.training_report import Epoch
from livepick.ledger.timeline import Timeline

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
"""Height of the plot area."""

SIDES_PERCENT = 1.5
"""Empty margin at each side, for dots on the edge."""

MOST_CHANGES = 12
"""Maximum number of model changes to mark. With more, for example while all micrographs are picked
again, the plot would be covered in stripes."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tick:
    """A number or a time on an axis."""

    at: float
    """Position, in percent from the left or in pixels from the top."""
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One time span."""

    x: float
    """Position, in percent from the left."""
    y: float
    """Median, in pixels from the top."""
    low: float
    """Lower end of the range, in pixels from the top, so it is greater than ``high``."""
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Values over time."""

    title: str
    summary: str
    """Text alternative for readers who cannot see the plot."""
    marks: tuple[Mark, ...] = ()
    rows: tuple[Tick, ...] = ()
    columns: tuple[Tick, ...] = ()
    models: tuple[Tick, ...] = ()
    """Positions where another model began to pick."""
    height: int = HEIGHT_PX


@dataclass(frozen=True, slots=True)
class Curve:
    """One line."""

    name: str
    points: str
    """Points in SVG syntax, 0 to 100 from the left and from the top."""
    last: float


@dataclass(frozen=True, slots=True)
class Curves:
    """Lines over epochs."""

    title: str
    lines: tuple[Curve, ...]
    rows: tuple[Tick, ...]
    epochs: int
    height: int = HEIGHT_PX


def picks_plot(timeline: Timeline) -> Plot:
    """Return the plot of picks per micrograph over time."""
    counts = timeline.pick_count
    highest = float(np.percentile(counts, 98)) if len(counts) else 1.0
    return _plot("Picks per micrograph", timeline, counts, (0.0, max(highest, 1.0)), "{:.0f}")


def score_plot(timeline: Timeline) -> Plot:
    """Return the plot of the median score of each micrograph's picks over time."""
    scored = timeline.scored()
    scores = scored.median_score
    lowest = math.floor(10 * float(scores.min())) / 10 if len(scores) else 0.0
    return _plot("Median score", scored, scores, (min(lowest, 0.9), 1.0), "{:.2f}")


@dataclass(frozen=True, slots=True)
class _Axes:
    begin: float
    """Start of the time axis, in unix seconds."""
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
    timeline: Timeline,
    values: FloatArray,
    limits: tuple[float, float],
    form: str,
) -> Plot:
    if not len(values):
        return Plot(title, f"{title}: no micrograph has been picked yet.")
    at = timeline.landed_at
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
    # If there are few micrographs, each is shown at its own time.
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


def _changes(timeline: Timeline, axes: _Axes) -> tuple[Tick, ...]:
    """Return the positions where the model changes; empty if there are too many changes."""
    places = np.flatnonzero(np.diff(timeline.model_version)) + 1
    if len(places) > MOST_CHANGES:
        return ()
    return tuple(
        Tick(axes.x(float(timeline.landed_at[n])), f"model {timeline.model_version[n]:.0f}")
        for n in places
    )


def _round_numbers(low: float, high: float) -> list[float]:
    """Return three to six evenly spaced round numbers whose range includes both ends."""
    rough = max(high - low, 1e-9) / 3
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(number * step, 10) for number in range(first, last + 1)]


def curves(title: str, epochs: Sequence[Epoch], *, accuracy: bool = False) -> Curves | None:
    """Return the curves of losses or accuracies over epochs; None with fewer than two epochs."""
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
    """Return a time as text, in the local time of the service."""
    return time.strftime("%d %b %H:%M", time.localtime(at))

"""Data of the plots over time: picks, scores, CTF, ice and verdicts, on one time axis.

The browser draws them (``templates/plots.js``, with uPlot). A session of tens of thousands of
micrographs is sent as at most ``MOST_SPANS`` equal time spans, each with the lowest, the median and
the highest value; a shorter span of time has each micrograph. A pause of the microscope stays
visible as a gap.
"""

import math
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.quality_limits import CTF_LIMITS, LIMITS, VERDICTS, Limit
from livepick.ledger.timeline import Timeline
from livepick.monitoring.human_units import zone

__all__ = ["MOST_MICROGRAPHS", "MOST_SPANS", "FigureSummary", "figure_summaries", "timeline_plots"]

MOST_MICROGRAPHS = 1500
"""Maximum number of micrographs that are sent one by one."""

MOST_SPANS = 400
"""Maximum number of time spans: a screen has no room for more columns."""

BARS = 24
"""Number of bars of a histogram."""

LEAST_FOR_TAILS = 200
"""Number of values from which the axis leaves out the extreme half percent at each end. The browser
draws these values at the edge."""

MOST_CHANGES = 12
"""Maximum number of model changes to mark. With more, for example while all micrographs are picked
again, the plots would be covered in lines."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Plotted:
    """A figure that has a plot."""

    name: str
    """Field of ``Timeline``."""
    title: str
    digits: int
    """Number of decimals that are shown."""
    unknown: str
    """Sentence if no micrograph has the figure."""
    is_from_zero: bool = False
    """True if the axis begins at zero."""
    is_ctf: bool = False

    @property
    def limit(self) -> Limit | None:
        """Limit of the figure; None if no value makes a micrograph doubtful or bad."""
        return _LIMITS.get(self.name)


_NO_CTF = "No {} is known: no CTF was fitted, and no other program has written one."

PLOTTED: Final = (
    _Plotted("pick_count", "Picks per micrograph", 0, "", is_from_zero=True),
    _Plotted("median_score", "Median score of picks", 2, "No micrograph has a pick with a score."),
    _Plotted(
        "defocus_micrometre", "Defocus, µm", 2, _NO_CTF.format("defocus"), is_ctf=True,
        is_from_zero=True,
    ),
    _Plotted(
        "ctf_resolution_angstrom", "CTF fit resolution, Å", 1, _NO_CTF.format("fit resolution"),
        is_ctf=True,
    ),
    _Plotted(
        "ice_ring", "Crystalline ice ring", 2,
        "No ice ring was measured: the pixels are too large for it.",
    ),
)  # fmt: skip

_LIMITS: Final = {limit.figure: limit for limit in (*LIMITS, *CTF_LIMITS)}


@dataclass(frozen=True, slots=True)
class FigureSummary:
    """Distribution of one figure, as text: what can be read without the plots."""

    title: str
    known: int
    """Number of micrographs that have the figure."""
    fitted: int
    """Number of them whose CTF livepick has fitted."""
    low: str
    """10th percentile, formatted; like the other numbers, empty if none has the figure."""
    median: str
    high: str
    """90th percentile, formatted."""
    latest: str
    limits: str
    """Limits beyond which a value is doubtful, and bad, as text."""
    unknown: str
    """Sentence why there is no plot; empty if there is one."""


def figure_summaries(timeline: Timeline) -> tuple[FigureSummary, ...]:
    """Return the distribution of each figure with a plot."""
    return tuple(_summary(figure, timeline) for figure in PLOTTED)


def _summary(figure: _Plotted, timeline: Timeline) -> FigureSummary:
    values = getattr(timeline, figure.name)
    is_known = ~np.isnan(values)
    known = values[is_known]
    numbers = [*np.percentile(known, (10, 50, 90)), known[-1]] if len(known) else []
    low, median, high, latest = [f"{number:.{figure.digits}f}" for number in numbers] or [""] * 4
    fitted = np.count_nonzero(timeline.ctf_is_fitted[is_known] == 1) if figure.is_ctf else 0
    return FigureSummary(
        figure.title,
        len(known),
        int(fitted),
        low,
        median,
        high,
        latest,
        limits="" if figure.limit is None else figure.limit.range,
        unknown="" if len(known) else figure.unknown,
    )


def timeline_plots(timeline: Timeline) -> dict[str, Any]:
    """Return the data of all plots, ready for JSON; scripts may depend on its keys.

    ``at`` counts seconds from ``from``. ``id`` has the number of each micrograph, or is null if
    each place stands for a span of time.
    """
    if not len(timeline):
        return {"micrographs": 0, "figures": []}
    begin, end = float(timeline.landed_at.min()), float(timeline.landed_at.max())
    spans = _Spans(timeline.landed_at)
    return {
        "micrographs": len(timeline),
        "from": round(begin, 3),
        "until": round(end, 3),
        "zone": zone(end),
        "offset_seconds": time.localtime(end).tm_gmtoff,
        "at": [round(at - begin, 1) for at in spans.mean(timeline.landed_at).tolist()],
        "id": None if spans.are_many else timeline.id.astype(int).tolist(),
        "count": spans.counts.tolist() if spans.are_many else None,
        "verdicts": {
            name: spans.sum(timeline.verdict == n) for n, name in enumerate(VERDICTS)
        },
        "models": _changes(timeline, begin),
        "figures": [
            data
            for figure in PLOTTED
            if (data := _figure(figure, timeline, spans)) is not None
        ],
    }  # fmt: skip


class _Spans:
    """Division of micrographs into time spans; with few micrographs, each is alone."""

    def __init__(self, landed_at: FloatArray) -> None:
        self.are_many = len(landed_at) > MOST_MICROGRAPHS
        if self.are_many:
            share = (landed_at - landed_at.min()) / max(float(np.ptp(landed_at)), 1e-9)
            _, self._of = np.unique(
                (share * MOST_SPANS * 0.999999).astype(int), return_inverse=True
            )
        else:
            self._of = np.arange(len(landed_at))
        self.counts = np.bincount(self._of)

    def mean(self, values: FloatArray) -> FloatArray:
        """Return the mean of each span."""
        return np.bincount(self._of, weights=values) / self.counts

    def sum(self, is_true: NDArray[np.bool_]) -> list[int]:
        """Return how many micrographs of each span are true."""
        counts: list[int] = np.bincount(self._of, weights=is_true).astype(int).tolist()
        return counts

    def low_middle_high(self, values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the lowest, the median and the highest known value of each span, or NaN."""
        if not self.are_many:
            return values, values, values
        order = np.lexsort((values, self._of))  # NaN last in each span
        known = np.bincount(self._of, weights=~np.isnan(values)).astype(int)
        firsts = np.cumsum(self.counts) - self.counts
        last = firsts + np.maximum(known - 1, 0)
        places = (firsts, (firsts + last) // 2, last)
        low, middle, high = (values[order][place] for place in places)
        return low, middle, high


def _figure(figure: _Plotted, timeline: Timeline, spans: _Spans) -> dict[str, Any] | None:
    values = getattr(timeline, figure.name)
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, middle, high = spans.low_middle_high(values)
    bottom, top = _axis(figure, known)
    bars, _ = np.histogram(np.clip(known, bottom, top), BARS, (bottom, top))
    limit = figure.limit
    return {
        "name": figure.name,
        "title": figure.title,
        "digits": figure.digits,
        "low": _rounded(low, figure.digits) if spans.are_many else None,
        "middle": _rounded(middle, figure.digits),
        "high": _rounded(high, figure.digits) if spans.are_many else None,
        "fitted": spans.sum(timeline.ctf_is_fitted == 1) if figure.is_ctf else None,
        "axis": [bottom, top],
        "bars": bars.tolist(),
        "limits": None if limit is None else {"doubtful": limit.doubtful, "bad": limit.bad},
    }


def _axis(figure: _Plotted, known: FloatArray) -> tuple[float, float]:
    """Return the ends of the vertical axis. The limit of a doubtful value is always on it."""
    tail = 0.5 if len(known) >= LEAST_FOR_TAILS else 0.0
    shown = [float(value) for value in np.percentile(known, (tail, 100 - tail))]
    if figure.is_from_zero:
        shown.append(0.0)
    if figure.limit is not None:
        shown.append(figure.limit.doubtful)
    bottom, top = min(shown), max(shown)
    margin = max(0.06 * (top - bottom), 10.0**-figure.digits)
    if not figure.is_from_zero:
        bottom -= margin
    return round(bottom, 4), round(top + margin, 4)


def _rounded(values: FloatArray, digits: int) -> list[float | int | None]:
    if digits == 0:
        return [None if math.isnan(value) else round(value) for value in values.tolist()]
    return [None if math.isnan(value) else round(value, digits + 1) for value in values.tolist()]


def _changes(timeline: Timeline, begin: float) -> list[tuple[float, int]]:
    """Return where the model changes, and to which version; empty if there are too many changes."""
    places = np.flatnonzero(np.diff(timeline.model_version)) + 1
    if len(places) > MOST_CHANGES:
        return []
    return [
        (round(float(timeline.landed_at[n]) - begin, 1), int(timeline.model_version[n]))
        for n in places
    ]

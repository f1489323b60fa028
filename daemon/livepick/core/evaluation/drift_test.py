"""Drift test: compare the latest micrographs of a session with the first ones of its model.

The *reference* is the first micrographs that a model picked and was not trained on. The *window* is
the latest micrographs that the same model picked. Four figures are compared: picks per micrograph,
their median score, the masked area, and the distribution of scores.

Neighbours on a grid are alike: a square has thin ice or thick ice, so its micrographs are not
independent samples. Five micrographs in a row therefore make one *batch* (the method of batch
means: Conway 1963, *Management Science* 10, 47; Law & Kelton, *Simulation Modeling and Analysis*,
ch. 9), and batches are compared. A change has to meet two conditions:

- *It is unlikely to be chance*: of all ways to assign the batches to reference and window, very few
  are as extreme. This is an exact rank test for the first three figures, and an exact permutation
  test for the distribution.
- *It matters*: the change is larger than the differences between squares of one good grid, and
  nearly as large in all batches of the window except one (for the distribution: in each half of the
  window). Seven poor micrographs in a row therefore do not count as a change.

The distribution of scores is compared by the population stability index, less its median over all
assignments of the batches, because the index of samples is never zero (``permutation_tests``).

A change that was found stays until it is clearly over, because lower limits apply to it (``ENDS``).

The limits are in this file, beside the comparison: they were chosen together, on the sessions of
``tests/benchmarks/drift.py``.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from livepick.core.evaluation.permutation_tests import (
    FloatArray,
    Floats,
    chance_of_ranks,
    stability,
)

__all__ = [
    "DRIFT_FIGURES",
    "DRIFT_KINDS",
    "REFERENCE",
    "WINDOW",
    "Change",
    "Drift",
    "DriftFigure",
    "DriftKind",
    "Measure",
    "Picked",
    "compare",
]

DriftFigure = Literal["picks", "median_score", "masked_fraction", "score_distribution"]
"""Figures that are compared."""

DriftKind = Literal["fewer_picks", "more_picks", "lower_scores", "other_scores", "more_masked"]
"""Kinds of change that can be found."""

DRIFT_FIGURES: tuple[DriftFigure, ...] = get_args(DriftFigure)
DRIFT_KINDS: tuple[DriftKind, ...] = get_args(DriftKind)

REFERENCE = 50
"""Micrographs in the reference: a few grid squares of one or two dozen micrographs each. With
fewer, there is no comparison."""

WINDOW = 25
"""Micrographs in the window: the number that may pass before a change is seen, and more than one
poor square."""

BATCH = 5
"""Neighbouring micrographs that count as one observation."""

CHANCE = 0.012
"""Largest fraction of the assignments of the ten and five batches that may be as extreme: 36 of
3003. Batches of one square are not independent either, so this is not a false alarm rate by itself;
together with the limits below it gives one."""

FEWER_FACTOR = 1.5
"""Factor by which picks per micrograph must decrease to be a change: about half-way, as a ratio, to
one half."""

MORE_FACTOR = 1.8
"""Factor by which picks per micrograph must increase to be a change. More picks of the same
particle do no harm, so finding this may take longer."""

ODDS_FACTOR = 2.0
"""Factor by which the odds ``s / (1 - s)`` of the median score must decrease to be a change."""

MASKED_MORE = 0.12
"""Increase of the masked fraction that is a change."""

PSI_MORE = 0.25
"""Conventional limit of the stability index for a large change, above the value due to chance."""

AGREED = 0.75
"""Fraction of the change that all batches of a window except one must reach."""

ENDS = 0.7
"""Fraction of a limit down to which an existing change stays, so that it does not come and go."""

STAYS = 0.05
"""Largest chance at which an existing change may stay."""

LEAST_SCORES = 100
"""Least number of picks in reference and in window for their scores to be compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """The values of one micrograph that the drift test uses."""

    scores: FloatArray
    """Scores of its picks; it may be empty."""
    masked_fraction: float
    """Area taken out of picking, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is large enough to matter and unlikely to be chance."""

    kind: DriftKind
    before: float
    """Median in the reference. For ``other_scores``: the stability index expected by chance."""
    now: float
    """Median in the window. For ``other_scores``: the stability index."""


@dataclass(frozen=True, slots=True)
class Measure:
    """The change of one figure between reference and window."""

    figure: DriftFigure
    size: float
    """Size of the change, relative to the smallest that matters; a new change has at least 1."""
    chance: float
    """Fraction of the assignments of batches that are at least as extreme."""
    stability_index: float | None = None
    """Stability index of the distribution of scores, including the part due to chance."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The result of a comparison."""

    measures: tuple[Measure, ...] = ()
    """Empty while there are too few micrographs."""
    changes: tuple[Change, ...] = ()
    """Changes that were found, the largest first."""
    model_version: int | None = None
    """Version of the model that picked both sides; None while there are too few micrographs."""

    def size(self, figure: DriftFigure) -> float:
        """Return the size of the change in a figure; 0 if it was not measured."""
        return next((m.size for m in self.measures if m.figure == figure), 0.0)

    @property
    def stability_index(self) -> float | None:
        """Stability index of the distribution of scores; None if it was not measured."""
        return next(
            (m.stability_index for m in self.measures if m.stability_index is not None), None
        )


def compare(
    reference: Sequence[Picked],
    window: Sequence[Picked],
    *,
    model_version: int,
    active: Collection[DriftKind] = (),
) -> Drift:
    """Compare a window with its reference.

    Parameters
    ----------
    reference, window
        Micrographs in the order of arrival. With fewer than ``REFERENCE`` or ``WINDOW`` of them,
        the result is empty.
    model_version
        Version of the model that picked both.
    active
        Kinds of change that an earlier comparison found.
    """
    if len(reference) < REFERENCE or len(window) < WINDOW:
        return Drift()
    both = _Both(_batches(reference), _batches(window), frozenset(active))
    compared = [both.picks(), both.masked(), *both.scores()]
    found = sorted(
        ((measure.size, change) for measure, change in compared if change is not None),
        key=lambda pair: -pair[0],
    )
    return Drift(
        measures=tuple(measure for measure, _ in compared),
        changes=tuple(change for _, change in found),
        model_version=model_version,
    )


def _batches(micrographs: Sequence[Picked]) -> list[Sequence[Picked]]:
    """Return batches of neighbouring micrographs; the oldest that do not fill one are left out."""
    first = len(micrographs) % BATCH
    return [micrographs[i : i + BATCH] for i in range(first, len(micrographs), BATCH)]


_Compared = tuple[Measure, Change | None]


@dataclass(frozen=True, slots=True)
class _Both:
    """Reference and window in batches, with the comparison of each figure."""

    reference: list[Sequence[Picked]]
    window: list[Sequence[Picked]]
    active: frozenset[DriftKind]

    def picks(self) -> _Compared:
        was, now = self._middles(lambda micrograph: len(micrograph.scores))
        old, new = float(np.median(was)), float(np.median(now))
        fewer = new < old
        factor = FEWER_FACTOR if fewer else MORE_FACTOR
        measure = Measure(
            "picks",
            _change(np.log(was + 1), np.log(now + 1), lower=fewer) / math.log(factor),
            chance_of_ranks(was, now, lower=fewer),
        )
        return self._limited(measure, Change("fewer_picks" if fewer else "more_picks", old, new))

    def masked(self) -> _Compared:
        was, now = self._middles(lambda micrograph: micrograph.masked_fraction)
        measure = Measure(
            "masked_fraction",
            _change(was, now, lower=False) / MASKED_MORE,
            chance_of_ranks(was, now, lower=False),
        )
        change = Change("more_masked", float(np.median(was)), float(np.median(now)))
        return self._limited(measure, change)

    def scores(self) -> list[_Compared]:
        """Compare the median score and the distribution, if there are enough picks."""
        was, now = (
            [np.concatenate([m.scores for m in batch]) for batch in side]
            for side in (self.reference, self.window)
        )
        if min(sum(map(len, was)), sum(map(len, now))) < LEAST_SCORES:
            return []
        return [self._median_score(was, now), self._distribution(was, now)]

    def _median_score(self, was: list[FloatArray], now: list[FloatArray]) -> _Compared:
        old, new = (float(np.median(np.concatenate(side))) for side in (was, now))
        was_odds, now_odds = (
            np.array([_log_odds(float(np.median(batch))) for batch in side if len(batch)])
            for side in (was, now)
        )
        measure = Measure(
            "median_score",
            _change(was_odds, now_odds, lower=True) / math.log(ODDS_FACTOR),
            chance_of_ranks(was_odds, now_odds, lower=True),
        )
        return self._limited(measure, Change("lower_scores", old, new))

    def _distribution(self, was: list[FloatArray], now: list[FloatArray]) -> _Compared:
        index, chance, by_chance = stability(was, now)
        halves = [stability(was, half) for half in (now[: len(now) // 2], now[len(now) // 2 :])]
        least = min(half - usual for half, _, usual in halves)
        measure = Measure("score_distribution", max(least, 0.0) / PSI_MORE, chance, index)
        return self._limited(measure, Change("other_scores", by_chance, index))

    def _limited(self, measure: Measure, change: Change) -> _Compared:
        """Return the measure, and the change if it is beyond the limits."""
        is_active = change.kind in self.active
        limit, chance = (ENDS, STAYS) if is_active else (1.0, CHANCE)
        found = measure.size >= limit and measure.chance <= chance
        return measure, change if found else None

    def _middles(self, figure: Callable[[Picked], float]) -> tuple[Floats, Floats]:
        """Return a figure for each batch of the reference and of the window.

        It is the mean without the lowest and the highest value, because one empty hole in five
        micrographs is usual.
        """
        was, now = (
            np.array(
                [
                    np.sort([figure(micrograph) for micrograph in batch])[1:-1].mean()
                    for batch in side
                ]
            )
            for side in (self.reference, self.window)
        )
        return was, now


def _change(reference: Floats, window: Floats, *, lower: bool) -> float:
    """Return by how much a window is lower (or higher); 0 if it is not.

    All batches of the window except one must have changed nearly as much (``AGREED``).
    """
    sign = -1 if lower else 1
    rise = np.sort(sign * (window - np.median(reference)))
    return max(min(float(np.median(rise)), float(rise[min(1, len(rise) - 1)]) / AGREED), 0.0)


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-3), 1 - 1e-3)
    return math.log(share / (1 - share))

"""Is a new model at least as good as the one that picks? Figures and a verdict.

Both pick the same held-out micrographs, which neither has learned from, and are compared by average
precision and by precision at the champion's number of picks: what would the session gain if the new
model wrote as many? The labels are those that either model's run has left
(``core.contracts.held_out_labels``): both, since a run that learned nonsense has labels to match. A
set of labels weighs as much as it has particles: the first run of a session may have held out a
micrograph with two. Where a person made labels, only those of persons count.

The interval of each difference is that of the percentile bootstrap over micrographs (Efron and
Tibshirani 1993, *An Introduction to the Bootstrap*, ch. 13): particles of one micrograph share
their ice and their defocus, so that micrographs, not particles, are what was drawn at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from livepick.core.evaluation.matching import Matches, figures, match_labels, pool
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks

__all__ = ["Comparison", "Difference", "Judged", "Pair", "Verdict", "compare", "decide", "measure"]

FloatArray = NDArray[np.float64]

RESAMPLES = 400

CONFIDENCE = 0.95

LEAST_FOR_INTERVAL = 3
"""Of fewer micrographs the bootstrap knows nothing; the interval is then ``WIDE`` to each side."""

WIDE = 0.03

LOSS = {"average_precision": 0.005, "precision": 0.01}
"""A loss up to here is no loss, if chance explains it. Of a few hundred picks, two or three wrong
ones more are a loss of 0.01 in precision."""

SURE_LOSS = 0.002
"""Nor is one up to here, if chance does not."""

LEAST_GAIN = 0.02
LEAST_GAIN_OF_REST = 0.15
"""A blob picker gives way to a gain in average precision of this, or of this part of what it lacks
if that is less. A network and the labels have learned from the same 2D classes, and agree where
both are wrong: on EMPIAR-10017 such labels favoured networks by .03 to .09."""

LEAST_AVERAGE_PRECISION = 0.1
"""A model that finds less of what it was taught itself is none, whatever the other does."""

Mode = Literal["strict", "tolerant", "off"]
Outcome = Literal["better", "as good", "worse", "not compared"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pair:
    """What two models picked in one held-out micrograph, and what one set of labels says."""

    micrograph: str
    """Its path: the same in each set of labels that has it."""
    labels: int
    """Number of the set."""
    particles: Picks
    """What is to be found."""
    doubtful: Picks
    """What counts neither way."""
    radius_px: float
    """Within which a pick is right, in pixels of the micrograph."""
    candidate: Picks
    champion: Picks
    champion_threshold: float
    """From which on its picks are written."""
    area: PickArea | None = None
    """Where both models may pick, in pixels of the micrograph: only there they are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One held-out micrograph, matched with one set of labels."""

    micrograph: str
    """Its path: the same in each set of labels that has it."""
    labels: int
    """Number of the set."""
    candidate: Matches
    champion: Matches
    champion_threshold: float
    """From which on its picks are written."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of both models, and the candidate's less the champion's with its interval."""

    candidate: float
    champion: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on held-out micrographs."""

    average_precision: Difference
    precision: Difference
    """At the number of picks that the champion writes."""
    picks: int
    """That number."""
    particles: int
    """Labels, of all sets."""
    micrographs: int
    own_average_precision: float
    """Of the candidate against the labels of its own run; NaN without."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model is to pick."""

    promote: bool
    outcome: Outcome
    sentence: str


def measure(pairs: Sequence[Pair], *, own_labels: int) -> Comparison:
    """Match what both models picked, and compare; as of ``compare``."""
    judged = []
    for pair in pairs:
        candidate, champion = (
            match_labels(
                picks, pair.particles, pair.doubtful, radius_px=pair.radius_px, area=pair.area
            )
            for picks in (pair.candidate, pair.champion)
        )
        judged.append(
            Judged(pair.micrograph, pair.labels, candidate, champion, pair.champion_threshold)
        )
    return compare(judged, own_labels=own_labels)


def compare(judged: Sequence[Judged], *, own_labels: int, seed: int = 0) -> Comparison:
    """Return the figures of both models and the intervals of their differences.

    Parameters
    ----------
    judged
        At least one.
    own_labels
        Number of the labels of the candidate's own run; any other number if they do not count.
    seed
        Of the bootstrap.
    """
    names = sorted({one.micrograph for one in judged})
    at = {name: [one for one in judged if one.micrograph == name] for name in names}
    here = _figures(judged)
    generator = np.random.default_rng(seed)
    drawn = np.array(
        [
            _figures(
                [
                    one
                    for i in generator.integers(len(names), size=len(names))
                    for one in at[names[i]]
                ]
            )
            for _ in range(RESAMPLES if len(names) >= LEAST_FOR_INTERVAL else 0)
        ]
    ).reshape(-1, 4)
    own = [one.candidate for one in judged if one.labels == own_labels]
    return Comparison(
        average_precision=_difference(here[:2], drawn[:, :2]),
        precision=_difference(here[2:], drawn[:, 2:]),
        picks=sum(_written(one) for one in _first_of_each(judged)),
        particles=sum(one.champion.truths for one in judged),
        micrographs=len(names),
        own_average_precision=figures(own).average_precision if own else float("nan"),
    )


def decide(
    comparison: Comparison | None, *, mode: Mode, asked: bool, provisional: bool = False
) -> Verdict:
    """Return whether the candidate is to pick.

    Parameters
    ----------
    comparison
        None if there was nothing to compare on.
    mode
        ``config.Retrain.gate``.
    asked
        Whether a person asked for this model, which lets it win a tie under ``strict``.
    provisional
        True if the champion is a blob picker, which gives way only to a clear gain.
    """
    outcome = _outcome(comparison, provisional=provisional)
    wins_ties = mode == "tolerant" or (asked and not provisional)
    promote = mode == "off" or outcome == "better" or (outcome == "as good" and wins_ties)
    words = {
        "better": "it is better",
        "as good": "it is as good",
        "worse": "it is worse",
        "not compared": "no held-out micrograph with labels could be picked with both, so nothing"
        " shows that it is better; livepick models promote takes it all the same",
    }[outcome]
    rule = ""
    if outcome == "as good":
        rule = ", and was asked for" if asked else ""
        if not promote:
            rule = ", and nobody asked for it (retrain.gate: strict)"
            if provisional:
                rule = ", and the blob picker gives way only to a clear gain (retrain.gate: strict)"
    elif mode == "off" and outcome != "better":
        rule = ", but the gate is off (retrain.gate: off)"
    return Verdict(promote, outcome, _sentence(comparison, words + rule))


def _outcome(comparison: Comparison | None, *, provisional: bool) -> Outcome:
    if comparison is None:
        return "not compared"
    if comparison.own_average_precision < LEAST_AVERAGE_PRECISION:
        return "worse"
    for name, most in LOSS.items():
        figure: Difference = getattr(comparison, name)
        sure = figure.high < 0 and figure.difference < -SURE_LOSS
        if sure or figure.difference < -most:
            return "worse"
    average = comparison.average_precision
    if provisional:
        wanted = min(LEAST_GAIN, LEAST_GAIN_OF_REST * (1 - average.champion))
        return "better" if average.difference >= wanted else "as good"
    return "better" if average.low > 0 else "as good"


def _sentence(comparison: Comparison | None, verdict: str) -> str:
    if comparison is None:
        return verdict
    average, precision = comparison.average_precision, comparison.precision
    return (
        f"average precision {average.candidate:.3f} against {average.champion:.3f}"
        f" ({average.difference:+.3f}, 95 % from {average.low:+.3f} to {average.high:+.3f}),"
        f" precision of {comparison.picks} picks {precision.candidate:.3f} against"
        f" {precision.champion:.3f} ({precision.difference:+.3f}), on {comparison.micrographs}"
        f" held-out micrograph{'s' if comparison.micrographs > 1 else ''}: {verdict}"
    )


def _figures(judged: Sequence[Judged]) -> tuple[float, float, float, float]:
    """Return average precisions and precisions of candidate and champion, weighted by labels."""
    each, weights = [], []
    for labels in sorted({one.labels for one in judged}):
        here = [one for one in judged if one.labels == labels]
        particles = sum(one.champion.truths for one in here)
        if not particles:
            continue  # nothing to find, nothing to compare
        weights.append(particles)
        candidate, champion = [one.candidate for one in here], [one.champion for one in here]
        count = sum(_written(one) for one in here)
        each.append(
            (
                figures(candidate).average_precision,
                figures(champion).average_precision,
                _precision_of_best(candidate, count),
                _precision_of_best(champion, count),
            )
        )
    mean: FloatArray = np.average(each, axis=0, weights=weights) if each else np.zeros(4)
    return mean[0], mean[1], mean[2], mean[3]


def _precision_of_best(matches: Sequence[Matches], count: int) -> float:
    """Return the precision of the best ``count`` picks; lacking ones count as misses."""
    return float(pool(matches).hit[:count].sum() / count) if count else 0.0


def _written(one: Judged) -> int:
    return int((one.champion.score >= one.champion_threshold).sum())


def _first_of_each(judged: Sequence[Judged]) -> list[Judged]:
    return list({one.micrograph: one for one in reversed(judged)}.values())


def _difference(here: tuple[float, ...], drawn: FloatArray) -> Difference:
    difference = here[0] - here[1]
    if len(drawn):
        tail = 100 * (1 - CONFIDENCE) / 2
        low, high = np.percentile(drawn[:, 0] - drawn[:, 1], [tail, 100 - tail])
    else:
        low, high = difference - WIDE, difference + WIDE
    return Difference(float(here[0]), float(here[1]), float(difference), float(low), float(high))

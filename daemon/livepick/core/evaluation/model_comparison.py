"""Comparison of a new model, the candidate, with the current model.

Both models pick the same held-out micrographs, which neither was trained on. They are compared by
average precision and by precision at the current model's number of picks: what would the session
gain if the new model wrote as many picks? The labels come from the training runs of both models
(``core.contracts.held_out_labels``), because a run that learned nonsense also has labels that agree
with it. Each set of labels is weighted by its number of particles: the first run of a session may
have held out a micrograph with only two. Where a person made labels, only those count.

The confidence interval of each difference is a percentile bootstrap over micrographs (Efron and
Tibshirani 1993, *An Introduction to the Bootstrap*, ch. 13). Particles of one micrograph share
their ice and their defocus, so the independent samples are the micrographs, not the particles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from livepick.core.evaluation.matching import Matches, figures, match_labels, pool
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks

__all__ = ["Comparison", "Decision", "Difference", "Judged", "Pair", "compare", "decide", "measure"]

FloatArray = NDArray[np.float64]

RESAMPLES = 400
CONFIDENCE = 0.95

LEAST_FOR_INTERVAL = 3
"""Fewest micrographs for the bootstrap; with fewer, the interval is ``WIDE`` to each side."""

WIDE = 0.03

LOSS = {"average_precision": 0.005, "precision": 0.01}
"""Largest loss that is ignored if it can be due to chance. Among a few hundred picks, two or three
more wrong ones are a loss of 0.01 in precision."""

SURE_LOSS = 0.002
"""Largest loss that is ignored even if it cannot be due to chance."""

LEAST_GAIN = 0.02
LEAST_GAIN_OF_REST = 0.15
"""A blob picker is replaced for a gain in average precision of ``LEAST_GAIN``, or of this fraction
of what it lacks to 1 if that is less. The network and the labels were learned from the same 2D
classes, so they agree even where both are wrong: on EMPIAR-10017 these labels favoured networks by
.03 to .09."""

LEAST_AVERAGE_PRECISION = 0.1
"""Least average precision of a candidate on the labels of its own run. Below it, the candidate is
rejected, however poor the current model is."""

Mode = Literal["strict", "tolerant", "off"]
Outcome = Literal["better", "as good", "worse", "not compared"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pair:
    """The picks of two models in one held-out micrograph, and one set of labels for it."""

    micrograph: str
    """Path of the micrograph, the same in each set of labels that includes it."""
    labels: int
    """Number of the set of labels."""
    particles: Picks
    """Labelled particles, which should be found."""
    doubtful: Picks
    """Doubtful labels, which count neither way."""
    radius_px: float
    """Largest distance of a correct pick from its particle, in pixels of the micrograph."""
    candidate: Picks
    current: Picks
    current_threshold: float
    """Lowest score of the picks that the current model writes."""
    area: PickArea | None = None
    """Area where both models may pick, in pixels of the micrograph; only picks in it count."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One held-out micrograph, matched with one set of labels."""

    micrograph: str
    """Path of the micrograph, the same in each set of labels that includes it."""
    labels: int
    """Number of the set of labels."""
    candidate: Matches
    current: Matches
    current_threshold: float
    """Lowest score of the picks that the current model writes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure for both models, and the difference (candidate - current) with its interval."""

    candidate: float
    current: Annotated[float, Field(alias="champion")]
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on held-out micrographs."""

    average_precision: Difference
    precision: Difference
    """Precision at the number of picks that the current model writes."""
    picks: int
    """Number of picks that the current model writes."""
    particles: int
    """Number of labelled particles in all sets of labels."""
    micrographs: int
    own_average_precision: float
    """Average precision of the candidate on the labels of its own run; NaN if there are none."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision on the promotion of a candidate."""

    promote: bool
    outcome: Outcome
    sentence: str


def measure(pairs: Sequence[Pair], *, own_labels: int) -> Comparison:
    """Match the picks of both models with the labels, and compare them as ``compare`` does."""
    judged = []
    for pair in pairs:
        candidate, current = (
            match_labels(
                picks, pair.particles, pair.doubtful, radius_px=pair.radius_px, area=pair.area
            )
            for picks in (pair.candidate, pair.current)
        )
        judged.append(
            Judged(pair.micrograph, pair.labels, candidate, current, pair.current_threshold)
        )
    return compare(judged, own_labels=own_labels)


def compare(judged: Sequence[Judged], *, own_labels: int, seed: int = 0) -> Comparison:
    """Return the figures of both models and the intervals of their differences.

    Parameters
    ----------
    judged
        Matched micrographs, at least one.
    own_labels
        Number of the set of labels from the candidate's own run; any other number if these labels
        do not count.
    seed
        Random seed of the bootstrap.
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
        particles=sum(one.current.truths for one in judged),
        micrographs=len(names),
        own_average_precision=figures(own).average_precision if own else float("nan"),
    )


def decide(
    comparison: Comparison | None, *, mode: Mode, requested: bool, provisional: bool = False
) -> Decision:
    """Decide whether the candidate is promoted.

    Parameters
    ----------
    comparison
        Result of the comparison; None if there was nothing to compare on.
    mode
        Value of the setting ``retrain.gate``.
    requested
        True if a person requested this model, which lets it win a tie under ``strict``.
    provisional
        True if the current model is a blob picker, which is only replaced for a clear gain.
    """
    outcome = _outcome(comparison, provisional=provisional)
    nothing_to_gain = provisional and comparison is not None and _is_gain(comparison)
    wins_ties = mode == "tolerant" or nothing_to_gain or (requested and not provisional)
    promote = mode == "off" or outcome == "better" or (outcome == "as good" and wins_ties)
    words = {
        "better": "the new model is better",
        "as good": "the difference is within the uncertainty",
        "worse": "the new model is worse",
        "not compared": "no held-out micrograph with labels could be picked with both models, so"
        " there is no evidence that the new one is better; livepick models promote uses it anyway",
    }[outcome]
    rule = ""
    if outcome == "as good":
        rule = ", and an edit of the config requested it" if requested else ""
        if nothing_to_gain:
            rule = ", and the first picker leaves nothing to gain in them"
        if not promote:
            rule = ", and nobody requested it (retrain.gate: strict)"
            if provisional:
                rule = ", and only a clear gain replaces the first picker (retrain.gate: strict)"
    elif mode == "off" and outcome != "better":
        rule = ", but the promotion gate is off (retrain.gate: off)"
    return Decision(promote, outcome, _sentence(comparison, words + rule))


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
    if provisional and average.difference > 0 and _is_gain(comparison):
        return "better"
    return "better" if average.low > 0 and not provisional else "as good"


def _is_gain(comparison: Comparison) -> bool:
    """Return True for the gain that replaces a blob picker; 0 if that one makes no mistake."""
    average = comparison.average_precision
    return average.difference >= min(LEAST_GAIN, LEAST_GAIN_OF_REST * (1 - average.current))


def _sentence(comparison: Comparison | None, conclusion: str) -> str:
    if comparison is None:
        return conclusion
    average, precision = comparison.average_precision, comparison.precision
    return (
        f"average precision {average.candidate:.3f} against {average.current:.3f}"
        f" ({average.difference:+.3f}, 95 % from {average.low:+.3f} to {average.high:+.3f}),"
        f" precision of {comparison.picks} picks {precision.candidate:.3f} against"
        f" {precision.current:.3f} ({precision.difference:+.3f}), on {comparison.micrographs}"
        f" held-out micrograph{'s' if comparison.micrographs > 1 else ''}: {conclusion}"
    )


def _figures(judged: Sequence[Judged]) -> tuple[float, float, float, float]:
    """Return the average precisions and the precisions of both models, weighted by particles."""
    each, weights = [], []
    for labels in sorted({one.labels for one in judged}):
        here = [one for one in judged if one.labels == labels]
        particles = sum(one.current.truths for one in here)
        if not particles:
            continue  # no particles: nothing to compare
        weights.append(particles)
        candidate, current = [one.candidate for one in here], [one.current for one in here]
        count = sum(_written(one) for one in here)
        each.append(
            (
                figures(candidate).average_precision,
                figures(current).average_precision,
                _precision_of_best(candidate, count),
                _precision_of_best(current, count),
            )
        )
    mean: FloatArray = np.average(each, axis=0, weights=weights) if each else np.zeros(4)
    return mean[0], mean[1], mean[2], mean[3]


def _precision_of_best(matches: Sequence[Matches], count: int) -> float:
    """Return the precision of the best ``count`` picks; missing ones count as wrong."""
    return float(pool(matches).hit[:count].sum() / count) if count else 0.0


def _written(one: Judged) -> int:
    return int((one.current.score >= one.current_threshold).sum())


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

"""Choice of the operating point: the score threshold at which picks are written.

If the 2D classes have judged the candidates, each pick has a probability of being a particle: the
score of its class. The score with the highest *expected* F1 under these probabilities does not
depend on a list of all particles, and so it has no bias towards the picker that made the list. (The
seeds of a picker are the easy particles. Against them the best F1 is at too high a score: .61 where
.24 was right.) F1 is flat around its maximum, so this score scatters. The threshold is therefore
the midpoint between this score and 0.3. The value 0.3 alone was within .016 of the best F1 against
the true positions on five sets of micrographs with strong signal (one real, four simulated).

Without classes it is the score with the best F1 against the seeds, with the hits and misses of all
held-out micrographs pooled. This is right for seeds picked by a person. If a picker found the
seeds, the threshold is the midpoint between that score and 0.5, the score at which the network
considers both classes equally likely.

If a person has given the number of particles in a typical micrograph, it is the score that gives
this number of picks. If there are too few held-out seeds, or if the best F1 shows that network and
seeds do not agree, it is the score that gives as many picks as there are seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick.core.evaluation.matching import Matches, figures, pool, precision_recall_f1
from livepick.errors import TrainerError

__all__ = ["EVEN_ODDS", "LEAST_SEEDS", "OperatingPoint", "choose_operating_point"]

Vector = NDArray[np.float32]

LEAST_SEEDS = 10
"""Minimum number of held-out seeds for choosing a threshold by F1."""

EVEN_ODDS = 0.5
"""Score of a pixel that the network considers equally likely to be particle or background."""

USUAL_THRESHOLD = 0.3
"""Usual threshold; see the module docstring."""

LEAST_KNOWN = 0.5
"""Minimum number of picks in 2D classes, as a fraction of the picks with even odds or better."""

LEAST_F1 = 0.1
"""A best F1 below this value does not determine a threshold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """The score threshold for picks, and the figures at this threshold."""

    threshold: float
    source: str
    """Method by which the threshold was chosen, in words."""
    precision: float
    """Precision against the held-out seeds at the threshold; NaN if nothing counts."""
    recall: float
    f1: float


def choose_operating_point(
    matches: Sequence[Matches],
    *,
    expected_picks: int | None = None,
    scores: Sequence[Vector] | None = None,
    easy_seeds: bool = False,
    by_class: Sequence[tuple[Vector, Vector]] | None = None,
) -> OperatingPoint:
    """Return the operating point that the module docstring describes.

    Parameters
    ----------
    matches
        Matches of each held-out micrograph.
    expected_picks
        Number of picks in a typical micrograph, if known.
    scores
        Scores of all picks in each micrograph, including those that count neither way, because
        these will be written too; None if there are no such picks.
    easy_seeds
        True if the seeds come from a picker, which misses the difficult particles.
    by_class
        Scores of the picks of each micrograph, and their probabilities of being particles according
        to their 2D classes; NaN where nothing is known.

    Raises
    ------
    TrainerError
        There are no picks to choose from.
    """
    pooled = pool(matches)
    if not len(pooled.score):
        raise TrainerError(
            "the network finds nothing in the held-out micrographs",
            "Check particle.diameter_angstrom and particle.contrast, or raise"
            " bootstrap.micrographs.",
        )
    if expected_picks is not None:
        every = pooled.score if scores is None else np.sort(np.concatenate(scores))[::-1]
        threshold = float(every[min(expected_picks * len(matches), len(every)) - 1])
        source = (
            f"as many picks as expected (training.expected_picks, {expected_picks} per micrograph)"
            f" in {len(matches)} held-out micrographs"
        )
    elif (expected := _best_expected(by_class or [])) is not None:
        best, f1, count = expected
        threshold = (best + USUAL_THRESHOLD) / 2
        source = (
            f"midpoint between {USUAL_THRESHOLD} and {best:.2f}, which has the highest expected F1"
            f" ({f1:.2f}) according to the 2D classes of {count} picks"
        )
    else:
        threshold, source = _by_seeds(matches, easy_seeds=easy_seeds)
    precision, recall, f1 = precision_recall_f1(matches, threshold)
    return OperatingPoint(
        threshold=threshold, source=source, precision=precision, recall=recall, f1=f1
    )


def _by_seeds(matches: Sequence[Matches], *, easy_seeds: bool) -> tuple[float, str]:
    """Return the threshold according to the held-out seeds, and where it comes from."""
    pooled, found = pool(matches), figures(matches)
    if pooled.truths < LEAST_SEEDS or not found.best_f1 >= LEAST_F1:
        count = max(pooled.truths, 1)
        return float(pooled.score[min(count, len(pooled.score)) - 1]), (
            f"as many picks as seeds ({pooled.truths}) in {len(matches)} held-out micrographs,"
            " because there is no meaningful F1"
        )
    source = f"best F1 against {pooled.truths} seeds in {len(matches)} held-out micrographs"
    if not easy_seeds:
        return found.threshold, source
    return (found.threshold + EVEN_ODDS) / 2, (
        f"midpoint between {EVEN_ODDS} and {found.threshold:.2f}, which has the {source}; a"
        " picker's seeds lack the difficult particles"
    )


def _best_expected(by_class: Sequence[tuple[Vector, Vector]]) -> tuple[float, float, int] | None:
    """Return the threshold with the highest expected F1, this F1, and the number of picks used.

    Return None if too few picks have a known probability. For picks with probabilities p, N of
    which are above a threshold, the expected F1 is 2 sum(p above) / (N + sum(p)).
    """
    if not by_class:
        return None
    score, chance = (np.concatenate(of_all) for of_all in zip(*by_class, strict=True))
    known = np.isfinite(chance)
    if known.sum() < max(LEAST_SEEDS, LEAST_KNOWN * (score >= EVEN_ODDS).sum()):
        return None
    order = np.argsort(-score[known], kind="stable")
    score, chance = score[known][order], chance[known][order].astype(np.float64)
    f1 = 2 * np.cumsum(chance) / (np.arange(1, len(chance) + 1) + chance.sum())
    best = int(f1.argmax())
    return float(score[best]), float(f1[best]), len(score)

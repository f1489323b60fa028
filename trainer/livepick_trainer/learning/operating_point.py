"""Choice of the operating point: the score threshold at which picks are written.

Seeds picked by a person define the threshold: it is the score with the best F1 against them, with
the hits and misses of all held-out micrographs pooled.

Seeds found by a picker do not, because they are the easy particles: against them the best F1 is at
too high a score. The threshold is then relative to the *typical* pick, the median of the held-out
picks with even odds or better: the score whose odds are ``FEWER_ODDS`` times lower. The scale of
the scores differs from session to session, with the signal and with the purity of the seeds: the
typical score was between .83 and .96. A score of .75 was a particle in 60 % of the cases where the
typical score is .90, and in 10 % where it is .95.

The constant was chosen on four sets of micrographs (EMPIAR-10017, simulated proteasome, crowded
polymerase and apoferritin), where exponents from 1.75 to 2.25 are equally good, and compared on
five others (sums and frames of EMPIAR-10146, simulated galactosidase, spike and ribosome). On
these, F1 in unseen micrographs was below the best by .011 on average over their halves, and by at
most .032. The earlier rule, the highest expected F1 according to the 2D classes, was below it by
.013 and at most .036: a class says little about its members with low scores. Of the simulated
ribosome's picks with scores from .3 to .8, 9 % were particles, but their classes made 70 to 93 % of
them particles.

Without enough such picks, the threshold is the midpoint between the score with the best F1 against
the seeds and 0.5, the score at which the network considers both classes equally likely.

If a person has given the number of particles in a typical micrograph, it is the score that gives
this number of picks. If there are too few held-out seeds, or if the best F1 shows that network and
seeds do not agree, it is the score that gives as many picks as there are seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

FEWER_ODDS = math.exp(2)
"""Odds of the typical pick divided by those at the threshold; see the module docstring."""

SUREST = 0.999
"""Highest score that is used as the typical one."""

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
    every = pooled.score if scores is None else np.sort(np.concatenate(scores))[::-1]
    if expected_picks is not None:
        threshold = float(every[min(expected_picks * len(matches), len(every)) - 1])
        source = (
            f"as many picks as expected (training.expected_picks, {expected_picks} per micrograph)"
            f" in {len(matches)} held-out micrographs"
        )
    elif easy_seeds and (typical := _typical_score(every)) is not None:
        odds = typical / (1 - typical) / FEWER_ODDS
        threshold = odds / (1 + odds)
        source = (
            f"odds {FEWER_ODDS:.1f} times lower than at {typical:.2f}, the median score of the"
            f" likely picks in {len(matches)} held-out micrographs"
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


def _typical_score(scores: NDArray[np.floating[Any]]) -> float | None:
    """Return the median of the scores with even odds or better; None if there are too few."""
    likely = scores[scores >= EVEN_ODDS]
    return float(np.clip(np.median(likely), 0, SUREST)) if len(likely) >= LEAST_SEEDS else None

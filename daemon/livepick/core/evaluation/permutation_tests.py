"""Exact tests of whether the last of a series of batches differ from the first ones.

Chance is computed over all assignments of the batches to reference and window: no distribution is
assumed, and nothing is sampled. For single figures this is the rank test of Mann & Whitney (1947,
*Ann. Math. Stat.* 18, 50).

Distributions are compared by the population stability index, ``PSI = sum((w - r) ln(w / r))`` over
the deciles of the reference (Siddiqi 2006, *Credit Risk Scorecards*; it is Jeffreys' divergence).
By convention, a value above 0.25 is a large change. It is never zero in samples: without any change
its mean is about ``9 (1/n + 1/m)`` for n and m independent scores (Yurdakul & Naranjo 2020, *J.
Risk Model Validation* 14(4), 89), and larger for scores that are grouped by micrograph.
"""

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "Floats", "chance_of_ranks", "population_stability_index", "stability"]

BINS = 10
"""Number of bins of a distribution: the deciles of the reference."""

FloatArray = NDArray[np.float32]
Floats = NDArray[np.float64]


def chance_of_ranks(reference: Floats, window: Floats, *, lower: bool) -> float:
    """Return the probability that a window ranks so low (or high), by an exact Mann-Whitney test.

    Equal values share their mean rank. The result is 1 if either side is empty.
    """
    if not len(reference) or not len(window):
        return 1.0
    both = np.concatenate([window, reference])
    if not lower:
        both = -both
    less = (both[None, :] < both[:, None]).sum(axis=1)
    ranks = less + 0.5 * (both[None, :] == both[:, None]).sum(axis=1)
    sums = ranks[_deals(len(both), len(window))].sum(axis=1)
    return float((sums <= sums[0] + 1e-9).mean())


def stability(
    reference: Sequence[FloatArray], window: Sequence[FloatArray]
) -> tuple[float, float, float]:
    """Return the population stability index, the chance of one so large, and its median by chance.

    Chance is computed over all assignments of the batches to reference and window. Batches are kept
    whole, because the scores of one micrograph belong together.

    Parameters
    ----------
    reference, window
        Scores of each batch.
    """
    edges = np.quantile(np.concatenate(reference), np.arange(1, BINS) / BINS)
    counts = np.array(
        [
            np.bincount(np.searchsorted(edges, batch, side="right"), minlength=BINS)
            for batch in [*window, *reference]
        ]
    )
    dealt = counts[_deals(len(counts), len(window))].sum(axis=1)
    indices = population_stability_index(counts.sum(axis=0) - dealt, dealt)
    index = float(indices[0])
    return index, float((indices >= index - 1e-9).mean()), float(np.median(indices))


def population_stability_index(reference: NDArray[np.int_], window: NDArray[np.int_]) -> Floats:
    """Return the index of counts by bin (the last axis); half a count is added to each bin."""
    was, now = (
        (counts + 0.5) / (counts + 0.5).sum(axis=-1, keepdims=True)
        for counts in (reference, window)
    )
    index: Floats = ((now - was) * np.log(now / was)).sum(axis=-1)
    return index


@cache
def _deals(count: int, chosen: int) -> NDArray[np.int_]:
    """Return the indices of all ways to choose ``chosen`` of ``count``, in lexical order."""
    return np.array(list(itertools.combinations(range(count), chosen)))

"""Exact tests of batches against chance."""

import numpy as np
import pytest

from livepick.core.evaluation.permutation_tests import (
    chance_of_ranks,
    population_stability_index,
    stability,
)


def test_equal_shares_have_a_stability_index_of_zero():
    """The total numbers do not matter."""
    counts = np.array([40, 40, 20])
    assert population_stability_index(counts * 1000, counts * 10) == pytest.approx(0, abs=1e-2)


def test_the_stability_index_is_that_of_the_literature():
    """Shares of 1/2, 1/2 against 1/4, 3/4: 0.25 ln 2 + 0.25 ln 1.5."""
    index = population_stability_index(np.array([50_000, 50_000]), np.array([25_000, 75_000]))
    assert index == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5), abs=1e-3)


def test_without_any_change_the_index_is_what_chance_gives():
    """Its mean is 9 (1/n + 1/m) for independent scores and ten bins (Yurdakul and Naranjo)."""
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(40):
        reference, window = (
            [rng.uniform(size=25).astype(np.float32) for _ in range(batches)] for batches in (8, 4)
        )
        _, _, by_chance = stability(reference, window)
        ratios.append(by_chance / (9 * (1 / 200 + 1 / 100)))
    assert 0.7 < np.mean(ratios) < 1.3


def test_scores_that_come_in_micrographs_have_a_larger_index_by_chance():
    """Each batch has its own level, so the number of scores alone would promise too much."""
    rng = np.random.default_rng(2)
    reference, window = (
        [rng.normal(rng.normal(0, 1), 0.5, 100).astype(np.float32) for _ in range(batches)]
        for batches in (8, 4)
    )
    _, chance, by_chance = stability(reference, window)
    assert by_chance > 5 * 9 * (1 / 800 + 1 / 400)
    assert chance > 0.01


def test_the_rank_test_is_exact():
    """Four below eight are one of 495 arrangements; equal values are all of them."""
    low, high = np.arange(4.0), np.arange(10.0, 18.0)
    assert chance_of_ranks(high, low, lower=True) == pytest.approx(1 / 495)
    assert chance_of_ranks(high, low, lower=False) == 1
    assert chance_of_ranks(low[:2], high[:2], lower=False) == pytest.approx(1 / 6)
    assert chance_of_ranks(np.ones(8), np.ones(4), lower=True) == 1
    assert chance_of_ranks(np.ones(0), np.ones(4), lower=True) == 1

"""Agreement of half averages in fine rings."""

import numpy as np
import pytest

from livepick_trainer.classification.half_agreement import agreement_sigmas, is_beyond_noise

BOX_PX = 64
Y, X = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
MASK = 1 / (1 + np.exp(np.hypot(Y, X) - 21))


def agreement(signal, seed):
    rng = np.random.default_rng(seed)
    first, second = (signal + rng.normal(0, 1, (2, BOX_PX, BOX_PX))).astype(np.float32)
    return agreement_sigmas(first, second, MASK)


def test_noise_agrees_by_chance_with_a_standard_deviation_of_one():
    found = [agreement(0, seed) for seed in range(300)]
    assert np.mean(found) == pytest.approx(0, abs=0.15)
    assert np.std(found) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("cycles", "agrees"), [(2, False), (4, False), (8, True), (20, False)])
def test_only_fine_rings_count(cycles, agrees):
    """Aligned noise agrees in the coarse ones."""
    found = agreement(2 * np.cos(2 * np.pi * cycles * X / BOX_PX), seed=1)
    assert (found > 3.5) == agrees


@pytest.mark.parametrize(
    ("agreements", "is_beyond"),
    [([], False), ([3.6], False), ([3.8], True), ([1.5] * 9, False), ([1.5] * 16, True)],
)
def test_many_classes_need_less_than_one(agreements, is_beyond):
    assert is_beyond_noise(agreements) is is_beyond


def test_empty_images_do_not_agree():
    empty = np.zeros((BOX_PX, BOX_PX), dtype=np.float32)
    assert agreement_sigmas(empty, empty, MASK) == 0

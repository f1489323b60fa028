"""Figures of class averages."""

import numpy as np
import pytest

from livepick_trainer.classification.class_measurement import ring_correlation

BOX_PX = 64


def test_ring_correlation_is_one_for_equals_and_about_zero_for_noise():
    one, two = np.random.default_rng(0).normal(size=(2, BOX_PX, BOX_PX)).astype(np.float32)

    assert ring_correlation(one, one) == pytest.approx(np.ones(31))
    assert np.abs(ring_correlation(one, two)[5:]).mean() < 0.15

"""Probability of each diameter: complete, the same for both contrasts, and never quite certain."""

import numpy as np
import pytest

from livepick.core.contracts.particle_measurement import DEFAULT_BOUNDS_ANGSTROM
from livepick.particle.size_posterior import MOST_COUNTED, PLACES, posterior
from particle_evidence import EMPTY, make_evidence


def judged(evidence, **settings):
    return posterior(evidence, bounds_angstrom=DEFAULT_BOUNDS_ANGSTROM, **settings)


@pytest.mark.parametrize("one", [EMPTY, make_evidence(150), make_evidence(400, height=0.4)])
def test_something_or_nothing_is_there(one):
    seen = judged([one] * 3)
    assert seen.particles.sum() + seen.nothing == pytest.approx(1)


def test_the_negative_has_the_same_probabilities_for_the_other_contrast():
    dark, bright = (judged([make_evidence(150, contrast=c)]) for c in ("dark", "bright"))
    np.testing.assert_allclose(dark.particles[0], bright.particles[1])
    assert dark.particles[0].sum() > 10 * dark.particles[1].sum()


def test_a_known_contrast_leaves_the_other_out():
    seen = judged([make_evidence(150)], contrast="bright")
    assert seen.particles[0].sum() == 0
    assert seen.nothing > 0.5


def test_more_micrographs_are_more_certain_up_to_a_number():
    """What the specimen's shape does to the curves is the same in all micrographs."""
    certainty = [
        judged([make_evidence(150, height=0.5)] * count).near(150, 1.2, "dark")
        for count in (1, MOST_COUNTED, 10 * MOST_COUNTED)
    ]
    assert certainty[1] > certainty[0] + 0.05
    assert certainty[2] == pytest.approx(certainty[1])


def test_nothing_beyond_the_bounds_is_possible():
    seen = posterior([make_evidence(150)], bounds_angstrom=(300, 400))
    likely = np.exp(PLACES[seen.particles[0] > 1e-2 * seen.particles.max()])
    assert likely.min() > 200
    assert likely.max() < 600

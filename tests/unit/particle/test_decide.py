"""The verdict about the particle: pooled, robust, and silent where the evidence is not clear."""

import math

import numpy as np
import pytest

from livepick.core.contracts.particle_measurement import (
    LADDER_ANGSTROM,
    Curves,
    ParticleEvidence,
)
from livepick.particle.decide import contradiction, decide
from particle_evidence import EMPTY, make_evidence

NOTHING = tuple([math.nan] * len(LADDER_ANGSTROM))


@pytest.mark.parametrize("diameter_angstrom", [90, 125, 180, 280])
@pytest.mark.parametrize("contrast", ["dark", "bright"])
def test_the_diameter_lies_between_two_steps(diameter_angstrom, contrast):
    verdict = decide([make_evidence(diameter_angstrom, contrast=contrast)] * 4)
    assert verdict.best.diameter_angstrom == pytest.approx(diameter_angstrom, rel=0.08)
    assert verdict.best.contrast == contrast
    assert verdict.is_settled


def test_two_odd_micrographs_of_six_do_not_change_the_diameter():
    odd = [make_evidence(600, height=0.99), make_evidence(60, height=0.99)]
    verdict = decide([*odd, *[make_evidence(150)] * 4])
    assert verdict.best.diameter_angstrom == pytest.approx(150, rel=0.08)


def test_two_sizes_that_explain_the_micrographs_equally_are_both_kept():
    verdict = decide([make_evidence(120, second_angstrom=300)] * 5)
    found = sorted([verdict.best.diameter_angstrom, verdict.second.diameter_angstrom])
    assert found == pytest.approx([120, 300], rel=0.08)
    assert not verdict.is_settled
    assert contradiction(verdict, diameter_angstrom=600, contrast="dark") is None


def test_micrographs_without_particles_have_no_vote():
    verdict = decide([EMPTY] * 5)
    assert verdict.best is None
    assert verdict.voices == 0
    assert contradiction(verdict, diameter_angstrom=400, contrast="bright") is None


def test_sizes_that_do_not_agree_have_no_name_but_a_best_guess():
    verdict = decide([make_evidence(size) for size in (70, 110, 170, 280, 430)])
    assert verdict.best is None
    assert verdict.likeliest is not None
    assert "not of which size" in verdict.sentence


@pytest.mark.parametrize("times", [0.5, 0.7, 1.5, 2])
def test_a_wrong_diameter_is_contradicted_after_five_micrographs(times):
    verdict = decide([make_evidence(150)] * 5)
    found = contradiction(verdict, diameter_angstrom=150 * times, contrast="dark")
    assert found.kind == "diameter"
    assert f"particle.diameter_angstrom is {150 * times:g}" in found.sentence


@pytest.mark.parametrize("times", [0.85, 1, 1.15])
def test_a_diameter_that_is_about_right_is_not_contradicted(times):
    verdict = decide([make_evidence(150)] * 5)
    assert contradiction(verdict, diameter_angstrom=150 * times, contrast="dark") is None


def test_a_wrong_contrast_is_contradicted_first():
    verdict = decide([make_evidence(150, contrast="bright")] * 5)
    found = contradiction(verdict, diameter_angstrom=400, contrast="dark")
    assert found.kind == "contrast"
    assert "look bright" in found.sentence


def test_two_micrographs_contradict_nothing():
    verdict = decide([make_evidence(150)] * 2)
    assert contradiction(verdict, diameter_angstrom=400, contrast="bright") is None


def test_bounds_limit_what_is_found():
    verdict = decide([make_evidence(120, second_angstrom=300)] * 5, bounds_angstrom=(200, 500))
    assert verdict.best.diameter_angstrom == pytest.approx(300, rel=0.08)


def test_evidence_survives_the_ledger():
    one = make_evidence(150)
    untried = Curves(NOTHING, NOTHING, *(one.dark.blobs, one.dark.sigmas))
    one = ParticleEvidence(untried, one.bright, 0.2)
    again = ParticleEvidence.from_json(one.to_json())
    np.testing.assert_array_equal(again.dark.network, one.dark.network)
    assert again.bright == one.bright


@pytest.mark.parametrize("text", ["{}", "[]", '{"dark": {}, "bright": {}, "masked_fraction": 0}'])
def test_evidence_of_another_version_is_refused(text):
    with pytest.raises(ValueError, match="not the evidence"):
        ParticleEvidence.from_json(text)

"""The verdict about the particle: pooled, robust, and silent where the evidence is not clear."""

import math

import numpy as np
import pytest

from livepick.core.contracts.particle_measurement import (
    LADDER_ANGSTROM,
    Curves,
    ParticleEvidence,
)
from livepick.particle.decide import OVERESTIMATE, contradiction, decide

NOTHING = tuple([math.nan] * len(LADDER_ANGSTROM))


def evidence(diameter_angstrom, *, contrast="dark", height=0.8, second_angstrom=None):
    """Return the evidence of a micrograph whose scores are high around a diameter."""
    octaves = np.log2(LADDER_ANGSTROM)

    def around(angstrom):
        seen_angstrom = OVERESTIMATE * angstrom
        return height * np.exp(-(((octaves - math.log2(seen_angstrom)) / 0.5) ** 2))

    scores = around(diameter_angstrom)
    if second_angstrom is not None:
        scores = np.maximum(scores, around(second_angstrom))
    scores = np.clip(scores, 0.01, 0.999)
    low = np.full_like(scores, 0.01)
    rows = {"dark": low, "bright": low, contrast: scores}
    curves = {
        name: Curves(
            tuple(row.tolist()),
            tuple(np.log(row / (1 - row)).tolist()),
            tuple((1e4 * row).tolist()),
            tuple((10 * row).tolist()),
        )
        for name, row in rows.items()
    }
    return ParticleEvidence(curves["dark"], curves["bright"], 0.1)


@pytest.mark.parametrize("diameter_angstrom", [90, 125, 180, 280])
@pytest.mark.parametrize("contrast", ["dark", "bright"])
def test_the_diameter_lies_between_two_steps(diameter_angstrom, contrast):
    verdict = decide([evidence(diameter_angstrom, contrast=contrast)] * 4)
    assert verdict.best.diameter_angstrom == pytest.approx(diameter_angstrom, rel=0.05)
    assert verdict.best.contrast == contrast
    assert verdict.is_settled


def test_two_odd_micrographs_of_six_do_not_change_the_diameter():
    odd = [evidence(600, height=0.99), evidence(60, height=0.99)]
    verdict = decide([*odd, *[evidence(150, height=0.6)] * 4])
    assert verdict.best.diameter_angstrom == pytest.approx(150, rel=0.08)


def test_two_sizes_that_explain_the_micrographs_equally_are_both_kept():
    verdict = decide([evidence(120, second_angstrom=300)] * 5)
    found = sorted([verdict.best.diameter_angstrom, verdict.second.diameter_angstrom])
    assert found == pytest.approx([120, 300], rel=0.08)
    assert not verdict.is_settled
    assert contradiction(verdict, diameter_angstrom=600, contrast="dark") is None


def test_micrographs_without_particles_have_no_vote():
    verdict = decide([evidence(150, height=0.015)] * 5)
    assert verdict.best is None
    assert verdict.voices == 0
    assert contradiction(verdict, diameter_angstrom=400, contrast="bright") is None


@pytest.mark.parametrize("times", [0.5, 0.7, 1.5, 2])
def test_a_wrong_diameter_is_contradicted_after_five_micrographs(times):
    verdict = decide([evidence(150)] * 5)
    found = contradiction(verdict, diameter_angstrom=150 * times, contrast="dark")
    assert found.kind == "diameter"
    assert f"particle.diameter_angstrom is {150 * times:g}" in found.sentence


@pytest.mark.parametrize("times", [0.85, 1, 1.15])
def test_a_diameter_that_is_about_right_is_not_contradicted(times):
    verdict = decide([evidence(150)] * 5)
    assert contradiction(verdict, diameter_angstrom=150 * times, contrast="dark") is None


def test_a_wrong_contrast_is_contradicted_first():
    verdict = decide([evidence(150, contrast="bright")] * 5)
    found = contradiction(verdict, diameter_angstrom=400, contrast="dark")
    assert found.kind == "contrast"
    assert "look bright" in found.sentence


def test_two_micrographs_contradict_nothing():
    verdict = decide([evidence(150)] * 2)
    assert contradiction(verdict, diameter_angstrom=400, contrast="bright") is None


def test_bounds_limit_what_is_found():
    verdict = decide([evidence(120, second_angstrom=300)] * 5, bounds_angstrom=(200, 500))
    assert verdict.best.diameter_angstrom == pytest.approx(300, rel=0.08)


def test_evidence_survives_the_ledger():
    one = evidence(150)
    untried = Curves(NOTHING, NOTHING, *(one.dark.blobs, one.dark.sigmas))
    one = ParticleEvidence(untried, one.bright, 0.2)
    again = ParticleEvidence.from_json(one.to_json())
    np.testing.assert_array_equal(again.dark.network, one.dark.network)
    assert again.bright == one.bright


@pytest.mark.parametrize("text", ["{}", "[]", '{"dark": {}, "bright": {}, "masked_fraction": 0}'])
def test_evidence_of_another_version_is_refused(text):
    with pytest.raises(ValueError, match="not the evidence"):
        ParticleEvidence.from_json(text)

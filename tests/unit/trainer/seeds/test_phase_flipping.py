"""Phases are flipped before particles are cut, which sharpens their averages."""

import math

import numpy as np
import pytest
import torch

from livepick.core.imaging.ctf import Ctf
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session
from livepick.simulate.species import specimen
from livepick_trainer.classification.class_measurement import measure_classes
from livepick_trainer.classification.classify2d import classify
from livepick_trainer.classification.particles import (
    ParticleStack,
    choose_box_px,
    resample_for_boxes,
)

SESSION = Session(
    shape_px=(640, 640),
    pixel_size_angstrom=2.5,
    signal_to_noise=0.2,
    defocus_angstrom=(8_000, 30_000),
    junk=Junk.none(),
    seed=3,
)
DIAMETER_ANGSTROM = specimen(SESSION.species).diameter_angstrom
MICROGRAPHS, CLASSES = 12, 5


@pytest.fixture(scope="module")
def micrographs():
    return [simulate_micrograph(SESSION, index) for index in range(MICROGRAPHS)]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def true_ctf(micrograph):
    """Return the CTF that the simulation has used."""
    optics = micrograph.field.optics
    return Ctf(
        defocus_u_angstrom=optics.defocus_u_angstrom,
        defocus_v_angstrom=optics.defocus_v_angstrom,
        astigmatism_angle_degrees=math.degrees(optics.astigmatism_angle_rad),
        voltage_kv=optics.voltage_kv,
        spherical_aberration_mm=optics.spherical_aberration_mm,
        amplitude_contrast=optics.amplitude_contrast,
    )


def cut(micrograph, ctf, *, contrast="dark"):
    sign = 1 if contrast == "dark" else -1
    fine = resample_for_boxes(
        sign * micrograph.image,
        pixel_size_angstrom=SESSION.pixel_size_angstrom,
        diameter_angstrom=DIAMETER_ANGSTROM,
        contrast=contrast,
        box_px=choose_box_px(
            pixel_size_angstrom=SESSION.pixel_size_angstrom, diameter_angstrom=DIAMETER_ANGSTROM
        ),
        ctf=ctf,
    )
    return fine.cut(np.column_stack([micrograph.truth.y_px, micrograph.truth.x_px]))


def resolution_angstrom(micrographs, ctfs):
    """Return the mean resolution of the classes of all particles."""
    stack = ParticleStack.joined([cut(m, c) for m, c in zip(micrographs, ctfs, strict=True)])
    found = classify(stack.images, diameter_px=stack.diameter_px, classes=CLASSES, seed=1)
    figures = measure_classes(
        found.averages,
        found.halves,
        found.half_sizes,
        np.ones(CLASSES),
        pixel_size_angstrom=stack.pixel_size_angstrom,
        diameter_angstrom=DIAMETER_ANGSTROM,
    )
    return float(np.mean([f.resolution_angstrom for f in figures]))


@pytest.mark.slow
def test_class_averages_are_sharper_with_flipped_phases(micrographs):
    """The gain is at least an eighth (21.6 to 17.9 Å); signs of another defocus do not help."""
    truth = [true_ctf(m) for m in micrographs]

    plain = resolution_angstrom(micrographs, [None] * MICROGRAPHS)
    flipped = resolution_angstrom(micrographs, truth)
    wrong = resolution_angstrom(micrographs, truth[1:] + truth[:1])

    assert flipped < 0.88 * plain
    assert wrong > 0.95 * plain


@pytest.mark.parametrize("contrast", ["dark", "bright"])
def test_particles_are_bright_with_and_without_a_ctf(micrographs, contrast):
    """The result does not depend on their contrast in the file."""
    y, x = np.indices((64, 64)) - 32
    for ctf in (None, true_ctf(micrographs[0])):
        stack = cut(micrographs[0], ctf, contrast=contrast)
        distance = np.hypot(y, x) / stack.diameter_px
        average = stack.images.mean(axis=0)

        assert average[distance < 0.5].mean() > average[distance > 0.55].mean() + 0.2


def test_a_ctf_changes_no_position(micrographs):
    """The same particles are cut, and their low frequencies, up to 60 Å, do not change."""
    plain, flipped = (cut(micrographs[0], ctf) for ctf in (None, true_ctf(micrographs[0])))

    np.testing.assert_array_equal(plain.candidate, flipped.candidate)
    one, other = (np.fft.rfft2(s.images.mean(axis=0))[:4, :4].ravel() for s in (plain, flipped))
    shared = (one * other.conj()).real.sum() / np.linalg.norm(one) / np.linalg.norm(other)
    assert shared > 0.98

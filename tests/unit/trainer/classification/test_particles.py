"""Cutting a stack of particles from picks."""

import numpy as np
import pytest

from livepick_trainer.classification.particles import (
    ParticleStack,
    choose_box_px,
    normalize_particles,
    resample_for_boxes,
)

PIXEL_SIZE_ANGSTROM = 2.0
DIAMETER_ANGSTROM = 80.0


def micrograph(centres, shape=(400, 440), height=-3.0):
    """Return noise with dark Gaussian particles at (y, x)."""
    y, x = np.indices(shape)
    image = np.random.default_rng(0).normal(10, 0.5, shape)
    for cy, cx in centres:
        image += height * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 10**2))
    return image.astype(np.float32)


def cut(image, centres, **keywords):
    fine = resample_for_boxes(
        image,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        diameter_angstrom=DIAMETER_ANGSTROM,
        contrast="dark",
        box_px=60,
    )
    return fine.cut(np.array(centres, dtype=np.float32).reshape(-1, 2), **keywords)


def test_a_particle_is_bright_and_centred_to_a_fraction_of_a_pixel():
    """Its centre of mass is at pixel ``box // 2``, wherever the pick is within its pixel."""
    centres = [(150.0, 160.0), (250.3, 280.7), (120.5, 300.25)]

    stack = cut(micrograph(centres), centres)

    middle = stack.images[:, 15:46, 15:46].clip(1)  # the body only
    y, x = np.indices((31, 31)) - 15
    mass = middle.sum(axis=(1, 2))
    assert (mass > 100).all()
    for grid in (y, x):
        assert np.abs((middle * grid).sum(axis=(1, 2)) / mass).max() < 0.25


def test_a_box_that_is_partly_off_the_image_is_dropped_and_listed():
    """The remaining particles keep the index of their pick."""
    stack = cut(micrograph([]), [(20, 200), (200, 200), (200, 430)], micrograph=7)

    assert stack.candidate.tolist() == [1]
    assert stack.micrograph.tolist() == [7]
    assert stack.dropped.tolist() == [[7, 0], [7, 2]]


def test_no_picks_are_an_empty_stack():
    assert cut(micrograph([]), []).images.shape == (0, 60, 60)


@pytest.mark.parametrize(
    ("pixel_size_angstrom", "box_px"), [(0.5, 64), (1.0, 64), (2.2, 54), (10.0, 48)]
)
def test_a_box_is_never_finer_than_the_micrograph_allows(pixel_size_angstrom, box_px):
    """It has 64 pixels, or as many as 1.5 diameters of 80 Å in the micrograph, but at least 48."""
    chosen = choose_box_px(pixel_size_angstrom=pixel_size_angstrom, diameter_angstrom=80)

    assert chosen == box_px


def test_the_background_is_level_and_of_standard_deviation_one():
    """The result does not depend on the grey level around each particle."""
    images = np.random.default_rng(1).normal(0, 3, (20, 64, 64)).astype(np.float32)
    images += np.arange(20, dtype=np.float32)[:, None, None]

    normalized, sigma = normalize_particles(images, diameter_px=42)

    assert np.abs(normalized.mean(axis=(1, 2))).max() < 0.1
    assert normalized.std(axis=(1, 2)) == pytest.approx(np.ones(20), abs=0.1)
    assert sigma == pytest.approx(np.ones(20), abs=0.1)


def test_stacks_are_joined_in_order():
    one, two = (cut(micrograph([]), [(200, 200)], micrograph=number) for number in (3, 5))

    assert ParticleStack.joined([one, two]).micrograph.tolist() == [3, 5]


def test_stacks_of_different_boxes_are_not_joined():
    with pytest.raises(ValueError, match="one width"):
        ParticleStack.joined([])

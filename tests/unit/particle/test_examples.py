"""Pictures of candidate diameters: circles of the right size on the right places."""

import io

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from livepick.core.contracts.particle_measurement import ParticleGuess
from livepick.core.formats.micrograph import Micrograph
from livepick.particle.examples import CIRCLE_RGB, draw_examples

PIXEL_SIZE_ANGSTROM = 4.0
SIDE_PX = 400
PLACE_YX_PX = (180, 210)


def strongest(prepared):
    """Return a score of 1 at the brightest blob, and 0 elsewhere, in place of a model."""
    smooth = ndimage.gaussian_filter(prepared, 5)
    return (smooth == smooth.max()).astype(np.float32)


@pytest.fixture(scope="module")
def micrograph():
    """Return a micrograph with one dark disc of 120 Å."""
    image = np.random.default_rng(1).normal(size=(SIDE_PX, SIDE_PX)).astype(np.float32)
    y, x = np.indices(image.shape)
    distance_px = np.hypot(y - PLACE_YX_PX[0], x - PLACE_YX_PX[1])
    image -= 1.5 * (distance_px * PIXEL_SIZE_ANGSTROM < 60)
    return Micrograph(image, PIXEL_SIZE_ANGSTROM)


def drawn(micrograph, *diameters_angstrom, scorer=strongest):
    guesses = tuple(ParticleGuess(angstrom, "dark", 1.0) for angstrom in diameters_angstrom)
    pictures = draw_examples(micrograph, guesses, scorer=scorer, side_px=300)
    return [np.array(PIL.Image.open(io.BytesIO(one)).convert("RGB")) for one in pictures]


def marks(picture):
    return (picture == np.array(CIRCLE_RGB)).all(axis=2)


def test_a_circle_is_on_the_particle_and_as_wide_as_the_guess(micrograph):
    (picture,) = drawn(micrograph, 120)
    assert picture.shape == (300, 300, 3)  # ten diameters of 4 Å pixels
    rows, columns = (np.flatnonzero(marks(picture).any(axis=axis)) for axis in (1, 0))
    assert np.ptp(rows) == pytest.approx(30, abs=2)
    assert np.ptp(columns) == pytest.approx(30, abs=2)
    inside = picture[rows.min() + 8 : rows.max() - 7, columns.min() + 8 : columns.max() - 7]
    assert inside.mean() < 0.8 * picture.mean()


def test_both_candidates_show_the_same_area(micrograph):
    small, large = drawn(micrograph, 110, 150)
    assert small.shape == large.shape
    same = ~(marks(small) | marks(large))
    np.testing.assert_array_equal(small[same], large[same])
    widths = [np.ptp(np.flatnonzero(marks(one).any(axis=0))) for one in (small, large)]
    assert widths[1] / widths[0] == pytest.approx(150 / 110, rel=0.1)


def test_without_a_model_discs_find_the_particle(micrograph):
    (picture,) = drawn(micrograph, 120, scorer=None)
    with_model = marks(drawn(micrograph, 120)[0])
    near = ndimage.binary_dilation(marks(picture), iterations=2)
    assert (near & with_model).sum() > 0.9 * with_model.sum()

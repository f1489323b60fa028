"""The rule for NaN, infinite and absurd pixels, and for dead lines."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from livepick.core.imaging.bad_pixels import MOST_BAD, replace_bad_pixels
from livepick.core.imaging.masks import find_borders
from livepick.core.imaging.preprocess import prepare
from livepick.errors import ContentError

SHAPE = (240, 320)
BAD = [np.nan, np.inf, -np.inf, 1e30, -3e38]


def noise(dtype: str = "f4") -> NDArray[Any]:
    return np.random.default_rng(3).normal(100, 10, SHAPE).astype(dtype)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8", "f2"])
def test_few_bad_pixels_become_the_median_around_them(dtype: str, value: float) -> None:
    """Wherever they lie: at corners and edges, beside each other, between the sampled ones."""
    image = noise(dtype)
    for place in ((0, 0), (-1, -1), (0, 7), (5, 35), (100, 100), (100, 101), (101, 100)):
        with np.errstate(over="ignore"):
            image[place] = value
    before = image.copy()
    repaired, found = replace_bad_pixels(image)
    assert found.absurd == 7
    assert "7 pixels" in (found.sentence or "")
    changed = (repaired != before) | np.isnan(before)
    assert changed.sum() == 7
    assert np.abs(repaired[changed].astype(float) - 100).max() < 10


def test_many_bad_pixels_refuse_the_micrograph_wherever_they_lie() -> None:
    few = int(MOST_BAD * noise().size)
    rng = np.random.default_rng(0)
    for places in (
        np.arange(few + 1),
        np.arange(few + 1) + noise().size - few - 1,
        rng.permutation(noise().size)[: few + 1],
    ):
        image = noise()
        image.ravel()[places] = np.nan
        with pytest.raises(ContentError, match="2%"):
            replace_bad_pixels(image)
        image = noise()
        image.ravel()[places[:-1]] = np.nan
        repaired, found = replace_bad_pixels(image)
        assert found.absurd == few
        assert np.isfinite(repaired).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, 1e20, 255])
def test_a_bad_line_does_not_change_the_rest(value: float) -> None:
    """Half of a dead row was clipped to eight sigma, and picked along its length."""
    clean = prepare(
        noise(), pixel_size_angstrom=1, diameter_angstrom=40, contrast="dark", edge_fraction=0
    )
    image = noise()
    image[120] = value
    image[:, 200] = value
    repaired, found = replace_bad_pixels(image)
    assert (found.dead_lines == 2) == (found.absurd == 0)
    prepared = prepare(
        repaired, pixel_size_angstrom=1, diameter_angstrom=40, contrast="dark", edge_fraction=0
    )
    assert np.abs(prepared.image - clean.image).max() < 2.5
    assert np.abs(prepared.image - clean.image).mean() < 0.1


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2"])
def test_dead_lines_of_integers_are_replaced_too(dtype: str) -> None:
    image = noise(dtype)
    image[50:53] = 3
    image[:, 9] = 7
    repaired, found = replace_bad_pixels(image)
    assert found.dead_lines == 4
    assert repaired.dtype == dtype
    assert 80 < repaired[51].mean() < 120


def test_dead_lines_along_an_edge_stay_a_border() -> None:
    image = noise()
    image[:12] = 0
    image[:, -9:] = 0
    repaired, found = replace_bad_pixels(image)
    assert found.sentence is None
    assert find_borders(repaired).top == 12


def test_sparse_and_constant_images_are_left_as_they_are() -> None:
    sparse = (np.random.default_rng(1).random(SHAPE) < 0.001).astype(np.int8)
    for image in (sparse, np.full(SHAPE, 7, np.float32), np.zeros(SHAPE, np.int16)):
        before = image.copy()
        repaired, found = replace_bad_pixels(image)
        assert found.sentence is None
        np.testing.assert_array_equal(repaired, before)


def test_a_read_only_image_is_copied_only_if_it_must_be() -> None:
    image = noise()
    image.flags.writeable = False
    assert replace_bad_pixels(image)[0] is image
    image.flags.writeable = True
    image[3, 3] = np.nan
    image.flags.writeable = False
    assert np.isfinite(replace_bad_pixels(image)[0]).all()


def test_the_memory_is_that_of_strips() -> None:
    image = np.random.default_rng(3).normal(100, 10, (4096, 4096)).astype(np.float32)
    image[7, 9] = np.nan
    tracemalloc.start()
    try:
        replace_bad_pixels(image)
        assert tracemalloc.get_traced_memory()[1] < image.nbytes / 8
    finally:
        tracemalloc.stop()

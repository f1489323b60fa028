"""Peaks of a score map."""

import time

import numpy as np
import pytest
from scipy import ndimage

from livepick.core.imaging.peaks import _highest_around, _highest_first, find_peaks


def test_peaks_have_sub_pixel_positions_and_keep_their_distance(blob_image):
    """The higher of two close blobs stays."""
    centres = [(40.3, 50.7), (49.5, 57.1), (100.6, 20.2)]
    score = sum(
        h * blob_image((128, 128), [c], sigma=2.5)
        for h, c in zip((1, 0.6, 0.8), centres, strict=True)
    )

    y, x, height = find_peaks(score, min_distance_px=12, floor=0.1)

    assert len(y) == 2
    np.testing.assert_allclose(np.column_stack([y, x]), [centres[0], centres[2]], atol=0.3)
    assert height[0] > height[1]


def test_a_peak_on_the_edge_is_kept_and_one_in_the_mask_is_not(blob_image):
    """Only the mask excludes peaks; the worker's mask includes the edge rule."""
    score = blob_image((64, 64), [(0, 30), (40, 40)], sigma=3)
    mask = np.zeros((64, 64), dtype=bool)
    mask[30:50, 30:50] = True

    y, x, _ = find_peaks(score, min_distance_px=10, floor=0.1, mask=mask)

    np.testing.assert_allclose(np.column_stack([y, x]), [(0, 30)], atol=0.01)


@pytest.mark.parametrize("reach_px", [1, 2, 3, 6, 30])
def test_the_highest_around_each_pixel_is_that_of_the_square_filter(reach_px, rng):
    """Also at the edges, and where the square is larger than the map."""
    score = rng.standard_normal((23, 40)).astype(np.float32)

    highest = _highest_around(score, reach_px)

    width = 2 * reach_px + 1
    expected = ndimage.maximum_filter(score, width, mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(highest, expected)


def test_a_plateau_gives_one_peak():
    """Equal neighbours are one peak, not many."""
    score = np.zeros((64, 64), dtype=np.float32)
    score[30:33, 30:33] = 0.9

    assert len(find_peaks(score, min_distance_px=8, floor=0.1)[0]) == 1


def test_a_map_without_peaks_gives_none():
    """A map below the floor has no peaks."""
    y, x, height = find_peaks(np.zeros((32, 32), np.float32), min_distance_px=8, floor=0.1)

    assert len(y) == len(x) == len(height) == 0


@pytest.mark.parametrize("size", [25, 60])
def test_close_peaks_go_as_one_by_one(rng, size):
    """Each peak that stays, from the highest on, removes its neighbours."""
    points = np.round(rng.uniform(0, size, (300, 2))).astype(np.intp)
    gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    expected = np.ones(len(points), dtype=bool)
    for i in range(len(points)):
        if expected[i]:
            expected[i + 1 :] &= gaps[i, i + 1 :] > 5

    keep = _highest_first(points, 5)

    assert (keep == expected).all()
    assert 10 < keep.sum() < 200


def test_a_flat_map_takes_no_time():
    """Every pixel is a peak for an untrained network. This took minutes once."""
    started = time.process_time()

    y, _, _ = find_peaks(np.ones((400, 400), dtype=np.float32), min_distance_px=12, floor=0.02)

    assert 900 < len(y) < 1400
    assert time.process_time() - started < 20

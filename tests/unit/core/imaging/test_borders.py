"""Masks of dead borders and of dark areas."""

import numpy as np
import pytest

from livepick.core.imaging.masks import Borders, Outlier, find_borders, outlier_mask


@pytest.mark.parametrize("kind", ["streaks", "constant", "streaks after a filter that wraps"])
def test_borders_without_data_are_found_on_their_side_only(kind, rng):
    """The width is right to a few pixels, for repeated lines and for empty borders."""
    image = (20 + 4 * rng.standard_normal((600, 800))).astype(np.float32)
    image[:, 750:] = 0 if kind == "constant" else image[:, 749:750]
    image[:30] = image[30:31] if kind != "constant" else 0
    if "wraps" in kind:
        image[:, -6:] += rng.standard_normal((600, 6)).astype(np.float32)

    borders = find_borders(image)

    assert borders.left == borders.bottom == 0
    assert borders.top == pytest.approx(30, abs=2)
    assert borders.right == pytest.approx(50, abs=2)
    mask = borders.mask((150, 200), scale_y=4, scale_x=4)
    assert mask[:7].all()
    assert not mask[9:, :186].any()


def test_a_whole_image_has_no_borders(rng):
    """Noise is not taken for a border, not even if a quarter of it is black."""
    image = rng.standard_normal((512, 512)).astype(np.float32)
    image[:256, :256] *= 0.7

    assert find_borders(image) == Borders(0, 0, 0, 0)


def test_only_large_dark_areas_are_masked():
    """Two strong particles that touch are not masked; a disc of twice their width is."""
    y, x = np.indices((300, 300))
    particles = (np.hypot(y - 50, x - 50) < 10) | (np.hypot(y - 50, x - 70) < 10)
    ice = np.hypot(y - 180, x - 180) < 25
    flat = np.where(particles | ice, np.float32(-5), np.float32(0))

    mask = outlier_mask(flat, [Outlier(4.5, 28)], grow_px=10)

    assert not mask[:120].any()
    assert mask[ice].all()
    assert mask.sum() < 2.5 * ice.sum()

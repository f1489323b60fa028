"""Contamination and dead borders are masked, and particles are not."""

import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy import ndimage
from synthetic_fields import SIDE, circle, noise, prepared, rim, share

from livepick.core.imaging.masks import (
    Borders,
    MaskedFractions,
    Outlier,
    find_borders,
    outlier_mask,
)
from livepick.core.imaging.preprocess import DIAMETER_PX, OUTLIERS, prepare

DATA = Path(os.environ.get("LIVEPICK_DATA", Path(__file__).parents[5] / "shared" / "data"))


@pytest.fixture
def rng():
    """Return a generator that is the same in each test."""
    return np.random.default_rng(3)


def outliers(image):
    """Return the contamination of a normalized image."""
    return outlier_mask(image, OUTLIERS, grow_px=7)


def test_a_crystal_with_a_lattice_is_masked(rng):
    """A dark hexagon with Bragg stripes is masked; the particle beside it is not."""
    y, x = np.indices((SIDE, SIDE))
    dy, dx = y - 200, x - 260
    hexagon = np.maximum(np.abs(dx), 0.5 * np.abs(dx) + 0.866 * np.abs(dy)) < 22
    particle = np.hypot(y - 400, x - 260) < 10
    image = noise(rng) + hexagon * (3.5 + 1.5 * np.cos(dx)) + 3 * particle

    mask = outliers(image.astype(np.float32))

    assert mask[hexagon].all()
    assert share(mask, np.hypot(dy, dx) > 45) == 0


def test_ice_that_is_thicker_in_the_middle_is_masked_to_its_edge():
    """The part found at a high threshold does not hide the rest."""
    y, x = np.indices((300, 300))
    dome = (8 - 7 * np.hypot(y - 150, x - 150) / 30).clip(0).astype(np.float32)

    assert outliers(dome)[dome > 2].all()


def test_a_heap_is_masked(rng):
    """It is dark and bright in turn, so that no square is filled with either."""
    heap = circle(250, 250, 60) < 0
    wild = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2)
    wild = (4 * wild / wild.std()).astype(np.float32)
    image = np.where(heap, wild, 0) + noise(rng)

    mask = outliers(image.astype(np.float32))

    assert share(mask, heap) > 0.75
    assert share(mask, circle(250, 250, 100) > 0) == 0


def test_a_strong_particle_beside_ice_is_kept():
    """Ice that is already masked does not make its neighbour look like a heap."""
    image = np.zeros((300, 300), dtype=np.float32)
    y, x = np.indices(image.shape)
    ice = np.hypot(y - 150, x - 120) < 25
    particle = np.hypot(y - 150, x - 176) < 10
    image[ice], image[particle] = 12, 3.5

    mask = outliers(image)

    assert mask[ice].all()
    assert not mask[particle].any()


def test_particles_cut_by_the_edge_are_no_contamination():
    """Half a disc does not continue beyond the edge."""
    y, x = np.indices((200, 200))
    away = np.min([np.hypot(y - cy, x) for cy in range(25, 200, 50)], axis=0)
    image = np.where(away < 11, np.float32(4.5), np.float32(0))

    assert not outlier_mask(image, [Outlier(4, 22)], grow_px=7).any()


@pytest.mark.parametrize("kind", ["streaks", "constant"])
def test_a_dead_border_is_masked_and_a_quarter_of_a_particle_more(rng, kind):
    """Picks at the edge of a dead border would be picks of that edge."""
    image = noise(rng)
    image[:, :30] = image[:, 30:31] if kind == "streaks" else 0

    found = prepared(image)

    assert found.mask[:, :35].all()
    assert not found.mask[:, 38:].any()
    assert found.masked.border == found.masked.total == pytest.approx(found.mask.mean())


def test_a_few_bad_lines_are_a_border(rng):
    """They contain the same noise at another level."""
    image = (100 + 4 * rng.standard_normal((400, 600))).astype(np.float32)
    image[:2] -= 8
    image[:, -3:] += 6

    assert find_borders(image) == Borders(top=2, bottom=0, left=0, right=3)


def test_a_slope_is_no_border():
    """A gradient of one standard deviation across the image has no jump."""
    image = np.random.default_rng(1).standard_normal((400, 400)) + np.linspace(0, 1, 400)

    assert find_borders(image) == Borders(0, 0, 0, 0)


def test_each_pixel_has_one_reason():
    """The border comes first, then contamination, then film."""
    border, contamination, carbon = np.zeros((3, 10, 10), dtype=bool)
    border[:1], contamination[:3], carbon[:6] = True, True, True

    fractions = MaskedFractions.of(border, contamination, carbon)

    assert fractions == MaskedFractions(0.1, 0.2, 0.3)
    assert fractions.total == pytest.approx(0.6)


def test_the_same_image_has_the_same_mask(rng):
    """Workers and trainer must agree."""
    image = noise(rng) + rim(circle(200, -100, 400))

    first, second = prepared(image), prepared(image.copy())

    np.testing.assert_array_equal(first.mask, second.mask)


def test_ice_and_foil_are_masked_where_another_program_sees_them():
    """The mask covers most of what MicrographCleaner calls contamination, and little else."""
    folder = DATA / "ice-crystals"
    path = folder / "Ucsf_stack_1142_DW.mrc"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    other = mrcfile.read(folder / f"mask_{path.name}") > 0.5
    found = prepare(
        mrcfile.read(path), pixel_size_angstrom=1, diameter_angstrom=46 / 1.5, contrast="dark"
    )

    y, x = (
        np.minimum((np.arange(n) * scale).astype(int), size - 1)
        for n, scale, size in zip(
            found.mask.shape, (found.scale_y, found.scale_x), other.shape, strict=True
        )
    )
    junk = other[np.ix_(y, x)]
    far = ndimage.distance_transform_edt(~junk) > DIAMETER_PX / 2
    assert share(found.mask, junk) > 0.9
    assert share(found.mask, far) < 0.03

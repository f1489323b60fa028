"""Junk is masked and particles are not: borders, contamination, carbon film."""

import csv
import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from livepick.core.imaging.carbon_film import film_mask
from livepick.core.imaging.masks import (
    Borders,
    MaskedFractions,
    Outlier,
    find_borders,
    outlier_mask,
)
from livepick.core.imaging.preprocess import DIAMETER_PX, OUTLIERS, prepare

DATA = Path(os.environ.get("LIVEPICK_DATA", Path(__file__).parents[5] / "shared" / "data"))
SIDE = 26 * DIAMETER_PX
ANGSTROM = 8.0
"""Pixel size at which a particle of ``DIAMETER_PX`` pixels needs no resampling."""


@pytest.fixture
def rng():
    """Return a generator that is the same in each test."""
    return np.random.default_rng(3)


def noise(rng, side=SIDE):
    """Return an empty field after normalization: slightly coloured noise."""
    white, smooth = rng.standard_normal((2, side, side)).astype(np.float32)
    image = 0.8 * white + 0.6 * ndimage.gaussian_filter(smooth, 1.5) * 5
    return (image / image.std()).astype(np.float32)


def discs(rng, count, *, area=None, strength=2.5, closest=0.9):
    """Return ``count`` particles of height ``strength``, and their centres ``(y, x)``."""
    y, x = np.indices((SIDE, SIDE), dtype=np.float32)
    image = np.zeros((SIDE, SIDE), dtype=np.float32)
    centres = []
    for cy, cx in rng.uniform(0, SIDE, (40 * count, 2)):
        if len(centres) == count:
            break
        inside = area is None or area[int(cy), int(cx)]
        apart = all(np.hypot(cy - qy, cx - qx) > closest * DIAMETER_PX for qy, qx in centres)
        if inside and apart:
            centres.append((cy, cx))
            away = np.hypot(y - cy, x - cx)
            image += strength * (away < DIAMETER_PX / 2)
            image -= 0.3 * strength * ((away >= DIAMETER_PX / 2) & (away < 0.7 * DIAMETER_PX))
    return image, np.array(centres)


def film(image, junk=None):
    """Return the film mask of a normalized image."""
    nothing = np.zeros(image.shape, dtype=bool)
    return film_mask(
        image, border=nothing, junk=nothing if junk is None else junk, diameter_px=DIAMETER_PX
    )


def prepared(image):
    """Return a normalized image, whose particles are bright, after all of the preparation."""
    return prepare(
        image,
        pixel_size_angstrom=ANGSTROM,
        diameter_angstrom=DIAMETER_PX * ANGSTROM,
        contrast="bright",
    )


def rim(off, height=3.0):
    """Return the fringe at the film's edge: bright on the film, where ``off`` is positive."""
    return (height * np.sign(off) * (np.abs(off) < DIAMETER_PX / 2)).astype(np.float32)


def circle(y, x, radius):
    """Return the distance of each pixel outside a circle."""
    yy, xx = np.indices((SIDE, SIDE))
    return np.hypot(yy - y, xx - x) - radius


def share(mask, area):
    """Return the masked fraction of an area."""
    return mask[area].mean()


# --- what must stay ----------------------------------------------------------------------


def test_an_empty_field_is_not_masked(rng):
    """Noise has no edge, no second texture, and nothing wide."""
    found = prepared(noise(rng))

    assert not found.mask.any()
    assert found.masked == MaskedFractions(0, 0, 0)


@pytest.mark.parametrize("strength", [0.8, 2.5, 4.0])
@pytest.mark.parametrize("count", [15, 300])
def test_particles_are_not_masked(rng, strength, count):
    """Weak and strong particles, alone or crowded, stay unmasked."""
    particles, centres = discs(rng, count, strength=strength)
    found = prepared(noise(rng) + particles)

    assert len(centres) == count
    assert not found.mask.any()


@pytest.mark.parametrize("strength", [1.0, 2.5, 4.0])
def test_a_crowd_in_half_of_the_field_is_not_film(rng, strength):
    """The ice between the particles is as smooth as elsewhere."""
    half = np.indices((SIDE, SIDE))[1] < SIDE / 2
    particles, _ = discs(rng, 160, area=half, strength=strength)

    assert not prepared(noise(rng) + particles).mask.any()


def test_a_gradient_of_the_ice_is_not_film(rng):
    """Thicker ice changes noise and brightness slowly across the field."""
    x = np.linspace(-1, 1, SIDE, dtype=np.float32)

    assert not prepared(noise(rng) * (1 + 0.2 * x) + 5 * x).mask.any()


def test_what_resampling_carries_to_the_other_edge_is_no_rim(rng):
    """Dark film on the right leaves a dark line on the left."""
    image = noise(rng)
    image[:, :3] += 3

    assert not film(image).any()


def test_a_row_of_particles_is_no_rim(rng):
    """A line of touching particles has gradients to both sides."""
    y, x = np.indices((SIDE, SIDE))
    image = noise(rng)
    for centre in range(10, SIDE, DIAMETER_PX):
        image += 3 * (np.hypot(y - 200, x - centre) < DIAMETER_PX / 2)

    assert not film(image).any()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_diameter_masks_no_particles(rng, factor):
    """Half or twice the diameter is a bad setting, not junk in the image."""
    particles, _ = discs(rng, 200)
    found = prepare(
        noise(rng) + particles,
        pixel_size_angstrom=ANGSTROM,
        diameter_angstrom=factor * DIAMETER_PX * ANGSTROM,
        contrast="bright",
    )

    assert found.mask.mean() < 0.01


# --- carbon film -------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [16, 30, 1000])
@pytest.mark.parametrize("depth", [5, 10])
def test_the_film_behind_a_rim_is_masked(rng, radius, depth):
    """It is as bright as the ice; only the fringe at its edge shows it."""
    particles, centres = discs(rng, 150)
    off = circle(SIDE / 2, SIDE - (depth + radius) * DIAMETER_PX, radius * DIAMETER_PX)
    ice = off < -DIAMETER_PX
    image = np.where(ice, particles, 0) + noise(rng) * np.where(off > 0, 1.2, 1) + rim(off)

    mask = film(image.astype(np.float32))

    assert share(mask, off > 0) > 0.98
    assert share(mask, ice) < 0.01
    assert len(centres) == 150


def test_a_corner_of_film_is_masked(rng):
    """Its rim is just long enough; the rims in two other corners are too short."""
    off = circle(SIDE / 2 - 40, SIDE / 2 - 40, 17 * DIAMETER_PX)
    image = noise(rng) + rim(off)

    mask = film(image)

    assert share(mask, off > 0) > 0.7
    assert share(mask, off < -DIAMETER_PX) < 0.02


def test_a_hole_that_is_wholly_in_view_is_not_masked(rng):
    """The film is around it."""
    off = circle(SIDE / 2, SIDE / 2, 12 * DIAMETER_PX)
    image = noise(rng) + rim(off)

    mask = film(image)

    assert share(mask, off > 0) > 0.98
    assert not mask[off < -DIAMETER_PX].any()


def test_a_rim_with_the_smooth_side_behind_it_is_left_alone(rng):
    """If the texture contradicts the fringe, nothing is masked."""
    off = circle(SIDE / 2, SIDE / 2 - 600, 34 * DIAMETER_PX)
    image = noise(rng) * np.where(off > 0, 0.5, 1).astype(np.float32) + rim(off)

    assert not film(image).any()


def test_the_outlines_of_ice_are_no_rim(rng):
    """A row of large crystals has a long side, which ends within the image."""
    y, x = np.indices((SIDE, SIDE))
    image = noise(rng)
    for centre in (100, 200, 300):
        image[(np.abs(y - 150 - 0.2 * (x - 200)) < 45) & (np.abs(x - centre) < 46)] = 5

    assert not film(image).any()


def test_a_texture_that_changes_slowly_is_no_film(rng):
    """It grows fourfold from one side to the other, without a step."""
    image = noise(rng) * np.linspace(0.7, 1.4, SIDE, dtype=np.float32)

    assert not film(image).any()


def test_film_without_a_rim_is_told_by_its_texture(rng):
    """Half of the field has the same mean and a rougher texture."""
    rough = np.indices((SIDE, SIDE))[1] > 0.6 * SIDE
    image = noise(rng)
    image[rough] *= 1.6
    particles, _ = discs(rng, 80, area=ndimage.binary_erosion(~rough, iterations=15))

    mask = prepared(image + particles).mask

    inside = ndimage.binary_erosion(rough, iterations=DIAMETER_PX)
    outside = ndimage.binary_erosion(~rough, iterations=2 * DIAMETER_PX)
    assert share(mask, inside) > 0.99
    assert share(mask, outside) < 0.01


# --- contamination -----------------------------------------------------------------------


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


# --- borders -----------------------------------------------------------------------------


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


# --- real micrographs --------------------------------------------------------------------


def lost(path, picks, *, pixel_size_angstrom, diameter_angstrom):
    """Return the masked fraction of a real micrograph and that of its particles."""
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    image = mrcfile.read(path) if path.suffix == ".mrc" else np.asarray(Image.open(path))
    found = prepare(
        image,
        pixel_size_angstrom=pixel_size_angstrom,
        diameter_angstrom=diameter_angstrom,
        contrast="dark",
    )
    with picks.open() as file:
        places = [
            (
                min(int(float(row["y_px"]) / found.scale_y), found.mask.shape[0] - 1),
                min(int(float(row["x_px"]) / found.scale_x), found.mask.shape[1] - 1),
            )
            for row in csv.DictReader(file)
        ]
    return found.masked, np.mean([found.mask[place] for place in places])


@pytest.mark.parametrize(
    ("name", "carbon"),
    [("14_33_35", 0.015), ("15_30_21", 0.125), ("15_17_31", 0.0), ("15_36_26", 0.0)],
)
def test_the_film_of_empiar_10017_is_masked(name, carbon):
    """Two micrographs with a hole's edge, two without; experts picked little on the film."""
    folder = DATA / "empiar-10017"
    stem = f"Falcon_2012_06_12-{name}_0"
    masked, particles = lost(
        folder / "image" / f"{stem}.jpg",
        folder / "picks" / f"{stem}.csv",
        pixel_size_angstrom=1.77,
        diameter_angstrom=180,
    )

    assert masked.carbon == pytest.approx(carbon, abs=0.01)
    assert masked.border == pytest.approx(0.102, abs=0.005)
    assert particles < (0.04 if carbon > 0.1 else 0.01)


@pytest.mark.parametrize(
    ("name", "pixel_size_angstrom", "diameter_angstrom"),
    [("groel_crowded", 1.4, 150), ("apof_easy", 1.5, 125), ("spike_hard_00", 2.0, 165)],
)
def test_crowds_of_others_simulations_are_not_masked(name, pixel_size_angstrom, diameter_angstrom):
    """Not a single pixel is masked."""
    folder = DATA / "simulated"
    masked, particles = lost(
        folder / f"{name}.mrc",
        folder / f"{name}_truth.csv",
        pixel_size_angstrom=pixel_size_angstrom,
        diameter_angstrom=diameter_angstrom,
    )

    assert masked.total == particles == 0


def test_a_chain_of_crystals_is_not_the_rim_of_a_hole():
    """Three crystals in a row and one at the corner have no film behind them."""
    path = DATA / "simulated" / "empty_ice_contam.mrc"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    found = prepare(
        mrcfile.read(path), pixel_size_angstrom=1.5, diameter_angstrom=150, contrast="dark"
    )

    assert found.masked.carbon < 0.02
    assert 0.15 < found.masked.contamination < 0.3


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

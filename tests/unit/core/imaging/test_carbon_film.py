"""Carbon film is masked, and particles are not."""

import csv
import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from synthetic_fields import ANGSTROM, SIDE, circle, noise, prepared, rim, share

from livepick.core.imaging.carbon_film import film_mask
from livepick.core.imaging.masks import MaskedFractions
from livepick.core.imaging.preprocess import DIAMETER_PX, prepare

DATA = Path(os.environ.get("LIVEPICK_DATA", Path(__file__).parents[5] / "shared" / "data"))


@pytest.fixture
def rng():
    """Return a generator that is the same in each test."""
    return np.random.default_rng(3)


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

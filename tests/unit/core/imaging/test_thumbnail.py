"""Thumbnails: positions, grey values and files."""

import io

import numpy as np
import pytest
from PIL import Image

from livepick.core.formats.png import encode_grey, encode_mask
from livepick.core.imaging.thumbnail import draw_thumbnail, resample_mask


def opened(png):
    """Return the pixels of a PNG as another program reads them."""
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize(("y", "x"), [(100.0, 300.0), (251.5, 480.25), (40.0, 40.0)])
@pytest.mark.parametrize("longest_px", [64, 100, 640])
def test_a_particle_is_where_a_browser_draws_its_pick(y, x, longest_px):
    """The picture covers pixel edges -0.5 to n - 0.5, to a tenth of a picture pixel."""
    shape = (288, 640)
    rows, columns = np.indices(shape)
    image = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 12.0**2)).astype(np.float32)
    picture = draw_thumbnail(
        image, longest_px=longest_px, pixel_size_angstrom=1.0, diameter_angstrom=60
    ).astype(float)

    picture[picture < 0.3 * picture.max()] = 0
    rows, columns = np.indices(picture.shape)
    found = [(picture * at).sum() / picture.sum() for at in (rows, columns)]
    drawn = [
        (at + 0.5) * new / old - 0.5
        for at, new, old in zip((y, x), picture.shape, shape, strict=True)
    ]
    assert found == pytest.approx(drawn, abs=0.1)


def test_a_speck_of_ice_does_not_turn_the_rest_grey():
    """Black and white are percentiles, so noise fills the range despite a bright outlier."""
    image = np.random.default_rng(0).normal(1000, 10, (512, 512)).astype(np.float32)
    image[:12, :12] = 60
    picture = draw_thumbnail(image, longest_px=256, pixel_size_angstrom=1, diameter_angstrom=20)

    assert np.percentile(picture, 95) - np.percentile(picture, 5) > 120


def test_particles_keep_their_contrast():
    """Dark pixels of the file are dark in the picture, as microscopists expect."""
    image = np.random.default_rng(0).normal(0, 1, (256, 256)).astype(np.float32)
    image[100:150, 100:150] -= 3
    picture = draw_thumbnail(image, longest_px=128, pixel_size_angstrom=1, diameter_angstrom=50)

    assert picture[52:73, 52:73].mean() < picture[:40, :40].mean() - 30


def test_noise_finer_than_the_particle_is_dimmed():
    """The low-pass filter depends on the particle's size, not on that of the picture."""
    image = np.random.default_rng(0).normal(0, 1, (256, 256)).astype(np.float32)
    small, large = (
        draw_thumbnail(image, longest_px=256, pixel_size_angstrom=1, diameter_angstrom=d)
        for d in (20, 200)
    )
    rough = [np.abs(np.diff(picture.astype(float), axis=1)).mean() for picture in (small, large)]

    assert rough[1] < rough[0] / 3


def test_a_mask_covers_what_it_masks():
    """The mask of the prepared micrograph is resampled to the pixels of the picture."""
    mask = np.zeros((72, 160), dtype=bool)
    mask[10:20, 100:160] = True  # rows 38 to 78, columns 398 to the end
    there = resample_mask(mask, scale_yx=(4.0, 4.0), shape_px=(288, 640), longest_px=320)

    assert there.shape == (144, 320)
    rows, columns = np.nonzero(there)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (19, 38, 199, 319)


@pytest.mark.parametrize("levels", [2, 24, 256])
def test_other_programs_read_a_grey_file(levels):
    """Every pixel is within half a grey level of the input."""
    image = np.random.default_rng(0).integers(0, 256, (37, 53)).astype(np.uint8)
    read = np.asarray(opened(encode_grey(image, levels=levels)).convert("L"), dtype=float)

    assert read.shape == image.shape
    assert np.abs(read - image).max() <= 127.5 / (levels - 1) + 0.5


def test_other_programs_read_a_mask():
    """The picture is transparent outside and coloured inside, for any width."""
    mask = np.random.default_rng(0).random((11, 13)) > 0.5
    read = np.asarray(opened(encode_mask(mask, rgba=(1, 2, 3, 110))).convert("RGBA"))

    assert (read[..., 3] == np.where(mask, 110, 0)).all()
    assert (read[mask][:, :3] == (1, 2, 3)).all()

"""Preparation of a micrograph for a picker: size, sign, mask, filter and noise."""

import numpy as np
import pytest
from scipy import ndimage

from livepick.core.imaging.preprocess import DIAMETER_PX, prepare


def test_ice_much_wider_than_the_background_window_is_masked(rng):
    """Black ice six diameters wide would be its own background; nothing is picked there."""
    y, x = np.indices((1000, 1000))
    image = 100 + 0.01 * x + 3 * rng.standard_normal((1000, 1000))
    ice = np.hypot(y - 300, x - 400) < 200
    image[ice] -= 30

    prepared = prepare(image, pixel_size_angstrom=2, diameter_angstrom=120, contrast="dark")

    inside, outside = (
        prepared.mask[(yy / prepared.scale_y).astype(int), (xx / prepared.scale_x).astype(int)]
        for yy, xx in (np.nonzero(ice), np.nonzero(np.hypot(y - 300, x - 400) > 260))
    )
    assert inside.all()
    assert not outside.any()


def test_preparing_makes_particles_bright_and_of_standard_size(rng):
    """A dark disc of the particle's diameter comes out bright and 20 pixels wide."""
    y, x = np.indices((800, 1000))
    image = 100 + 3 * rng.standard_normal((800, 1000))
    image -= 10.0 * (np.hypot(y - 400, x - 500) < 60)  # 120 px, 180 Å at 1.5 Å

    prepared = prepare(image, pixel_size_angstrom=1.5, diameter_angstrom=180, contrast="dark")

    smooth = ndimage.gaussian_filter(prepared.image, 2)
    py, px = np.unravel_index(smooth.argmax(), smooth.shape)
    assert np.hypot(py * prepared.scale_y - 400, px * prepared.scale_x - 500) < 50
    width_px = 2 * np.sqrt((smooth > 0.5 * smooth.max()).sum() / np.pi)
    assert width_px == pytest.approx(DIAMETER_PX, rel=0.15)


def test_bright_contrast_is_the_mirror_image(rng):
    """The same pixels with the other contrast have the other sign."""
    image = rng.standard_normal((256, 256)).astype(np.float32)
    dark, bright = (
        prepare(image, pixel_size_angstrom=2, diameter_angstrom=100, contrast=c).image
        for c in ("dark", "bright")
    )

    np.testing.assert_array_equal(dark, -bright)


@pytest.fixture
def noisy(rng):
    """Return a micrograph of the prepared pixel size with a border, a blob and ice."""
    image = rng.normal(100, 3, (240, 220))
    image[:12] = 0
    y, x = np.indices(image.shape)
    image -= 8 * (np.hypot(y - 90, x - 70) < 9)
    image -= 60 * (np.hypot(y - 170, x - 150) < 25)
    return image.astype(np.float32)


def test_the_lowpass_changes_the_image_and_not_the_mask(noisy):
    """The mask, and the strength of a particle, are the same with and without the filter."""
    keywords = {"pixel_size_angstrom": 5, "diameter_angstrom": 100, "contrast": "dark"}
    plain = prepare(noisy, **keywords)
    filtered = prepare(noisy, **keywords, lowpass_angstrom=40)

    assert (filtered.mask == plain.mask).all()
    assert plain.mask.any()
    good = ~plain.mask
    assert filtered.image[good].std() < 0.6 * plain.image[good].std()
    assert (filtered.image[:12] == 0).all()
    around = np.s_[84:97, 64:77]
    assert filtered.image[around].mean() == pytest.approx(plain.image[around].mean(), rel=0.1)


def test_without_normalization_a_noisier_micrograph_looks_noisier(noisy):
    """It is divided by a given number; background removal and mask are the same."""
    keywords = {"pixel_size_angstrom": 5, "diameter_angstrom": 100, "contrast": "dark"}
    own = prepare(noisy, **keywords)

    common = prepare(3 * noisy + 50, **keywords, noise_sigma=own.noise_sigma)

    assert own.noise_sigma == pytest.approx(3, rel=0.1)
    assert (common.mask == own.mask).all()
    np.testing.assert_allclose(common.image, 3 * own.image, atol=1e-2)

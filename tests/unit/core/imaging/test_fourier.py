"""Fourier resampling and the low-pass filter."""

import numpy as np
import pytest

from livepick.core.imaging.fourier import fourier_resample, lowpass
from livepick.errors import ContentError, PixelSizeError


@pytest.mark.parametrize("shape", [(512, 640), (511, 643), (1023, 250), (409, 576)])
@pytest.mark.parametrize("factor", [0.7, 1.0, 2.3, 6.9])
def test_resampling_keeps_a_blob_in_place_near_the_far_corner(shape, factor, blob_image):
    """Position times scale is the original position, to a tenth of a new pixel."""
    truth = (shape[0] - 61.3, shape[1] - 47.8)
    resampled = fourier_resample(blob_image(shape, [truth], sigma=14), factor=factor)

    y, x = np.indices(resampled.image.shape)
    top = resampled.image > 0.5 * resampled.image.max()
    weight = resampled.image[top]
    found = (
        np.average(y[top], weights=weight) * resampled.scale_y,
        np.average(x[top], weights=weight) * resampled.scale_x,
    )
    assert found == pytest.approx(truth, abs=0.1 * max(factor, 1))


def test_resampling_says_what_it_achieved(rng):
    """The two scales differ on a rectangular detector, and each is the ratio of the shapes."""
    resampled = fourier_resample(rng.standard_normal((409, 576)), factor=5.0)

    assert resampled.image.shape == (82, 116)
    assert (resampled.scale_y, resampled.scale_x) == (409 / 82, 576 / 116)


@pytest.mark.parametrize("dtype", ["int8", "int16", ">i2", "uint16", "float16", ">f4", "float64"])
def test_every_type_gives_the_same_picture(dtype, rng):
    """Type and byte order of the file make no difference beyond rounding."""
    image = (50 + 20 * rng.standard_normal((256, 256))).clip(0, 120).round()
    expected = fourier_resample(image.astype(np.float32), factor=4).image

    np.testing.assert_allclose(
        fourier_resample(image.astype(dtype), factor=4).image, expected, atol=1e-3
    )


def test_the_mean_is_kept_and_a_hot_pixel_does_not_ring(rng):
    """A pixel of a million counts changes the image around it by less than the noise."""
    image = (100 + rng.standard_normal((512, 512))).astype(np.float32)
    hot = image.copy()
    hot[200, 300] = 1e6

    clean, dirty = (fourier_resample(i, factor=4).image for i in (image, hot))

    assert clean.mean() == pytest.approx(image.mean(), rel=1e-3)
    assert np.abs(dirty - clean).max() < 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_is_found_wherever_it_is(value, rng):
    """NaN raises an error instead of spreading; an infinite pixel is clipped like a hot one."""
    image = rng.standard_normal((300, 300)).astype(np.float32)
    image[173, 211] = value

    if np.isnan(value):
        with pytest.raises(ContentError, match="NaN"):
            fourier_resample(image, factor=3)
    else:
        assert np.isfinite(fourier_resample(image, factor=3).image).all()


def test_a_constant_image_is_no_picture():
    """The error message contains the value."""
    with pytest.raises(ContentError, match="all pixels are 42"):
        fourier_resample(np.full((128, 128), 42, dtype=np.int16), factor=2)


def test_a_far_too_coarse_image_is_refused(rng):
    """Enlarging more than twofold would only interpolate."""
    with pytest.raises(PixelSizeError, match=r"4\.0 times too coarse"):
        fourier_resample(rng.standard_normal((128, 128)), factor=0.25)


def wave(shape, cycles_y, cycles_x):
    """Return a wave with a number of half periods along y and x; mirroring continues it."""
    y, x = ((np.arange(n) + 0.5) / n for n in shape)
    return np.outer(np.cos(np.pi * cycles_y * y), np.cos(np.pi * cycles_x * x)).astype(np.float32)


@pytest.mark.parametrize(("cycles_y", "cycles_x"), [(0, 41), (81, 0), (60, 30), (99, 49)])
def test_a_wave_beyond_the_cutoff_vanishes(cycles_y, cycles_x):
    """With 100 x 50 pixels of 4 x 8 Å, a wavelength of 20 Å is 40 half periods each way."""
    image = wave((100, 50), cycles_y, cycles_x)

    filtered = lowpass(image, cutoff_angstrom=20, pixel_size_angstrom=(4, 8))

    assert np.abs(filtered).max() < 1e-5


@pytest.mark.parametrize(("cycles_y", "cycles_x"), [(0, 0), (0, 33), (33, 0), (20, 20)])
def test_a_wave_below_the_cutoff_stays(cycles_y, cycles_x):
    """Waves up to 0.85 of the cutoff frequency are not changed."""
    image = wave((100, 50), cycles_y, cycles_x)

    filtered = lowpass(image, cutoff_angstrom=20, pixel_size_angstrom=(4, 8))

    np.testing.assert_allclose(filtered, image, atol=1e-5)


def test_the_filters_edge_is_soft():
    """A wave in the middle of the edge keeps half of its amplitude."""
    image = wave((400, 8), 74, 0)  # (0.85 + 1) / 2 of the cutoff

    filtered = lowpass(image, cutoff_angstrom=80, pixel_size_angstrom=(8, 1))

    np.testing.assert_allclose(filtered, image / 2, atol=1e-5)

"""Decimated rows give the same low frequencies."""

import numpy as np
import pytest

from livepick.core.imaging import fourier
from livepick.core.imaging.decimation import ATTENUATION, Decimation

UNDECIMATED = Decimation(1, np.empty(0))


@pytest.mark.parametrize(
    "case",
    [(512, 5.1, 2), (516, 9.0, 4), (520, 17.0, 8), (1032, 40.0, 8), (518, 17.0, 2), (515, 9.0, 1)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16, np.uint16, np.int8])
def test_an_image_is_resampled_as_without_decimation(case, dtype, rng, monkeypatch):
    """It does not matter whether the height is divisible, and what type the pixels have."""
    height, factor, step = case
    image = (rng.standard_normal((height, 390)) * 12 + 60).clip(0, 127).astype(dtype)
    image[100:140, 200:260] += np.asarray(20, dtype)
    found = fourier.fourier_resample(image, factor=factor).image
    new_height = max(8, 2 * round(height / factor / 2))
    assert Decimation.of(height, (new_height / 2 - 1) / height).step == step

    monkeypatch.setattr(fourier.Decimation, "of", lambda height, kept: UNDECIMATED)
    expected = fourier.fourier_resample(image, factor=factor).image

    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())


@pytest.mark.parametrize("kept", [0.01, 0.03, 0.06, 0.12])
def test_what_would_be_folded_onto_kept_frequencies_is_removed(kept):
    """The response at the kept frequencies is not small, and known."""
    decimation = Decimation.of(4096, kept)
    assert decimation.step > 1
    within = np.linspace(0, kept, 50)
    folded = np.arange(1, decimation.step // 2 + 1)[:, None] / decimation.step - within

    response = decimation.response(within) * decimation.step

    assert response[0] == pytest.approx(1)
    assert response.min() > 1e-2
    assert np.abs(decimation.response(folded) * decimation.step).max() <= 1.001 * ATTENUATION


def test_the_response_is_that_of_the_filter(rng):
    """A wave of low frequency has the given amplitude after decimation."""
    decimation = Decimation.of(4096, 0.05)
    rows = np.arange(-decimation.reach, 800 + decimation.reach)
    wave = np.cos(2 * np.pi * 0.04 * rows)[:, None].astype(np.float32)

    found = decimation.decimated(np.ascontiguousarray(wave.repeat(3, axis=1)))

    kept = wave[decimation.reach : -decimation.reach : decimation.step]
    expected = kept * decimation.response(np.array(0.04)) * decimation.step
    np.testing.assert_allclose(found[: len(expected), 1], expected[:, 0], rtol=0, atol=1e-5)

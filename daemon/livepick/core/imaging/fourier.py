"""Fourier resampling, separable and in float32, that returns the achieved scale; a low-pass filter.

A micrograph of 4096 x 4096 pixels is reduced to about 800 x 800. Only the low frequencies are
computed: the rows are decimated (``core.imaging.decimation``) and transformed in blocks that fit
into the cache, all but the low columns are dropped immediately, and then the columns are
transformed. This takes a third of the time of a 2D transform and a twentieth of its memory.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from livepick.core.imaging.decimation import Decimation
from livepick.core.imaging.fast_median import median
from livepick.errors import ContentError, PixelSizeError

__all__ = ["Resampled", "fourier_resample", "lowpass"]

Image = NDArray[np.float32]

ROWS_AT_ONCE = 128
"""Rows per block: 2 MB of a 4096-pixel detector in float32; a multiple of all decimations."""

CLIP_SIGMAS = 8.0
"""Values are clipped at this many standard deviations from the median. Hot pixels and X-rays beyond
it would cause ringing throughout the image."""

TAPER_FROM = 0.85
"""Fraction of the new Nyquist frequency at which a cosine taper to zero begins. A sharp cut-off
would cause ringing beside every edge."""

EDGE_FROM = 0.85
"""Fraction of the cutoff frequency at which the cosine starts to fall to zero; a sharp cutoff would
cause ringing beside every edge."""

MOST_ENLARGEMENT = 2.0
"""Largest enlargement of an image; beyond this the result would be interpolation, not data."""


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """A resampled image, and the positions of its pixels in the original."""

    image: Image
    """Resampled image, ``[y, x]``."""

    scale_y: float
    """Original pixels per new pixel: ``y_original = y_new * scale_y``. Shapes are whole numbers, so
    it differs from the requested ratio, and from ``scale_x``, by up to one percent."""

    scale_x: float


def fourier_resample(image: NDArray[Any], *, factor: float) -> Resampled:
    """Resample an image so that one new pixel spans about ``factor`` original ones.

    Parameters
    ----------
    image
        The image, ``[y, x]``, of any real type and byte order; not changed.
    factor
        Requested number of original pixels per new pixel; a value above 1 shrinks the image. See
        ``Resampled`` for the achieved values.

    Raises
    ------
    ContentError
        The image contains NaN or infinite values, or all its pixels are the same.
    PixelSizeError
        The image is so coarse that it would have to be enlarged more than twofold.
    """
    if factor < 1 / MOST_ENLARGEMENT:
        raise PixelSizeError(
            f"the micrograph is {1 / factor:.1f} times too coarse for this particle",
            "Check micrograph.pixel_size_angstrom and particle.diameter_angstrom, or save"
            " micrographs with less binning.",
        )
    height, width = image.shape
    new_height, new_width = (max(8, 2 * round(n / factor / 2)) for n in (height, width))
    low, high = _limits(image)

    columns = min(new_width, width) // 2 + 1
    half = min(new_height, height) // 2
    decimation = Decimation.of(height, (half - 1) / height)
    rows = _low_rows(image, columns, low, high, decimation)
    rows *= _taper(columns)
    spectrum = fft.fft(rows, axis=0, overwrite_x=True)
    low_part = np.zeros((new_height, columns), dtype=np.complex64)
    response = decimation.response(np.arange(half) / height)
    taper = (_taper(half) / response).astype(np.float32)[:, None]
    low_part[:half] = spectrum[:half] * taper
    low_part[1 - half :] = spectrum[1 - half :] * taper[:0:-1]
    smaller = fft.irfft2(low_part, s=(new_height, new_width), overwrite_x=True)
    smaller *= np.float32((new_height * new_width) / (height * width))
    return Resampled(smaller.astype(np.float32, copy=False), height / new_height, width / new_width)


def _limits(image: NDArray[Any]) -> tuple[float, float]:
    """Return the lowest and highest values that are not outliers, from a coarse sample."""
    sample = image[::7, ::5].astype(np.float32).ravel()
    if not np.isfinite(sample).all():
        raise _not_finite()
    middle = float(median(sample))
    sigma = 1.4826 * float(median(np.abs(sample - middle)))
    if sigma == 0:  # more than half of the pixels are the same: sparse counts, or no data
        sigma = _standard_deviation(image)
    if sigma == 0:
        raise ContentError(
            f"all pixels are {float(image[0, 0]):g}",
            "The file contains no image data; check the camera and the motion correction.",
        )
    spread = CLIP_SIGMAS * sigma
    return middle - spread, middle + spread


def _standard_deviation(image: NDArray[Any]) -> float:
    """Return the standard deviation, in double precision, a strip at a time."""
    strips = range(0, image.shape[0], ROWS_AT_ONCE)
    first = float(image[0, 0])  # the mean of what is left is closer to 0
    total = square = 0.0
    for start in strips:
        strip = image[start : start + ROWS_AT_ONCE].astype(np.float64) - first
        total += float(strip.sum())
        square += float(np.vdot(strip, strip))
    mean = total / image.size
    return math.sqrt(max(0.0, square / image.size - mean * mean))


def _low_rows(
    image: NDArray[Any], columns: int, low: float, high: float, decimation: Decimation
) -> NDArray[np.complex64]:
    """Transform along the rows and keep the lowest frequencies, shape (rows, columns)."""
    step, reach = decimation.step, decimation.reach
    count, at_once = image.shape[0] // step, ROWS_AT_ONCE // step
    rows = np.empty((count, columns), dtype=np.complex64)
    clipped = np.empty((ROWS_AT_ONCE + 2 * reach, image.shape[1]), dtype=np.float32)
    for first in range(0, count, at_once):
        last = min(first + at_once, count)
        block = _rows_around(image, first * step - reach, (last - 1) * step + reach + 1)
        block = np.clip(
            block, low, high, out=clipped[: len(block)], dtype=np.float32, casting="unsafe"
        )
        block = decimation.decimated(block)
        rows[first:last] = fft.rfft(block, axis=1, overwrite_x=True)[:, :columns]
    if not np.isfinite(rows[:, 0]).all():  # clip keeps NaN, so that the sum of its row is NaN too
        raise _not_finite()
    return rows


def _rows_around(image: NDArray[Any], first: int, last: int) -> NDArray[Any]:
    """Return rows from ``first`` to before ``last`` of an image that continues periodically."""
    if first >= 0 and last <= len(image):
        return image[first:last]
    return image[np.arange(first, last) % len(image)]


def _taper(count: int) -> NDArray[np.float32]:
    """Return weights for frequencies 0 to count - 1: 1, then a cosine to 0 at the last."""
    position = np.arange(count) / (count - 1)
    beyond = np.clip((position - TAPER_FROM) / (1 - TAPER_FROM), 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * beyond)).astype(np.float32)


def _not_finite() -> ContentError:
    return ContentError(
        "the image contains NaN or infinite values",
        "Check the gain reference and the motion correction.",
    )


def lowpass(
    image: Image, *, cutoff_angstrom: float, pixel_size_angstrom: tuple[float, float]
) -> Image:
    """Return ``image`` without any detail finer than ``cutoff_angstrom``.

    The spectrum is multiplied by a raised cosine in the spatial frequency f (the Tukey window
    of Harris 1978, *Proc. IEEE* 66, 51, table 1, as a function of f / fc = f · cutoff)::

        H(f) = 1                                              up to 0.85 fc
        H(f) = (1 + cos(π (f / fc - 0.85) / (1 - 0.85))) / 2  up to fc
        H(f) = 0                                              beyond

    equally in every direction. It is applied to the cosine transform (DCT-II), that is, to the
    image extended by its mirror images, so that opposite edges do not meet.

    Parameters
    ----------
    image
        ``[y, x]``; not changed.
    cutoff_angstrom
        Wavelength of the cutoff fc.
    pixel_size_angstrom
        Pixel size along y and x, as achieved by the resampling.
    """
    # The k-th cosine of n pixels has a wavelength of 2 n / k pixels.
    y, x = (
        np.arange(n, dtype=np.float64) / (2 * n * pixel)
        for n, pixel in zip(image.shape, pixel_size_angstrom, strict=True)
    )
    relative = np.hypot(y[:, None], x[None, :]) * cutoff_angstrom
    beyond = np.clip((relative - EDGE_FROM) / (1 - EDGE_FROM), 0, 1)
    passed = (0.5 + 0.5 * np.cos(np.pi * beyond)).astype(np.float32)
    spectrum = fft.dctn(image, type=2, norm="ortho")
    spectrum *= passed
    filtered: Image = fft.idctn(spectrum, type=2, norm="ortho", overwrite_x=True)
    return filtered.astype(np.float32, copy=False)

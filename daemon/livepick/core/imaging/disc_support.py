"""Support of particle sizes by a micrograph, without a model.

Each size is tried as a picker would try it: the image is correlated with discs and shells of that
size, and the peaks of the response are measured in units of the noise. Discs smaller than the
particles explain as much of the image in total, but less per disc; larger ones explain less. The
support of a size is what all its peaks explain beyond noise, times the square root of what one peak
explains. It is greatest near the particles' own size.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from livepick.core.imaging.blob_detector import templates
from livepick.core.imaging.fourier import fourier_resample

__all__ = ["SIZE_PX", "disc_response", "disc_support"]

Image = NDArray[np.float32]
Vector = NDArray[np.float64]

SIZE_PX = 8
"""Each size is tried on an image in which it is this many pixels wide."""

NOISE_ANGSTROM: Final = (30.0, 20.0)
"""Resolution range in which noise is measured: finer than particle outlines, and coarse enough for
the detector to record fully."""

LEAST_ACROSS = 3.0
"""A size is tried only if the image's shorter side is at least this many times as long."""

LEAST_FACTOR = 0.7
"""A size is tried only if it is not enlarged more than this, in pixels of the image."""

LEAST_SIGMAS = 4.5
"""Lowest height of a peak; noise alone reaches it in one of a hundred thousand places."""

LEAST_PEAKS = 15
"""Fewest peaks in a micrograph that support a size; noise has some, too."""

USUAL_TIMES = 1.5
"""Peaks are capped at this multiple of the median peak: higher ones are ice or gold."""


def disc_support(
    flat: Image,
    sizes_angstrom: Vector,
    *,
    pixel_size_angstrom: float,
) -> tuple[Vector, Vector]:
    """Return how well each size explains an image, and how far its peaks stand out.

    Parameters
    ----------
    flat
        Image with background 0, particles bright, ``[y, x]``; 0 where nothing is to be measured.
    sizes_angstrom
        Sizes to try, shape (K,).
    pixel_size_angstrom
        Pixel size of ``flat``.

    Returns
    -------
    support
        Support of each size, shape (K,); 0 if nothing stands out, NaN if it could not be tried.
    usual_sigmas
        Median height of its peaks, in units of the noise, shape (K,); 0 if nothing stands out.
    """
    noise = _noise_sigma(flat, pixel_size_angstrom)
    support, usual = np.zeros((2, len(sizes_angstrom)))
    for number, size_angstrom in enumerate(sizes_angstrom.tolist()):
        factor = size_angstrom / SIZE_PX / pixel_size_angstrom
        across = min(flat.shape) * pixel_size_angstrom / size_angstrom
        if factor < LEAST_FACTOR or across < LEAST_ACROSS:
            support[number] = np.nan
            continue
        coarse = fourier_resample(flat, factor=factor)
        peaks = _peaks(coarse.image) / (noise / factor)
        peaks = peaks[peaks > LEAST_SIGMAS]
        if len(peaks) >= LEAST_PEAKS:
            usual[number] = np.median(peaks)
            beyond = np.minimum(peaks, USUAL_TIMES * usual[number]) ** 2 - LEAST_SIGMAS**2
            support[number] = beyond.sum() * np.sqrt(beyond.mean())
    return support, usual


def _noise_sigma(image: Image, pixel_size_angstrom: float) -> float:
    """Return the standard deviation of white noise with the power found at ``NOISE_ANGSTROM``."""
    power = np.abs(fft.rfft2(image)) ** 2
    y, x = fft.fftfreq(image.shape[0])[:, None], fft.rfftfreq(image.shape[1])[None]
    per_angstrom = np.hypot(y, x) / pixel_size_angstrom
    coarse = 1 / max(NOISE_ANGSTROM[0], 3.3 * pixel_size_angstrom)
    fine = 1 / max(NOISE_ANGSTROM[1], 2.4 * pixel_size_angstrom)
    finest = power[(per_angstrom > coarse) & (per_angstrom < fine)]
    return float(np.sqrt(finest.mean() / image.size))


def disc_response(image: Image, size_px: float) -> Image:
    """Return the largest response to discs and shells of norm 1 and a size, ``[y, x]``."""
    spectrum = fft.rfft2(image)
    response = np.full(image.shape, -np.inf, dtype=np.float32)
    for template in templates(size_px)[0]:
        kernel = np.zeros_like(image)
        size = len(template)
        kernel[:size, :size] = template
        kernel = np.roll(kernel, (-(size // 2), -(size // 2)), (0, 1))
        matched = fft.irfft2(spectrum * fft.rfft2(kernel).conj(), s=image.shape)
        np.maximum(response, matched, out=response)
    return response


def _peaks(image: Image) -> Vector:
    """Return the peaks of the response to discs and shells that are ``SIZE_PX`` wide."""
    response = disc_response(image, SIZE_PX)
    half = SIZE_PX // 2
    inner = np.s_[half:-half, half:-half]
    top = (response == ndimage.maximum_filter(response, half + 1))[inner]
    return np.asarray(response[inner][top], dtype=np.float64)

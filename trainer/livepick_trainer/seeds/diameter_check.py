"""Whether the particles are as large as the given diameter, asked of the micrographs themselves.

Classes cannot tell: a picker for particles of a third of the size finds pieces of that size, and
they make fine classes; one for thrice the size finds crowds. (Simulated apoferritin, picked with
a third, half, once and twice its diameter: the accepted classes are 0.79, 0.95, 1.03 and 0.85
diameters long, and hold 83, 85, 93 and 86 % of the candidates.)

So each size is tried as a picker would: discs and shells of that size are held against the
micrograph, and the peaks of the response taken in units of the noise. Discs smaller than the
particles explain as much of the picture altogether, each of them less; larger ones explain less.
So what all peaks of a size explain beyond noise, times the root of what one explains, is greatest
at the particles' own size. A micrograph is one voice, as one of ice or carbon may say anything.

On four simulated specimens and two real ones, the true diameter has 0.92 and more of the best
size's support, but for β-galactosidase with 0.52, whose 180 Å are the longest of three. A third of
the diameter and thrice have 0.5 at most, again but for a third of β-galactosidase (0.64), where
nothing is noticed; half and twice have 0.3 but for crowds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from livepick.config.sections import Contrast
from livepick.core.imaging.blob_detector import templates
from livepick.core.imaging.fourier import fourier_resample
from livepick.core.imaging.masks import find_borders
from livepick.core.imaging.normalize import flatten
from livepick.core.imaging.preprocess import LIMIT_SIGMAS

__all__ = ["SIZES_DIAMETERS", "size_finding", "size_support"]

Image = NDArray[np.float32]
Vector = NDArray[np.float64]

SIZES_DIAMETERS: Vector = 2.0 ** (np.arange(-4, 5) / 2)
"""What is tried: from a quarter of the given diameter to four times as much."""

_GIVEN = len(SIZES_DIAMETERS) // 2

SIZE_PX = 8
"""Each size is tried on an image in which it has so many pixels."""

LEAST_SIZE_ANGSTROM = 40.0
"""Finer is detail of any particle, or noise."""

NOISE_ANGSTROM = (30.0, 20.0)
"""Where noise is measured: finer than outlines, and coarse enough for the detector to see all."""

PIXEL_ANGSTROM = 8.0
"""Largest pixel in which that can be measured."""

BACKGROUND_DIAMETERS = 9.0
"""Structures wider than this are background, also to particles of four diameters."""

LEAST_ACROSS = 3.0
"""Of a size in an image's width, or it is not tried."""

LEAST_SIGMAS = 4.5
"""Of a peak: noise alone reaches it in one of a hundred thousand places."""

LEAST_PEAKS = 15
"""In a micrograph; fewer support nothing, since noise has some too."""

LEAST_USUAL_SIGMAS = 5.25
"""Of the median peak at the best size; a micrograph whose particles are fainter says nothing. In
crowds of faint particles, pieces of them stand out as much."""

LEAST_VOICES = 3
"""Micrographs that say something, or there is no finding: each may be full of something else."""

USUAL_TIMES = 1.5
"""Peaks beyond so many times the median one count for no more: they are ice or gold."""

SMALLER_DIAMETERS, SMALLER_SUPPORT = 0.55, 0.35
"""There is a finding if the best size is smaller than this, and the given one has less than this of
its support. The diameter is the longest, and flat or long particles look smaller."""

LARGER_DIAMETERS, LARGER_SUPPORT = 1.3, 0.6
"""The same for larger: no shape looks larger than it is, but pieces stand out too."""


def size_support(
    image: NDArray[Any],
    *,
    pixel_size_angstrom: float,
    diameter_angstrom: float,
    contrast: Contrast,
) -> Vector:
    """Return how well each of ``SIZES_DIAMETERS`` explains a micrograph; 1 is the best of them.

    All are 0 where nothing stands out; those that could not be tried are. It takes a fifth of a
    second, a micrograph of 4096 x 4096 pixels up to one.

    Parameters
    ----------
    image
        Micrograph as it landed, ``[y, x]``; not changed.
    pixel_size_angstrom
        Of ``image``.
    diameter_angstrom
        As given.
    contrast
        How particles look in ``image``.

    Raises
    ------
    ContentError
        NaN, infinite or constant pixels.
    """
    tried_angstrom = SIZES_DIAMETERS * diameter_angstrom
    smallest_angstrom = max(LEAST_SIZE_ANGSTROM, float(tried_angstrom[0]))
    wished_angstrom = min(smallest_angstrom / SIZE_PX, PIXEL_ANGSTROM)
    fine = fourier_resample(image, factor=max(1.0, wished_angstrom / pixel_size_angstrom))
    fine_angstrom = pixel_size_angstrom * 0.5 * (fine.scale_y + fine.scale_x)
    border = find_borders(image).mask(fine.image.shape, scale_y=fine.scale_y, scale_x=fine.scale_x)
    window_px = round(BACKGROUND_DIAMETERS * diameter_angstrom / fine_angstrom)
    flat = flatten(fine.image, window_px=window_px, ignore=border).flat
    flat[border] = 0
    np.clip(flat, -LIMIT_SIGMAS, LIMIT_SIGMAS, out=flat)
    if contrast == "dark":
        np.negative(flat, out=flat)
    noise = _noise(flat, fine_angstrom)
    support, usual = np.zeros((2, len(tried_angstrom)))
    for number, size_angstrom in enumerate(tried_angstrom.tolist()):
        factor = size_angstrom / SIZE_PX / fine_angstrom
        across = min(flat.shape) * fine_angstrom / size_angstrom
        if size_angstrom >= LEAST_SIZE_ANGSTROM and factor > 0.7 and across >= LEAST_ACROSS:
            coarse = fourier_resample(flat, factor=factor)
            peaks = _peaks(coarse.image) / (noise / factor)
            peaks = peaks[peaks > LEAST_SIGMAS]
            if len(peaks) >= LEAST_PEAKS:
                usual[number] = np.median(peaks)
                beyond = np.minimum(peaks, USUAL_TIMES * usual[number]) ** 2 - LEAST_SIGMAS**2
                support[number] = beyond.sum() * np.sqrt(beyond.mean())
    best = int(support.argmax())
    if usual[best] < LEAST_USUAL_SIGMAS:
        return np.zeros_like(support)
    relative: Vector = support / support[best]
    return relative


def size_finding(supports: Sequence[Vector], *, diameter_angstrom: float) -> str | None:
    """Return a sentence if the particles are far from the given diameter, else None.

    Parameters
    ----------
    supports
        Of each of some micrographs, from ``size_support``; six will do.
    diameter_angstrom
        As given.
    """
    found = [support for support in supports if support.max() > 0]
    if len(found) < LEAST_VOICES:
        return None
    usual = np.median(found, axis=0)
    best = float(SIZES_DIAMETERS[int(usual.argmax())])
    given = float(usual[_GIVEN])
    smaller = best < SMALLER_DIAMETERS and given < SMALLER_SUPPORT * usual.max()
    larger = best > LARGER_DIAMETERS and given < LARGER_SUPPORT * usual.max()
    if not (smaller or larger):
        return None
    return (
        f"what is in the micrographs looks about {best * diameter_angstrom:.0f} Å wide, which is"
        f" {best:.1f} times particle.diameter_angstrom ({diameter_angstrom:g})"
    )


def _peaks(image: Image) -> Vector:
    """Return the peaks of the response to discs and shells ``SIZE_PX`` wide, of norm 1."""
    spectrum = fft.rfft2(image)
    response = np.full(image.shape, -np.inf, dtype=np.float32)
    for template in templates(SIZE_PX)[0]:
        kernel = np.zeros_like(image)
        size = len(template)
        kernel[:size, :size] = template
        kernel = np.roll(kernel, (-(size // 2), -(size // 2)), (0, 1))
        matched = fft.irfft2(spectrum * fft.rfft2(kernel).conj(), s=image.shape)
        np.maximum(response, matched, out=response)
    half = SIZE_PX // 2
    inner = np.s_[half:-half, half:-half]
    top = (response == ndimage.maximum_filter(response, half + 1))[inner]
    return np.asarray(response[inner][top], dtype=np.float64)


def _noise(image: Image, pixel_size_angstrom: float) -> float:
    """Return the standard deviation of white noise as strong as that of ``NOISE_ANGSTROM``."""
    power = np.abs(fft.rfft2(image)) ** 2
    y, x = fft.fftfreq(image.shape[0])[:, None], fft.rfftfreq(image.shape[1])[None]
    per_angstrom = np.hypot(y, x) / pixel_size_angstrom
    coarse = 1 / max(NOISE_ANGSTROM[0], 3.3 * pixel_size_angstrom)
    fine = 1 / max(NOISE_ANGSTROM[1], 2.4 * pixel_size_angstrom)
    finest = power[(per_angstrom > coarse) & (per_angstrom < fine)]
    return float(np.sqrt(finest.mean() / image.size))

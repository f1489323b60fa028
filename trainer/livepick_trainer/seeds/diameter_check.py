"""Check of the configured particle diameter against the micrographs.

2D classes cannot show a wrong diameter. A picker set to a third of the size finds pieces of that
size, which make good classes; one set to three times the size finds crowds. (Simulated apoferritin,
picked with a third, half, once and twice its diameter: the accepted classes are 0.79, 0.95, 1.03
and 0.85 diameters long, and hold 83, 85, 93 and 86 % of the candidates.)

Each size is therefore tried as a picker would try it (``core.imaging.disc_support``). Each
micrograph has one vote, because a micrograph of ice or carbon can give any result.

On four simulated specimens and two real ones, the true diameter has at least 0.92 of the best
size's support. The exception is β-galactosidase with 0.52; its 180 Å are the longest of its three
axes. A third of the diameter and three times the diameter have at most 0.5, except a third of
β-galactosidase (0.64), where the check notices nothing. Half and twice the diameter have 0.3,
except in crowds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.config.sections import Contrast
from livepick.core.imaging.disc_support import SIZE_PX, disc_support
from livepick.core.imaging.fourier import fourier_resample
from livepick.core.imaging.masks import find_borders
from livepick.core.imaging.normalize import flatten
from livepick.core.imaging.preprocess import LIMIT_SIGMAS

__all__ = ["SIZES_DIAMETERS", "size_finding", "size_support"]

Image = NDArray[np.float32]
Vector = NDArray[np.float64]

SIZES_DIAMETERS: Vector = 2.0 ** (np.arange(-4, 5) / 2)
"""Sizes that are tried, from a quarter of the configured diameter to four times it."""

_GIVEN = len(SIZES_DIAMETERS) // 2

LEAST_SIZE_ANGSTROM = 40.0
"""Smallest size that is tried; anything finer is detail of a particle, or noise."""

PIXEL_ANGSTROM = 8.0
"""Largest pixel size at which noise can be measured in that range."""

BACKGROUND_DIAMETERS = 9.0
"""Structures wider than this are background, even for particles of four diameters."""

LEAST_USUAL_SIGMAS = 5.25
"""Lowest height of the median peak at the best size. A micrograph with fainter particles has no
vote: in crowds of faint particles, pieces of them stand out as much."""

LEAST_VOICES = 3
"""Fewest micrographs with a vote that make a finding; any one may be full of something else."""

SMALLER_DIAMETERS, SMALLER_SUPPORT = 0.55, 0.35
"""There is a finding if the best size is below the first number, and the configured size has less
than the second number of its support. The diameter is the longest one, and flat or elongated
particles look smaller."""

LARGER_DIAMETERS, LARGER_SUPPORT = 1.3, 0.6
"""The same for larger sizes: no shape looks larger than it is, but pieces stand out, too."""


def size_support(
    image: NDArray[Any],
    *,
    pixel_size_angstrom: float,
    diameter_angstrom: float,
    contrast: Contrast,
) -> Vector:
    """Return how well each of ``SIZES_DIAMETERS`` explains a micrograph; the best size has 1.

    Sizes that could not be tried have 0. If nothing stands out, all are 0. This takes a fifth of a
    second, and up to one second for a micrograph of 4096 x 4096 pixels.

    Parameters
    ----------
    image
        Original micrograph, ``[y, x]``; not modified.
    pixel_size_angstrom
        Pixel size of ``image``.
    diameter_angstrom
        Configured particle diameter.
    contrast
        Particle contrast in ``image``.

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
    tried = tried_angstrom >= LEAST_SIZE_ANGSTROM
    support, usual = np.zeros((2, len(tried)))
    support[tried], usual[tried] = disc_support(
        flat, tried_angstrom[tried], pixel_size_angstrom=fine_angstrom
    )
    np.nan_to_num(support, copy=False)
    best = int(support.argmax())
    if usual[best] < LEAST_USUAL_SIGMAS:
        return np.zeros_like(support)
    relative: Vector = support / support[best]
    return relative


def size_finding(supports: Sequence[Vector], *, diameter_angstrom: float) -> str | None:
    """Return a sentence if the particles differ much from the configured diameter, else None.

    Parameters
    ----------
    supports
        Result of ``size_support`` for each of several micrographs; six are enough.
    diameter_angstrom
        Configured particle diameter.
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
        f"the particles in the micrographs look about {best * diameter_angstrom:.0f} Å wide, which"
        f" is {best:.1f} times particle.diameter_angstrom ({diameter_angstrom:g})"
    )

"""Measurement of the quality figures that come from the pixels of a micrograph.

Each figure is relative to the micrograph's own noise, so that it means the same for any detector
and dose. ``core.imaging.quality.ImageFigures`` describes them and cites the published ones.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from livepick.core.imaging.masks import block_means
from livepick.core.imaging.power_spectrum import power_spectrum
from livepick.core.imaging.preprocess import DIAMETER_PX, Prepared
from livepick.core.imaging.quality import ImageFigures

__all__ = ["measure_quality"]

PREPARED_TILE_PX = 256
"""Side of a tile of the prepared image: about thirteen diameters."""

ORIGINAL_TILE_PX = 512

PARTICLE_BAND = (1.0 / DIAMETER_PX, 3.0 / DIAMETER_PX)
"""Cycles per prepared pixel: wavelengths from a diameter to a third of it."""

SKEW_BLOCK_PX = 4
SKEW_SIGMAS_PX = (0.2 * DIAMETER_PX, 0.4 * DIAMETER_PX)
"""Sigmas of two Gaussians, in prepared pixels. Their difference passes structures about as wide as
a particle."""

NOISE_BAND_ANGSTROM = (20.0, 6.0)
"""Wavelengths where one micrograph has little but noise between two Thon rings, and where detectors
do not yet attenuate the noise."""

MOTION_BAND_ANGSTROM = (40.0, 7.0)
"""Wavelengths where motion is visible: finer than most of the specimen's contrast, and coarser than
those that are only noise in one micrograph."""

UNEVEN_TILE_DIAMETERS = 3.0

UNEVEN_RATIO = 2.0
"""A tile is off if its variance is more than this many times the median, or less than the median
divided by it."""

MOST_CONTRAST = 1000.0
"""Contrast above which the noise must have been filtered away; strong particles have 30."""

LEAST_TILES = 16
"""Least number of tiles for a meaningful median."""

LEAST_OFF = 2
"""Least number of tiles that are off. A single one may be chance, for example where there are few
large particles."""


def measure_quality(
    image: NDArray[Any], prepared: Prepared, *, pixel_size_angstrom: float
) -> ImageFigures:
    """Return the figures of a micrograph.

    Parameters
    ----------
    image
        Original micrograph, ``[y, x]``.
    prepared
        The same micrograph, prepared for picking.
    pixel_size_angstrom
        Pixel size of ``image``.
    """
    bands = _spectral(image, prepared, pixel_size_angstrom)
    return ImageFigures(
        border_fraction=prepared.masked.border,
        contamination_fraction=prepared.masked.contamination,
        carbon_fraction=prepared.masked.carbon,
        noise_sigma=prepared.noise_sigma,
        ice_gradient_sigmas=prepared.trend_sigmas,
        contrast=bands.contrast,
        skewness=_skewness(prepared),
        uneven_fraction=_uneven(prepared),
        signal_fraction=bands.signal_fraction,
        anisotropy=bands.anisotropy,
        ice_ring=bands.ice_ring,
    )


@dataclass(frozen=True, slots=True)
class _Spectral:
    """The figures that come from spectra; None where there is no noise to compare with."""

    contrast: float | None = None
    signal_fraction: float | None = None
    anisotropy: float | None = None
    ice_ring: float | None = None


def _spectral(image: NDArray[Any], prepared: Prepared, pixel_size_angstrom: float) -> _Spectral:
    fine = power_spectrum(image, mask=prepared.mask, side_px=ORIGINAL_TILE_PX)
    coarse = power_spectrum(prepared.plain, mask=prepared.mask, side_px=PREPARED_TILE_PX)
    if fine is None or coarse is None:
        return _Spectral()
    floor = fine.floor(_cycles_a_pixel(NOISE_BAND_ANGSTROM, pixel_size_angstrom))
    power = coarse.mean(PARTICLE_BAND)
    if not floor or power is None:
        return _Spectral()
    # Resampling divides the variance of white noise by the number of pixels that become one.
    power *= prepared.noise_sigma**2 * prepared.scale_y * prepared.scale_x
    if power > MOST_CONTRAST * floor:
        return _Spectral()
    motion = _cycles_a_pixel(MOTION_BAND_ANGSTROM, pixel_size_angstrom)
    return _Spectral(
        contrast=power / floor,
        signal_fraction=fine.signal(motion, floor),
        anisotropy=fine.anisotropy(motion, floor),
        ice_ring=fine.ice_ring(pixel_size_angstrom),
    )


def _cycles_a_pixel(
    band_angstrom: tuple[float, float], pixel_size_angstrom: float
) -> tuple[float, float]:
    coarse, fine = band_angstrom
    return pixel_size_angstrom / coarse, pixel_size_angstrom / fine


def _skewness(prepared: Prepared) -> float | None:
    """Return the skewness of structures about as wide as a particle, outside the mask."""
    if min(prepared.plain.shape) < 2 * DIAMETER_PX:
        return None
    image = block_means(prepared.plain, SKEW_BLOCK_PX)
    clean = block_means(prepared.mask.astype(np.float32), SKEW_BLOCK_PX) == 0
    fine, coarse = (
        ndimage.gaussian_filter(image, sigma / SKEW_BLOCK_PX, truncate=3.0)
        for sigma in SKEW_SIGMAS_PX
    )
    values = (fine - coarse)[clean]
    if not len(values):
        return None
    values -= values.mean()
    sigma = float(values.std())
    return float((values * values * values).mean()) / sigma**3 if sigma > 0 else None


def _uneven(prepared: Prepared) -> float | None:
    """Return the fraction of tiles whose variance is off."""
    side = round(UNEVEN_TILE_DIAMETERS * DIAMETER_PX)
    clean = (~prepared.mask).astype(np.float32)
    if min(clean.shape) < side:
        return None
    weight = block_means(clean, side)
    energy = block_means(prepared.plain**2 * clean, side)
    known = weight > 0.5
    if known.sum() < LEAST_TILES:
        return None
    variance = energy[known] / weight[known]
    ratio = variance / max(float(np.median(variance)), float(np.finfo(np.float32).tiny))
    off = (ratio > UNEVEN_RATIO) | (ratio < 1 / UNEVEN_RATIO)
    return float(off.mean()) if off.sum() >= LEAST_OFF else 0.0

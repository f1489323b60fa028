"""The figures of a micrograph's quality that come from its pixels.

Each is relative to the micrograph's own noise, so that it means the same for any detector and dose.
What they are, and which of them are published, stands at ``core.quality.ImageFigures``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.core.masks import block_means
from livepick.core.prepare import DIAMETER_PX, Prepared
from livepick.core.quality import ImageFigures
from livepick.core.spectrum import power_spectrum

__all__ = ["measure"]

PREPARED_TILE_PX = 256
"""Some thirteen diameters."""

ORIGINAL_TILE_PX = 512

PARTICLE_BAND = (1.0 / DIAMETER_PX, 3.0 / DIAMETER_PX)
"""Cycles a prepared pixel: wavelengths from a diameter to a third of it."""

MOTTLE_BAND = (0.4 / DIAMETER_PX, 0.9 / DIAMETER_PX)
"""Wavelengths from 2.5 diameters, beyond which all is background, to 1.1."""

NOISE_BAND_ANGSTROM = (20.0, 6.0)
"""Wavelengths where one micrograph holds little but noise between two Thon rings, and detectors
have not yet dimmed it."""

MOTION_BAND_ANGSTROM = (40.0, 7.0)
"""Wavelengths where motion shows: finer than most of the specimen's contrast, coarser than what is
noise alone in one micrograph."""

UNEVEN_TILE_DIAMETERS = 3.0

UNEVEN_RATIO = 2.0
"""A tile is off if its variance is this many times the median's, or as much less."""

MOST_CONTRAST = 1000.0
"""Beyond this the noise was filtered away: strong particles have 30."""

LEAST_TILES = 9
"""So many are needed to say which of them is off."""


def measure(image: NDArray[Any], prepared: Prepared, *, pixel_size_angstrom: float) -> ImageFigures:
    """Return the figures of a micrograph.

    Parameters
    ----------
    image
        As it landed, ``[y, x]``.
    prepared
        The same, prepared for picking.
    pixel_size_angstrom
        Of ``image``.
    """
    bands = _spectral(image, prepared, pixel_size_angstrom)
    return ImageFigures(
        border_fraction=prepared.masked.border,
        contamination_fraction=prepared.masked.contamination,
        carbon_fraction=prepared.masked.carbon,
        noise_sigma=prepared.noise_sigma,
        ice_gradient_sigmas=prepared.trend_sigmas,
        contrast=bands.contrast,
        mottle=bands.mottle,
        uneven_fraction=_uneven(prepared),
        signal_fraction=bands.signal_fraction,
        anisotropy=bands.anisotropy,
        ice_ring=bands.ice_ring,
    )


@dataclass(frozen=True, slots=True)
class _Spectral:
    """Those of the figures that spectra tell; nothing where there is no noise to compare with."""

    contrast: float | None = None
    mottle: float | None = None
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
    blotches = coarse.mean(MOTTLE_BAND)
    mottle = blotches / power if blotches is not None and power else None
    if not floor or power is None:
        return _Spectral(mottle=mottle)
    # Resampling divides the variance of white noise by the number of pixels that become one.
    power *= prepared.noise_sigma**2 * prepared.scale_y * prepared.scale_x
    if power > MOST_CONTRAST * floor:
        return _Spectral(mottle=mottle)
    motion = _cycles_a_pixel(MOTION_BAND_ANGSTROM, pixel_size_angstrom)
    return _Spectral(
        contrast=power / floor,
        mottle=mottle,
        signal_fraction=fine.signal(motion, floor),
        anisotropy=fine.anisotropy(motion, floor),
        ice_ring=fine.ice_ring(pixel_size_angstrom),
    )


def _cycles_a_pixel(
    band_angstrom: tuple[float, float], pixel_size_angstrom: float
) -> tuple[float, float]:
    coarse, fine = band_angstrom
    return pixel_size_angstrom / coarse, pixel_size_angstrom / fine


def _uneven(prepared: Prepared) -> float | None:
    """Return the fraction of the tiles whose variance is off."""
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
    return float(((ratio > UNEVEN_RATIO) | (ratio < 1 / UNEVEN_RATIO)).mean())

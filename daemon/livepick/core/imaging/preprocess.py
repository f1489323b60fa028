"""From a micrograph as it landed to what a model sees: the same for picking and training.

As a rule every micrograph is divided by its own noise. A model may have been trained otherwise
(``training.normalize: false``): then all micrographs are divided by *one* number, the usual noise
of those that it was trained on, so that a micrograph of thick ice or of a low dose looks as such
to it. A model may also see micrographs through a lowpass filter. Masks and limits are those of the
plain normalized image either way: what is contamination does not depend on how a model sees it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.config.sections import Contrast
from livepick.core.imaging.carbon_film import film_mask
from livepick.core.imaging.fourier import fourier_resample
from livepick.core.imaging.masks import (
    Borders,
    MaskedFractions,
    Outlier,
    find_borders,
    outlier_mask,
)
from livepick.core.imaging.normalize import BACKGROUND_MEDIAN, flatten
from livepick.core.imaging.pick_area import PickArea
from livepick.core.lowpass import lowpass

__all__ = ["DIAMETER_PX", "NORMALIZATION", "Prepared", "divided_by", "pick_area", "prepare"]


DIAMETER_PX = 20
"""Every particle is brought to this size: one network design fits all, and a 4096-pixel
micrograph of a 180 Å particle becomes some 800 pixels wide."""

NORMALIZATION = BACKGROUND_MEDIAN

BACKGROUND_DIAMETERS = 3.0
"""Structures wider than this many particle diameters are background."""

LIMIT_SIGMAS = 5.0
"""A model sees values limited to this many standard deviations of the background."""

BORDER_DIAMETERS = 0.25
"""A dead border is widened by this much: its edge attracts picks, as the resampling blurs it. From
the edge of the image, picks keep ``particle.edge_fraction`` alone."""

JUNK_DIAMETERS = 0.35
"""Contamination is widened by this much: a pick so close to its edge is on its edge."""

OUTLIERS = (
    Outlier(6.0, 0.7 * DIAMETER_PX),
    Outlier(4.0, 1.1 * DIAMETER_PX),
    Outlier(1.8, 1.2 * DIAMETER_PX),
    Outlier(3.0, 3.0 * DIAMETER_PX, filled=0.3),
)
"""What is contamination. No particle is as far off as the first; strong ones are as far off as the
second, and narrower; in crowds they are half as far off as the third over its width. The last is a
heap, dark and bright by turns: crowds of the strongest particles have 8 % of their area so far off.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A micrograph as a model sees it."""

    image: NDArray[np.float32]
    """``[y, x]``: background 0, standard deviation 1 unless a model sees it otherwise, particles
    bright; 0 where masked border."""

    plain: NDArray[np.float32]
    """``[y, x]``: the same without a model's lowpass, and divided by its own noise."""

    mask: NDArray[np.bool_]
    """True where the image holds nothing to measure: dead borders, contamination, carbon film."""

    masked: MaskedFractions
    """How much that is, and why."""

    unpicked: NDArray[np.bool_]
    """True where nothing is picked or learned: contamination, carbon film, and more than half a
    pixel outside ``area``. A peak may move by half a pixel when its position is refined, so what
    is found is compared with ``area`` once more."""

    area: PickArea
    """Where picks may be, in pixels of the original micrograph."""

    scale_y: float
    """``y_original = y * scale_y``, both with the centre of the first pixel at 0."""

    scale_x: float

    noise_sigma: float
    """Standard deviation of this micrograph's background, in its own units, after resampling."""

    trend_sigmas: float
    """How far its slow trend goes from its lowest to its highest, in ``noise_sigma``."""


def prepare(
    image: NDArray[Any],
    *,
    pixel_size_angstrom: float,
    diameter_angstrom: float,
    contrast: Contrast,
    lowpass_angstrom: float | None = None,
    noise_sigma: float | None = None,
    edge_fraction: float = 0.0,
) -> Prepared:
    """Resample to ``DIAMETER_PX`` a particle, take out the background, normalize, mask, filter.

    Parameters
    ----------
    image
        Micrograph ``[y, x]`` of any real type; not changed.
    pixel_size_angstrom
        Of the micrograph.
    diameter_angstrom
        Longest diameter of the particle.
    contrast
        How particles look in ``image``.
    lowpass_angstrom
        Detail finer than this is taken out, see ``core.lowpass``; None keeps what the
        resampling leaves, a tenth of the diameter.
    noise_sigma
        Noise by which the micrograph is divided; None takes its own.
    edge_fraction
        Smallest distance of a pick from the edge of the data, as a fraction of the diameter.

    Raises
    ------
    ContentError
        NaN, infinite or constant pixels.
    PixelSizeError
        The pixels are too coarse for this particle.
    """
    factor = diameter_angstrom / DIAMETER_PX / pixel_size_angstrom
    resampled = fourier_resample(image, factor=factor)
    borders = find_borders(image)
    shape, scale_y, scale_x = resampled.image.shape, resampled.scale_y, resampled.scale_x
    border = borders.mask(shape, scale_y=scale_y, scale_x=scale_x)
    flattened = flatten(
        resampled.image, window_px=round(BACKGROUND_DIAMETERS * DIAMETER_PX), ignore=border
    )
    flat = flattened.flat
    flat[border] = flattened.above_trend[border] = 0
    junk = outlier_mask(flattened.above_trend, OUTLIERS, grow_px=JUNK_DIAMETERS * DIAMETER_PX)
    np.clip(flat, -LIMIT_SIGMAS, LIMIT_SIGMAS, out=flat)
    if contrast == "dark":
        np.negative(flat, out=flat)
    film = film_mask(flat, border=border, junk=junk, diameter_px=DIAMETER_PX)
    grow_px = round(BORDER_DIAMETERS * DIAMETER_PX)
    wider = borders.mask(shape, scale_y=scale_y, scale_x=scale_x, grow_px=grow_px)
    area = pick_area(
        image,
        edge_fraction=edge_fraction,
        diameter_px=diameter_angstrom / pixel_size_angstrom,
        borders=borders,
    )
    outside = area.scaled(scale_y=scale_y, scale_x=scale_x).shrunk(-0.5).outside(shape)
    plain = flat
    if lowpass_angstrom is not None:
        pixels = (pixel_size_angstrom * scale_y, pixel_size_angstrom * scale_x)
        flat = lowpass(flat, cutoff_angstrom=lowpass_angstrom, pixel_size_angstrom=pixels)
        flat[border] = 0
    if noise_sigma is not None:
        flat = divided_by(flat, own_sigma=flattened.sigma, noise_sigma=noise_sigma)
    return Prepared(
        image=flat,
        plain=plain,
        mask=wider | junk | film,
        masked=MaskedFractions.of(wider, junk, film),
        unpicked=outside | junk | film,
        area=area,
        scale_y=scale_y,
        scale_x=scale_x,
        noise_sigma=flattened.sigma,
        trend_sigmas=flattened.trend_sigmas,
    )


def pick_area(
    image: NDArray[Any],
    *,
    edge_fraction: float,
    diameter_px: float,
    borders: Borders | None = None,
) -> PickArea:
    """Return where picks may be in a micrograph, in its own pixels.

    Parameters
    ----------
    image
        ``[y, x]``.
    edge_fraction
        As in ``config.Particle``.
    diameter_px
        Of the particle, in pixels of ``image``.
    borders
        Of ``image``, if they are known.
    """
    return (borders or find_borders(image)).pick_area(
        (image.shape[0], image.shape[1]),
        edge_px=edge_fraction * diameter_px,
        dead_px=BORDER_DIAMETERS * diameter_px,
    )


def divided_by(
    flat: NDArray[np.float32], *, own_sigma: float, noise_sigma: float
) -> NDArray[np.float32]:
    """Return an image that was divided by its own noise as divided by another instead."""
    return flat * np.float32(own_sigma / noise_sigma)

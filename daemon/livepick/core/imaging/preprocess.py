"""Preprocessing of a micrograph for a model, the same for picking and for training.

By default every micrograph is divided by its own noise. A model may have been trained differently
(``training.normalize: false``). All its micrographs are then divided by *one* number, the usual
noise of its training micrographs, so that the model can recognize thick ice or a low dose. A model
may also use a lowpass filter. Masks and limits always come from the plain normalized image, because
contamination does not depend on the model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.config.sections import Contrast
from livepick.core.imaging.carbon_film import film_mask
from livepick.core.imaging.fourier import fourier_resample, lowpass
from livepick.core.imaging.masks import (
    Borders,
    MaskedFractions,
    Outlier,
    find_borders,
    outlier_mask,
)
from livepick.core.imaging.normalize import BACKGROUND_MEDIAN, flatten
from livepick.core.imaging.pick_area import PickArea

__all__ = ["DIAMETER_PX", "NORMALIZATION", "Prepared", "divided_by", "pick_area", "prepare"]


DIAMETER_PX = 20
"""Every particle is scaled to this diameter, so that one network design fits all particles. A
4096-pixel micrograph of a 180 Å particle becomes about 800 pixels wide."""

NORMALIZATION = BACKGROUND_MEDIAN

BACKGROUND_DIAMETERS = 3.0
"""Structures wider than this many particle diameters are background."""

LIMIT_SIGMAS = 5.0
"""Values are clipped at this many standard deviations of the background."""

BORDER_DIAMETERS = 0.25
"""Width by which a dead border is grown, in diameters: its edge, blurred by resampling, attracts
picks. The distance of picks from the edge of the image is set by ``particle.edge_fraction`` alone.
"""

JUNK_DIAMETERS = 0.35
"""Width by which contamination is grown, in diameters: a pick this close to its edge is on it."""

OUTLIERS = (
    Outlier(6.0, 0.7 * DIAMETER_PX),
    Outlier(4.0, 1.1 * DIAMETER_PX),
    Outlier(1.8, 1.2 * DIAMETER_PX),
    Outlier(3.0, 3.0 * DIAMETER_PX, filled=0.3),
)
"""Limits for contamination. No particle is as far from the background as the first limit. Strong
particles reach the second, but are narrower. Crowded ones reach half of the third over its width.
The last limit is for aggregates, which are alternately dark and bright: crowds of the strongest
particles have 8 % of their area that far from the background."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A micrograph as a model sees it."""

    image: NDArray[np.float32]
    """Input of the model, ``[y, x]``: background 0, standard deviation 1 (unless the model uses
    another noise or a lowpass), particles bright; 0 in dead borders."""

    plain: NDArray[np.float32]
    """The same image without the model's lowpass, and divided by its own noise, ``[y, x]``."""

    mask: NDArray[np.bool_]
    """True where there is nothing to measure: dead borders, contamination, carbon film."""

    masked: MaskedFractions
    """Masked fractions of the image, by reason."""

    unpicked: NDArray[np.bool_]
    """True where nothing is picked or learned: contamination, carbon film, and more than half a
    pixel outside ``area``. A peak may move by half a pixel when its position is refined, so picks
    are compared with ``area`` once more."""

    area: PickArea
    """Area where picks may be, in pixels of the original micrograph."""

    scale_y: float
    """``y_original = y * scale_y``, both with the centre of the first pixel at 0."""

    scale_x: float

    noise_sigma: float
    """Standard deviation of this micrograph's background, in its own units, after resampling."""

    trend_sigmas: float
    """Range (highest minus lowest) of the slow trend of brightness, in ``noise_sigma``."""


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
    """Resample a micrograph, remove its background, normalize, mask and filter it.

    The particle diameter becomes ``DIAMETER_PX``.

    Parameters
    ----------
    image
        Micrograph ``[y, x]`` of any real type; not changed.
    pixel_size_angstrom
        Pixel size of the micrograph.
    diameter_angstrom
        Longest diameter of the particle.
    contrast
        Particle contrast in ``image``.
    lowpass_angstrom
        Finer detail than this is removed, see ``fourier.lowpass``. None keeps everything that the
        resampling leaves, down to a tenth of the diameter.
    noise_sigma
        Noise by which the micrograph is divided; None: its own noise.
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
    window_px = round(BACKGROUND_DIAMETERS * DIAMETER_PX)
    flattened = flatten(resampled.image, window_px=window_px, ignore=border)
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
    """Return the area where picks may be in a micrograph, in its own pixels.

    Parameters
    ----------
    image
        Micrograph, ``[y, x]``.
    edge_fraction
        As in ``config.Particle``.
    diameter_px
        Particle diameter, in pixels of ``image``.
    borders
        Dead borders of ``image``; None: they are measured.
    """
    return (borders or find_borders(image)).pick_area(
        (image.shape[0], image.shape[1]),
        edge_px=edge_fraction * diameter_px,
        dead_px=BORDER_DIAMETERS * diameter_px,
    )


def divided_by(
    flat: NDArray[np.float32], *, own_sigma: float, noise_sigma: float
) -> NDArray[np.float32]:
    """Rescale an image that was divided by its own noise, as if divided by ``noise_sigma``."""
    return flat * np.float32(own_sigma / noise_sigma)

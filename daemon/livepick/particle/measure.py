"""Evidence about the particle from one micrograph: every diameter of the ladder, both contrasts.

The micrograph is looked at as if its particles had each diameter in turn, and as if they were dark
and then bright. The general model, which was trained on particles of one size in pixels, gives the
highest scores at the right diameter. Discs and shells of each diameter (``core.imaging.
disc_support``) need no model, and err differently.

Small diameters need fine pixels, so that the whole micrograph would cost most of the time. For each
diameter, the model therefore sees a field of at most ``FIELD_PX`` prepared pixels, the least masked
of a few. That is still several hundred particles of the diameter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.particle_measurement import (
    LADDER_ANGSTROM,
    Curves,
    ParticleEvidence,
    ParticleJob,
)
from livepick.core.formats.micrograph import read_micrograph
from livepick.core.imaging.disc_support import disc_support
from livepick.core.imaging.fourier import fourier_resample
from livepick.core.imaging.masks import find_borders
from livepick.core.imaging.normalize import flatten
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.preprocess import DIAMETER_PX, LIMIT_SIGMAS, Prepared, prepare
from livepick.errors import LivepickError, ModelError, SmallImageError
from livepick.picking.onnx_session import loaded_model, score_map

__all__ = ["measure", "measure_image"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Vector = NDArray[np.float64]
Scorer = Callable[[Image], Image]

FIELD_PX = 512
"""Side of the largest field that the model sees of one micrograph at one diameter."""

LEAST_ACROSS = 4.0
"""A diameter is tried only if this many particles fit along the shorter side."""

FINER = 0.8
"""Pixels of the smallest diameter before it is prepared, as a fraction of those that the model
needs; it is then resampled once more."""

DISC_PIXEL_ANGSTROM = 6.0
"""Pixel size at which discs are tried, as far as the micrograph has it."""

DISC_BACKGROUND_DIAMETERS = 3.0
"""Structures wider than this many of the largest diameter are background to the discs."""

BEST_PEAKS = 30
"""Number of best scores of a micrograph that count."""

LEAST_BEST_PEAKS = 5

FILLED_FRACTION = 0.25
"""Largest fraction of the field that the best peaks may fill, if it is small."""

SCORE_FLOOR = 1e-4
"""Score of a peak that is not there."""

MARGIN_PX = 8
"""Peaks this close to the edge of a field are not counted: opposite edges of it were joined."""


def measure(job: ParticleJob) -> ParticleEvidence:
    """Measure the particle in one micrograph.

    Raises
    ------
    MicrographError
        The file is incomplete, unreadable, not a micrograph, or contains no image.
    ModelError
        The bundle of the general model is damaged.
    """
    model = None if job.bundle is None else loaded_model(job.bundle, job.device)
    micrograph = read_micrograph(
        job.path,
        pixel_size_angstrom=job.pixel_size_angstrom,
        version=job.version,
        trust=job.trust,
    )
    try:
        return measure_image(
            micrograph.image,
            pixel_size_angstrom=micrograph.pixel_size_angstrom,
            scorer=None if model is None else lambda image: score_map(model, image),
            bounds_angstrom=job.bounds_angstrom,
        )
    except ModelError:
        raise
    except LivepickError as error:
        raise type(error)(f"{job.path.name}: {error.what}", error.remedy) from error


def measure_image(
    image: NDArray[Any],
    *,
    pixel_size_angstrom: float,
    scorer: Scorer | None,
    bounds_angstrom: tuple[float, float],
) -> ParticleEvidence:
    """Measure the particle in an image.

    Parameters
    ----------
    image
        Micrograph ``[y, x]``; not changed.
    pixel_size_angstrom
        Pixel size of ``image``.
    scorer
        Function from a prepared image to the scores of the general model; None: discs alone.
    bounds_angstrom
        Smallest and largest diameter that matter; one step more is tried on each side.

    Raises
    ------
    ContentError
        NaN, infinite or constant pixels.
    SmallImageError
        The image is too small for all of these diameters.
    """
    tried = _tried(image.shape, pixel_size_angstrom, bounds_angstrom)
    fine = _reduced(image, pixel_size_angstrom, FINER * LADDER_ANGSTROM[tried[0]] / DIAMETER_PX)
    network, log_odds = np.full((2, 2, len(LADDER_ANGSTROM)), np.nan)
    masked = math.nan
    for step in tried:
        if scorer is None:
            break
        prepared = _field(fine, LADDER_ANGSTROM[step])
        masked = float(np.nanmax([masked, prepared.mask.mean()]))
        for number, sign in enumerate((1, -1)):
            scores = _best_scores(scorer(prepared.image * np.float32(sign)), prepared.unpicked)
            network[number, step] = scores.mean()
            log_odds[number, step] = np.log(scores / (1 - np.minimum(scores, 1 - 1e-6))).mean()
    support, sigmas = _discs(image, fine, tried)
    curves = [
        Curves(*(tuple(values[number].tolist()) for values in (network, log_odds, support, sigmas)))
        for number in range(2)
    ]
    return ParticleEvidence(curves[0], curves[1], masked if math.isfinite(masked) else 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Fine:
    """A micrograph with pixels fine enough for the smallest diameter."""

    image: Image
    pixel_size_angstrom: float


def _tried(
    shape: tuple[int, ...], pixel_size_angstrom: float, bounds_angstrom: tuple[float, float]
) -> list[int]:
    """Return the steps of the ladder to try."""
    low, high = bounds_angstrom
    step = LADDER_ANGSTROM[1] / LADDER_ANGSTROM[0]
    smallest = max(low / step**1.01, DIAMETER_PX * pixel_size_angstrom / 1.9)
    largest = min(high * step**1.01, min(shape) * pixel_size_angstrom / LEAST_ACROSS)
    tried = [n for n, angstrom in enumerate(LADDER_ANGSTROM) if smallest <= angstrom <= largest]
    if not tried:
        raise SmallImageError(
            f"the image of {shape[1]} x {shape[0]} pixels of {pixel_size_angstrom:g} Å does not"
            f" show particles of {low:g} to {high:g} Å",
            "Check the pixel size, or give other bounds of the diameter.",
        )
    return tried


def _reduced(image: NDArray[Any], pixel_size_angstrom: float, wished_angstrom: float) -> _Fine:
    factor = max(1.0, wished_angstrom / pixel_size_angstrom)
    reduced = fourier_resample(image, factor=factor)
    return _Fine(reduced.image, pixel_size_angstrom * 0.5 * (reduced.scale_y + reduced.scale_x))


def _field(fine: _Fine, diameter_angstrom: float) -> Prepared:
    """Return the middle of a micrograph as the model sees particles of a diameter."""
    side_px = round(FIELD_PX * diameter_angstrom / DIAMETER_PX / fine.pixel_size_angstrom)
    top, left = (max(0, n - side_px) // 2 for n in fine.image.shape)
    return prepare(
        fine.image[top : top + side_px, left : left + side_px],
        pixel_size_angstrom=fine.pixel_size_angstrom,
        diameter_angstrom=diameter_angstrom,
        contrast="dark",
    )


def _best_scores(score: Image, unpicked: Mask) -> Vector:
    """Return the best scores of a field, the number of which depends on its area alone."""
    outside = np.ones_like(unpicked)
    outside[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = False
    outside |= unpicked
    discs = float((~outside).sum()) / (math.pi / 4 * DIAMETER_PX**2)
    count = min(BEST_PEAKS, max(LEAST_BEST_PEAKS, round(FILLED_FRACTION * discs)))
    height = find_peaks(score, min_distance_px=0.6 * DIAMETER_PX, floor=SCORE_FLOOR, mask=outside)[
        2
    ][:count]
    scores = np.full(count, SCORE_FLOOR)
    scores[: len(height)] = height
    return scores


def _discs(image: NDArray[Any], fine: _Fine, tried: list[int]) -> tuple[Vector, Vector]:
    """Return the support of discs and the height of their peaks, each (contrast, step)."""
    coarse = _reduced(fine.image, fine.pixel_size_angstrom, DISC_PIXEL_ANGSTROM)
    shape = coarse.image.shape
    scale_y, scale_x = (n / m for n, m in zip(image.shape, shape, strict=True))
    border = find_borders(image).mask((shape[0], shape[1]), scale_y=scale_y, scale_x=scale_x)
    sizes = np.array([LADDER_ANGSTROM[step] for step in tried])
    window_px = round(DISC_BACKGROUND_DIAMETERS * sizes[-1] / coarse.pixel_size_angstrom)
    flat = flatten(coarse.image, window_px=window_px, ignore=border).flat
    flat[border] = 0
    np.clip(flat, -LIMIT_SIGMAS, LIMIT_SIGMAS, out=flat)
    support, sigmas = np.full((2, 2, len(LADDER_ANGSTROM)), np.nan)
    for number, sign in enumerate((-1, 1)):
        support[number, tried], sigmas[number, tried] = disc_support(
            flat * np.float32(sign), sizes, pixel_size_angstrom=coarse.pixel_size_angstrom
        )
    return support, sigmas

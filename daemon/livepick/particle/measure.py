"""Evidence about the particle from one micrograph: every diameter of the ladder, both contrasts.

The micrograph is looked at as if its particles had each diameter in turn, and as if they were dark
and then bright. The general model, which was trained on particles of one size in pixels, gives the
highest scores at the right diameter. Without a general model, discs and shells of each diameter are
tried (``core.imaging.disc_support``); they are right for round particles in clean ice.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.particle_measurement import (
    LADDER_ANGSTROM,
    Curves,
    ParticleEvidence,
    ParticleJob,
)
from livepick.core.formats.micrograph import Micrograph, read_micrograph
from livepick.core.imaging.disc_support import disc_support
from livepick.core.imaging.masks import find_borders
from livepick.core.imaging.normalize import flatten
from livepick.core.imaging.preprocess import DIAMETER_PX, LIMIT_SIGMAS
from livepick.errors import LivepickError, ModelError, SmallImageError
from livepick.particle.assumed_size import FINER, Field, Reduced, Scorer, field, reduced
from livepick.picking.onnx_session import loaded_model, score_map

__all__ = ["measure", "measure_image", "opened"]

Image = NDArray[np.float32]
Vector = NDArray[np.float64]

LEAST_ACROSS = 6.0
"""A diameter is tried only if this many particles fit along the shorter side."""

COARSE_ANGSTROM = 6.0
"""Pixel size of the reduced micrograph in which larger diameters, and discs, are tried."""

DISC_BACKGROUND_DIAMETERS = 3.0
"""Structures wider than this many of the largest diameter are background to the discs."""

BEST_PEAKS = 12
"""Number of best scores of a micrograph that count. With many more, a micrograph with few particles
does not show their size."""

LEAST_BEST_PEAKS = 5

FILLED_FRACTION = 0.25
"""Largest fraction of the field that the best peaks may fill, if it is small."""

SCORE_FLOOR = 1e-4
"""Score of a peak that is not there."""


def measure(job: ParticleJob) -> ParticleEvidence:
    """Measure the particle in one micrograph.

    Raises
    ------
    MicrographError
        The file is incomplete, unreadable, not a micrograph, or contains no image.
    ModelError
        The bundle of the general model is damaged.
    """
    micrograph, scorer = opened(job)
    try:
        return measure_image(
            micrograph.image,
            pixel_size_angstrom=micrograph.pixel_size_angstrom,
            scorer=scorer,
            bounds_angstrom=job.bounds_angstrom,
        )
    except ModelError:
        raise
    except LivepickError as error:
        raise type(error)(f"{job.path.name}: {error.what}", error.remedy) from error


def opened(job: ParticleJob) -> tuple[Micrograph, Scorer | None]:
    """Return the micrograph of a job, and the general model if the job has one.

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
    return micrograph, None if model is None else lambda image: score_map(model, image)


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
    borders = find_borders(image)
    inside = image[
        borders.top : image.shape[0] - borders.bottom, borders.left : image.shape[1] - borders.right
    ]
    tried = _tried(inside.shape, pixel_size_angstrom, bounds_angstrom)
    coarse = reduced(
        inside, pixel_size_angstrom=pixel_size_angstrom, wished_angstrom=COARSE_ANGSTROM
    )
    if scorer is None:
        return _by_discs(coarse, tried)
    network, log_odds = np.full((2, 2, len(LADDER_ANGSTROM)), np.nan)
    masked = 0.0
    for step in tried:
        wished_angstrom = FINER * LADDER_ANGSTROM[step] / DIAMETER_PX
        if coarse.pixel_size_angstrom > wished_angstrom:
            seen = field(
                Reduced(inside, pixel_size_angstrom, 1, 1), diameter_angstrom=LADDER_ANGSTROM[step]
            )
        else:
            seen = field(coarse, diameter_angstrom=LADDER_ANGSTROM[step])
        masked = max(masked, float(seen.prepared.mask.mean()))
        for number, sign in enumerate((1, -1)):
            scores = _best_scores(seen, scorer(seen.prepared.image * np.float32(sign)))
            network[number, step] = scores.mean()
            log_odds[number, step] = np.log(scores / (1 - np.minimum(scores, 1 - 1e-6))).mean()
    nothing = np.full_like(network, np.nan)
    return _evidence(network, log_odds, nothing, nothing, masked=masked)


def _evidence(
    network: Vector, log_odds: Vector, blobs: Vector, sigmas: Vector, *, masked: float
) -> ParticleEvidence:
    """Return the evidence of arrays (contrast, step)."""
    dark, bright = (
        Curves(*(tuple(values[number].tolist()) for values in (network, log_odds, blobs, sigmas)))
        for number in range(2)
    )
    return ParticleEvidence(dark, bright, masked)


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


def _best_scores(seen: Field, score: Image) -> Vector:
    """Return the best scores of a field, the number of which depends on its area alone."""
    discs = seen.free_px / (math.pi / 4 * DIAMETER_PX**2)
    count = min(BEST_PEAKS, max(LEAST_BEST_PEAKS, round(FILLED_FRACTION * discs)))
    scores = np.full(count, SCORE_FLOOR)
    height = seen.peaks(score, floor=SCORE_FLOOR)[2][:count]
    scores[: len(height)] = height
    return scores


def _by_discs(coarse: Reduced, tried: list[int]) -> ParticleEvidence:
    """Return the evidence of discs and shells alone."""
    sizes = np.array([LADDER_ANGSTROM[step] for step in tried])
    window_px = round(DISC_BACKGROUND_DIAMETERS * sizes[-1] / coarse.pixel_size_angstrom)
    flat = flatten(coarse.image, window_px=window_px).flat
    np.clip(flat, -LIMIT_SIGMAS, LIMIT_SIGMAS, out=flat)
    nothing = np.full((2, len(LADDER_ANGSTROM)), np.nan)
    support, sigmas = nothing.copy(), nothing.copy()
    for number, sign in enumerate((-1, 1)):
        support[number, tried], sigmas[number, tried] = disc_support(
            flat * np.float32(sign), sizes, pixel_size_angstrom=coarse.pixel_size_angstrom
        )
    return _evidence(nothing, nothing, support, sigmas, masked=0.0)

"""Pictures of particles in circles of a candidate diameter, for a person who has to choose one."""

import math

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.particle_measurement import CONTRASTS, ExamplesJob, ParticleGuess
from livepick.core.formats.micrograph import Micrograph
from livepick.core.formats.png import encode_grey
from livepick.core.imaging.disc_support import disc_response
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.core.imaging.thumbnail import draw_thumbnail
from livepick.particle.assumed_size import FINER, Scorer, field, reduced
from livepick.particle.measure import opened

__all__ = ["draw_examples", "example_circles"]

Positions = NDArray[np.float64]

ACROSS_DIAMETERS = 10.0
"""Width of the area that is shown, in the largest of the candidate diameters."""

MOST_CIRCLES = 24
"""Largest number of circles in a picture; more hide the particles."""

LEAST_SCORE = 0.4
"""Lowest score of a circle, as a fraction of the highest score."""

LEVELS = 48
"""Grey levels of a picture."""

CIRCLE_RGB = (255, 190, 40)

LINE_PX = 1.6
"""Width of a circle's line."""


def example_circles(job: ExamplesJob) -> tuple[bytes, ...]:
    """Return a PNG for each candidate.

    Raises
    ------
    MicrographError
        The file is incomplete, unreadable, not a micrograph, or contains no image.
    ModelError
        The bundle of the general model is damaged.
    """
    micrograph, scorer = opened(job.particle)
    return draw_examples(micrograph, job.guesses, scorer=scorer, side_px=job.side_px)


def draw_examples(
    micrograph: Micrograph,
    guesses: tuple[ParticleGuess, ...],
    *,
    scorer: Scorer | None,
    side_px: int,
) -> tuple[bytes, ...]:
    """Return a PNG of the same area for each candidate, with circles on the best particles.

    Parameters
    ----------
    micrograph
        The micrograph.
    guesses
        Candidate diameters and contrasts, the best one first.
    scorer
        Function from a prepared image to the scores of the general model; None: the particles are
        found with discs.
    side_px
        Height and width of a picture.
    """
    image, pixel_angstrom = micrograph.image, micrograph.pixel_size_angstrom
    found = [_positions(micrograph, guess, scorer) for guess in guesses]
    largest_px = max(guess.diameter_angstrom for guess in guesses) / pixel_angstrom
    width = min(*image.shape, math.ceil(ACROSS_DIAMETERS * largest_px))
    top, left = _fullest(found[0], image.shape, width)
    pictures = []
    for guess, positions in zip(guesses, found, strict=True):
        grey = draw_thumbnail(
            image[top : top + width, left : left + width],
            longest_px=side_px,
            pixel_size_angstrom=pixel_angstrom,
            diameter_angstrom=min(g.diameter_angstrom for g in guesses),
        )
        scale = grey.shape[0] / width
        inside = (positions - (top, left) + 0.5) * scale - 0.5
        radius_px = 0.5 * guess.diameter_angstrom / pixel_angstrom * scale
        seen = ((inside > 0) & (inside < np.array(grey.shape))).all(axis=1)
        marks = _circles(inside[seen][:MOST_CIRCLES], radius_px, grey.shape)
        pictures.append(encode_grey(grey, levels=LEVELS, marks=marks, marks_rgb=CIRCLE_RGB))
    return tuple(pictures)


def _positions(micrograph: Micrograph, guess: ParticleGuess, scorer: Scorer | None) -> Positions:
    """Return y and x of particles in pixels of the micrograph, shape (N, 2), the best first."""
    fine = reduced(
        micrograph.image,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        wished_angstrom=FINER * guess.diameter_angstrom / DIAMETER_PX,
    )
    seen = field(fine, diameter_angstrom=guess.diameter_angstrom)
    image = seen.prepared.image * np.float32(1 if guess.contrast == CONTRASTS[0] else -1)
    score = disc_response(image, DIAMETER_PX) if scorer is None else scorer(image)
    y, x, _ = seen.peaks(score, floor=LEAST_SCORE * float(score.max()))
    prepared = seen.prepared
    return np.stack(
        [
            (y * prepared.scale_y + seen.top_px) * fine.scale_y,
            (x * prepared.scale_x + seen.left_px) * fine.scale_x,
        ],
        axis=1,
    ).astype(np.float64)


def _fullest(positions: Positions, shape: tuple[int, ...], width: int) -> tuple[int, int]:
    """Return the first row and column of the square with most of the best particles."""
    best = positions[: 4 * MOST_CIRCLES]
    places = [
        tuple(
            int(np.clip(round(middle - width / 2), 0, size - width))
            for middle, size in zip(at, shape, strict=True)
        )
        for at in best.tolist()
    ]
    places = places or [tuple((size - width) // 2 for size in shape)]
    margin = 0.05 * width
    counts = [
        ((best > np.array(place) + margin) & (best < np.array(place) + width - margin))
        .all(axis=1)
        .sum()
        for place in places
    ]
    top, left = places[int(np.argmax(counts))]
    return top, left


def _circles(centres: Positions, radius_px: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return True on the lines of circles, ``[y, x]``."""
    marks = np.zeros(shape, dtype=bool)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for cy, cx in centres.tolist():
        marks |= np.abs(np.hypot(y - cy, x - cx) - radius_px) < LINE_PX / 2
    return marks

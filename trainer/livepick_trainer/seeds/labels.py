"""Selection of the seeds: the seeding model's candidates that a network is trained on.

A blob picker's candidates are a mixture of particles and junk that is as bright. A network
trained on all of them learns the junk too, and becomes worse than its seeds. The rules are
therefore cautious, and there are three labels, not two: *positive* candidates are learned as
particles, *ignored* ones are left out of the training, and everything else is background. A
doubtful candidate is ignored, because a particle labelled as background does more harm than one
that is left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from livepick.core.imaging.pick_area import PickArea

BELIEVED, REJECTED, UNSORTED = 1, 0, -1
"""Verdicts of the 2D classification on a candidate."""

__all__ = [
    "SAME_DIAMETERS",
    "Candidates",
    "Seeds",
    "choose_seeds",
    "disc_contrast",
    "is_near",
]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Vector = NDArray[np.float32]
Points = NDArray[np.float32]
"""(N, 2), (y, x) in prepared pixels."""

SAME_DIAMETERS = 0.5
"""Two positions closer than this belong to the same particle."""

LEAST_FOR_OUTLIERS = 10
"""Fewest candidates from which a usual contrast, and outliers from it, can be computed."""


IGNORED_SCORE_FRACTION = 0.5
"""Candidates from this fraction of the seeding threshold up to the threshold are ignored, and those
below are background. If they were sorted into classes, only those in good classes are ignored:
hardly any of the others is a particle, and things that look almost like a particle teach the
network most."""

CONTRAST_OUTLIER_SIGMAS = 3.5
"""A candidate whose contrast differs from the median of its micrograph's seeds by more than this
many robust standard deviations is ignored: it is ice, gold or dirt."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Picks of the seeding model in one micrograph, including those below its threshold."""

    yx_px: Points
    """(N, 2) in prepared pixels."""

    score: Vector
    """(N,) in [0, 1]."""

    verdict: NDArray[np.int8] | None = None
    """(N,) of ``BELIEVED``, ``REJECTED`` or ``UNSORTED``; None before there are 2D classes."""

    chance: Vector | None = None
    """(N,) in [0, 1]: probability of being a particle, by the 2D class; NaN where unknown."""

    threshold: float | None = None
    """Lowest score of a seed. None: the threshold of the run, which applies to the first picks."""

    earlier_yx_px: Points | None = None
    """(M, 2) in prepared pixels: places where an earlier round saw, or may have seen, particles."""


@dataclass(frozen=True, slots=True, eq=False)
class Seeds:
    """Training labels of one micrograph."""

    positive_yx_px: Points
    """Centres of particles, (N, 2) in prepared pixels."""

    ignored_yx_px: Points
    """Centres of candidates that may or may not be particles, (M, 2)."""


def choose_seeds(
    image: Image,
    mask: Mask,
    candidates: Candidates,
    *,
    threshold: float,
    diameter_px: float,
    area: PickArea | None = None,
) -> Seeds:
    """Sort candidates into positive, ignored and background.

    Parameters
    ----------
    image
        Prepared image, ``[y, x]``, particles bright.
    mask
        True where nothing is learned; candidates there are dropped.
    candidates
        Candidates, in prepared pixels.
    threshold
        Score threshold of the seeding model.
    diameter_px
        Particle diameter, in prepared pixels.
    area
        Area where picks are allowed, in prepared pixels; candidates outside are ignored. None:
        anywhere.
    """
    yx, score = candidates.yx_px, candidates.score
    considered = ~_is_masked(mask, yx) & (score >= IGNORED_SCORE_FRACTION * threshold)
    believed = np.ones(len(score), dtype=bool)
    if candidates.verdict is not None and (candidates.verdict != UNSORTED).any():
        believed = candidates.verdict == BELIEVED
        considered &= believed | (score >= threshold)
        considered &= candidates.verdict != REJECTED
    positive = considered & believed & (score >= threshold)
    if area is not None:
        positive &= area.holds(yx[:, 1], yx[:, 0])
    contrast = disc_contrast(image, yx[positive], diameter_px=diameter_px)
    positive[positive] = ~_is_outlier(contrast)
    again = _is_second(yx, score, positive, SAME_DIAMETERS * diameter_px)
    positive &= ~again
    considered &= ~again
    ignored = yx[considered & ~positive]
    if candidates.earlier_yx_px is not None:
        decided = positive
        if candidates.verdict is not None:
            decided = decided | (candidates.verdict == REJECTED)
        earlier = candidates.earlier_yx_px
        unseen = ~is_near(earlier, yx[decided], SAME_DIAMETERS * diameter_px)
        ignored = np.concatenate([ignored, earlier[unseen & ~_is_masked(mask, earlier)]])
    return Seeds(yx[positive], ignored)


def disc_contrast(image: Image, yx_px: Points, *, diameter_px: float) -> Vector:
    """Return each particle's mean minus the mean of the ring around it, (N,) float32.

    The disc is as wide as the particle, and the ring reaches from there to 1.5 diameters. Pixels
    outside the image take the value of the nearest edge pixel.
    """
    radius = int(np.ceil(0.75 * diameter_px))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    distance = np.hypot(y, x)
    disc = distance <= 0.5 * diameter_px
    ring = (distance > 0.5 * diameter_px) & (distance <= 0.75 * diameter_px)
    kernel = (disc / disc.sum() - ring / ring.sum()).astype(np.float32).ravel()
    centre = np.rint(yx_px).astype(int)
    rows = np.clip(centre[:, :1] + y.ravel(), 0, image.shape[0] - 1)  # (N, K)
    columns = np.clip(centre[:, 1:] + x.ravel(), 0, image.shape[1] - 1)
    contrast: Vector = image[rows, columns] @ kernel
    return contrast


def is_near(yx_px: Points, others_yx_px: Points, radius_px: float) -> Mask:
    """Return a mask, (N,), of the points that have one of the others within a radius."""
    if not len(others_yx_px):
        return np.zeros(len(yx_px), dtype=bool)
    distance, _ = cKDTree(others_yx_px).query(yx_px)
    return np.asarray(distance <= radius_px)


def _is_masked(mask: Mask, yx_px: Points) -> Mask:
    y, x = np.rint(yx_px).astype(int).T
    masked: Mask = mask[np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)]
    return masked


def _is_second(yx_px: Points, score: Vector, which: Mask, radius_px: float) -> Mask:
    """Return a mask, (N,), of the selected candidates with a better one within a radius.

    Two picks on the same particle move close together when each is centred.
    """
    again = np.zeros(len(yx_px), dtype=bool)
    chosen = np.flatnonzero(which)
    if len(chosen):
        for i, j in cKDTree(yx_px[chosen]).query_pairs(radius_px, output_type="ndarray").tolist():
            first, second = chosen[i], chosen[j]
            again[second if score[first] >= score[second] else first] = True
    return again


def _is_outlier(values: Vector) -> Mask:
    if len(values) < LEAST_FOR_OUTLIERS:
        return np.zeros(len(values), dtype=bool)
    distance = np.abs(values - np.median(values))
    spread = 1.4826 * float(np.median(distance))
    outlier: Mask = distance > CONTRAST_OUTLIER_SIGMAS * max(spread, 1e-9)
    return outlier

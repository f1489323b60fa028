"""Where not to pick: dead borders, and what is far too dark or bright to be a particle."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["border_mask", "outlier_mask"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

WIDEST_BORDER = 0.2
"""Fraction of the image that a bad border may take on one side."""

STREAK_FRACTION = 0.5
"""Lines count as streaks if they differ from their neighbours this much less than usual."""


def border_mask(image: Image) -> Mask:
    """Return True in borders that hold no data: constant, or the edge repeated outwards.

    Motion correction and some detectors leave such borders. What they have in common is
    that a line hardly differs from the next one, while inside, noise makes neighbours
    differ. Lines are looked at from each edge inwards, until the first good one.
    """
    mask = np.zeros(image.shape, dtype=bool)
    for axis in (0, 1):
        steps = np.abs(np.diff(image, axis=axis)).mean(axis=1 - axis)
        usual = float(np.median(steps))
        size = image.shape[axis]
        most = int(WIDEST_BORDER * size)
        for lines, side in ((steps, 1), (steps[::-1], -1)):
            bad = lines[:most] < STREAK_FRACTION * usual
            # A single odd line inside a border, where the streak begins or bends, is border.
            last_bad = np.flatnonzero(bad & ~_isolated(bad))
            count = int(last_bad[-1]) + 2 if last_bad.size and bad[:3].any() else 0
            where = slice(0, count) if side == 1 else slice(size - count, size)
            mask[(where, slice(None)) if axis == 0 else (slice(None), where)] = True
    return mask


def _isolated(bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the bad lines without a bad neighbour."""
    beside = np.zeros_like(bad)
    beside[1:] |= bad[:-1]
    beside[:-1] |= bad[1:]
    return bad & ~beside


def outlier_mask(flat: Image, *, sigmas: float, least_px: float, grow_px: float) -> Mask:
    """Return True on and around areas that are far darker or brighter than any particle.

    Parameters
    ----------
    flat
        Background 0, standard deviation 1, as from ``normalize.flatten``.
    sigmas
        How far from the background counts as an outlier.
    least_px
        Diameter of the smallest such area that counts; noise makes single pixels.
    grow_px
        The area is widened by this much.
    """
    far = np.abs(flat) > sigmas
    labels, count = ndimage.label(far)
    if not count:
        return np.zeros(flat.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    large = sizes >= np.pi / 4 * least_px**2
    large[0] = False
    seeds = large[labels]
    if not seeds.any():
        return seeds
    return np.asarray(ndimage.distance_transform_edt(~seeds) <= grow_px)

"""Where not to pick: dead borders, and what is far too dark or bright to be a particle."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Borders", "find_borders", "outlier_mask"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

WIDEST_BORDER = 0.2
"""Fraction of the image that a bad border may take on one side."""

STREAK_FRACTION = 0.5
"""Lines count as streaks if they differ from their neighbours this much less than usual."""

FILLED = 0.75
"""Fraction of a square that contamination fills: noise leaves holes in it. A particle fills 0.65
of a square 1.1 times as wide."""

RUN_PX = 8
"""So many streaks side by side are a border."""

EVERY = 16
"""Lines are compared at every so manieth pixel, which is plenty and costs little."""


@dataclass(frozen=True, slots=True)
class Borders:
    """Widths of the borders that hold no data, in pixels; 0 for none."""

    top: int
    """Rows, at the begin of the file."""
    bottom: int
    left: int
    right: int

    def mask(self, shape: tuple[int, int], *, scale_y: float, scale_x: float) -> Mask:
        """Return True in the borders of an image of ``shape`` with pixels ``scale`` as large."""
        inside = np.zeros(shape, dtype=bool)
        top, bottom = (-int(-n // scale_y) for n in (self.top, self.bottom))
        left, right = (-int(-n // scale_x) for n in (self.left, self.right))
        inside[top : shape[0] - bottom, left : shape[1] - right] = True
        return ~inside


def find_borders(image: NDArray[Any]) -> Borders:
    """Return the borders that hold no data: constant, or the last line repeated outwards.

    Motion correction and some detectors leave such borders. What they have in common is
    that a line hardly differs from the next one, while inside, noise makes neighbours
    differ. To be asked before any filtering, which blurs that difference.
    """
    top, bottom = _ends(_steps(image[:, ::EVERY]))
    left, right = _ends(_steps(image[::EVERY].T))
    return Borders(top, bottom, left, right)


def _steps(lines: NDArray[Any]) -> NDArray[np.float64]:
    """Return how much each line differs from the one before, shape (lines - 1,)."""
    differences = np.diff(lines.astype(np.float32), axis=0)
    return np.asarray(np.abs(differences).mean(axis=1), dtype=np.float64)


def _ends(steps: NDArray[np.float64]) -> tuple[int, int]:
    """Return how many lines at the begin and at the end are streaks."""
    bad = steps < STREAK_FRACTION * float(np.median(steps))
    most = int(WIDEST_BORDER * len(steps))
    begin, end = (_border_width(side[:most]) for side in (bad, bad[::-1]))
    return begin, end


def _border_width(bad: Mask) -> int:
    """Return the width of a border, given which steps into the image are too small.

    A border is as wide as to the end of the last run of such steps: filters by others that
    wrap around leave a few noisy lines outside of it, and inside the image no run is so long.
    """
    runs = np.convolve(bad, np.ones(RUN_PX, dtype=int), mode="valid") == RUN_PX
    return int(np.flatnonzero(runs)[-1]) + RUN_PX + 1 if runs.any() else 0


def outlier_mask(flat: Image, *, sigmas: float, least_px: float, grow_px: float) -> Mask:
    """Return True on and around areas that are far from the background and wider than a particle.

    Strong particles are far from the background too, also where two touch. So an area counts
    only where it fills most of a square that is wider than a particle.

    Parameters
    ----------
    flat
        Background 0, standard deviation 1, as from ``normalize.flatten``.
    sigmas
        How far from the background an area is.
    least_px
        Side of the square that must be filled by ``FILLED``.
    grow_px
        The area is widened by this much.
    """
    far = np.abs(ndimage.uniform_filter(flat, 3)) > sigmas
    width = max(1, round(least_px))
    if far.sum() < FILLED * width**2 / 4:  # a quarter of the square lies in the image's corner
        return np.zeros(flat.shape, dtype=bool)
    filled = ndimage.uniform_filter(far.astype(np.float32), width, mode="nearest") > FILLED
    if not filled.any():
        return np.asarray(filled)
    solid = ndimage.maximum_filter(filled, width) & far
    return np.asarray(ndimage.maximum_filter(solid, 2 * round(grow_px) + 1))

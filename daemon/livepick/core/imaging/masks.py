"""Masks of areas where nothing is picked: dead borders, and areas too dark or bright for particles.

Carbon film is masked in ``core.imaging.carbon_film``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from livepick.core.imaging.fast_median import median
from livepick.core.imaging.pick_area import PickArea

__all__ = [
    "Borders",
    "MaskedFractions",
    "Outlier",
    "block_means",
    "find_borders",
    "from_blocks",
    "outlier_mask",
]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

WIDEST_BORDER = 0.2
"""Largest fraction of the image that a bad border may take up on one side."""

STREAK_FRACTION = 0.5
"""A line is a streak if it differs from its neighbour by less than this fraction of the median
difference."""

FILLED = 0.75
"""Fraction of a square that contamination fills; noise leaves holes in it. A particle fills 0.65
of a square 1.1 times as wide, and 0.55 of one 1.2 times as wide."""

RUN_PX = 8
"""Number of adjacent streaks that make a border."""

STRIP_SIGMAS = 0.7
"""A line is the last of a strip if its median differs by this much from that of the next lines, in
standard deviations of a pixel. Particles and slopes change it by less, and noise by a tenth."""

BESIDE_PX = 5
"""Number of next lines that a line is compared with."""

WIDEST_STRIP_PX = 8
"""Largest width of a strip."""

BINNED = 2
"""Side of the squares of pixels whose means are searched for outliers."""

LINES_AT_ONCE = 256
"""Number of lines that are compared in float32 at a time."""

FEW_PX = 8
"""Side of squares up to which adding columns is quicker than numpy's mean along a short axis."""

EVERY = 16
"""Step between the pixels at which lines are compared. It leaves plenty of pixels at a low cost."""


@dataclass(frozen=True, slots=True)
class MaskedFractions:
    """Masked fractions of a micrograph by reason, 0 to 1. An area with two reasons counts once."""

    border: float
    """Area without data."""

    contamination: float
    """Area that is far too dark or bright over too large a region: ice, gold, thick carbon."""

    carbon: float
    """Area of carbon film, found by its edge or its texture."""

    @property
    def total(self) -> float:
        """Sum of all masked fractions."""
        return self.border + self.contamination + self.carbon

    @classmethod
    def of(cls, border: Mask, contamination: Mask, carbon: Mask) -> "MaskedFractions":
        """Return the fractions of some masks; where they overlap, the first one counts."""
        contamination = contamination & ~border
        carbon = carbon & ~border & ~contamination
        masks = border, contamination, carbon
        return cls(*(float(np.count_nonzero(mask) / mask.size) for mask in masks))


@dataclass(frozen=True, slots=True)
class Borders:
    """Widths of the borders without data, in pixels; 0 for none."""

    top: int
    """Rows at the beginning of the file."""
    bottom: int
    left: int
    right: int

    def mask(
        self, shape: tuple[int, int], *, scale_y: float, scale_x: float, grow_px: int = 0
    ) -> Mask:
        """Return a mask that is True in the borders, for an image with pixels ``scale`` as large.

        Where there is a border, it is widened by ``grow_px``.
        """
        inside = np.zeros(shape, dtype=bool)
        top, bottom, left, right = (
            (-int(-n // scale) + grow_px) if n else 0
            for n, scale in (
                (self.top, scale_y),
                (self.bottom, scale_y),
                (self.left, scale_x),
                (self.right, scale_x),
            )
        )
        inside[top : shape[0] - bottom, left : shape[1] - right] = True
        return ~inside

    def pick_area(self, shape_px: tuple[int, int], *, edge_px: float, dead_px: float) -> PickArea:
        """Return the area where picks may be in an image of this height and width, in its pixels.

        Picks keep a distance of ``edge_px`` from the edge of the image. From the edge of a dead
        border they keep at least ``dead_px``, because resampling blurs that edge.
        """

        def margin(dead: int) -> float:
            return dead + max(edge_px, dead_px) if dead else edge_px

        height, width = shape_px
        return PickArea(
            margin(self.top),
            height - 1 - margin(self.bottom),
            margin(self.left),
            width - 1 - margin(self.right),
        )


def find_borders(image: NDArray[Any]) -> Borders:
    """Return the borders without data: constant, or the last line repeated outwards.

    Motion correction and some detectors leave these borders. Their lines hardly differ from one to
    the next, while noise makes neighbouring lines differ inside the image. A few bad lines along an
    edge, with noise at another level, are a border too. Call this before any filtering, which would
    blur these differences.
    """
    widths = []
    for lines in (image[:, ::EVERY], image[::EVERY].T):
        streaks, strips = _ends(_steps(lines)), _strips(lines)
        widths += [max(pair) for pair in zip(streaks, strips, strict=True)]
    return Borders(*widths)


def _strips(lines: NDArray[Any]) -> tuple[int, int]:
    """Return the number of lines before the last jump, at the beginning and at the end."""
    begin, end = (_strip_width(side) for side in (lines, lines[::-1]))
    return begin, end


def _strip_width(lines: NDArray[Any]) -> int:
    first = lines[: WIDEST_STRIP_PX + BESIDE_PX].astype(np.float32)
    medians = median(first)
    beside = median(sliding_window_view(medians[1:], BESIDE_PX))
    deviations = np.abs(first - medians[:, None])
    sigma = 1.4826 * float(median(deviations.ravel()))
    jumps = np.flatnonzero(np.abs(medians[: len(beside)] - beside) > STRIP_SIGMAS * sigma)
    return int(jumps[-1]) + 1 if len(jumps) else 0


def _steps(lines: NDArray[Any]) -> NDArray[np.float64]:
    """Return how much each line differs from the one before, shape (lines - 1,)."""
    steps = np.empty(max(0, len(lines) - 1), dtype=np.float64)
    for first in range(0, len(steps), LINES_AT_ONCE):
        last = min(first + LINES_AT_ONCE, len(steps))
        differences = np.diff(lines[first : last + 1].astype(np.float32), axis=0)
        steps[first:last] = np.abs(differences).mean(axis=1)
    return steps


def _ends(steps: NDArray[np.float64]) -> tuple[int, int]:
    """Return the number of streaks at the beginning and at the end."""
    bad = steps < STREAK_FRACTION * float(np.median(steps))
    most = int(WIDEST_BORDER * len(steps))
    begin, end = (_border_width(side[:most]) for side in (bad, bad[::-1]))
    return begin, end


def _border_width(bad: Mask) -> int:
    """Return the width of a border, given which steps into the image are too small.

    A border extends to the end of the last run of small steps. Other programs' filters may wrap
    around and leave a few noisy lines outside it; inside the image there are no runs that long.
    """
    runs = np.convolve(bad, np.ones(RUN_PX, dtype=int), mode="valid") == RUN_PX
    return int(np.flatnonzero(runs)[-1]) + RUN_PX + 1 if runs.any() else 0


@dataclass(frozen=True, slots=True)
class Outlier:
    """A limit on what is too far from the background, over too large an area, to be a particle."""

    sigmas: float
    """Distance from the background, in its standard deviations."""

    least_px: float
    """Side of the square, in pixels."""

    filled: float = FILLED
    """Fraction of the square that must be that far from the background. A value below ``FILLED`` is
    for areas that are not solid; they are searched for outside the solid areas already found."""


def outlier_mask(flat: Image, outliers: Sequence[Outlier], *, grow_px: float) -> Mask:
    """Return True on and around areas that are far from the background and wider than a particle.

    Strong particles are far from the background too, and two of them may touch. An area therefore
    counts only if it fills most of a square that is wider than a particle. The search uses means of
    2 x 2 pixels, which is fine enough for such large areas.

    Parameters
    ----------
    flat
        Image with background 0 and standard deviation 1, as from ``normalize.flatten``.
    outliers
        Limits to apply, the solid ones first.
    grow_px
        Number of pixels by which the areas are widened.
    """
    distance = np.abs(block_means(flat, BINNED))
    grown = 2 * round(grow_px / BINNED) + 1
    found = np.zeros(distance.shape, dtype=bool)
    for outlier in outliers:
        far = distance > outlier.sigmas
        if outlier.filled < FILLED:  # not solid: a particle beside solid ice is not a heap
            far &= ~found
        width = max(1, round(outlier.least_px / BINNED))
        if far.sum() < outlier.filled * width**2:
            continue
        # Zero beyond the edge; otherwise a particle cut by the edge would continue without end.
        filled = ndimage.uniform_filter(far.astype(np.float32), width, mode="constant")
        if filled.max() > outlier.filled:
            area = ndimage.maximum_filter(filled > outlier.filled, width) & far
            found |= ndimage.maximum_filter(area, grown)
    return from_blocks(found, flat.shape, BINNED)


def block_means(image: Image, side_px: int) -> Image:
    """Return the means of squares of pixels; incomplete squares are left out."""
    height, width = (n // side_px for n in image.shape)
    rows = image[: height * side_px, : width * side_px].reshape(height, side_px, -1).mean(axis=1)
    means: Image
    if side_px > FEW_PX:
        means = rows.reshape(height, width, side_px).mean(axis=2)
        return means
    means = rows[:, ::side_px].copy()  # numpy takes long for the means of a few values each
    for column in range(1, side_px):
        means += rows[:, column::side_px]
    means /= side_px
    return means


def from_blocks(blocks: Mask, shape: tuple[int, ...], side_px: int) -> Mask:
    """Expand a mask of squares to pixels; the last squares extend to the end of the image."""
    rows, columns = (
        np.minimum(np.arange(size) // side_px, count - 1)
        for size, count in zip(shape, blocks.shape, strict=True)
    )
    return np.asarray(blocks.take(rows, 0).take(columns, 1))

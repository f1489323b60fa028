"""Where not to pick: bad borders, and what is far too dark or bright to be a particle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

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
"""Fraction of the image that a bad border may take on one side."""

STREAK_FRACTION = 0.5
"""Lines count as streaks if they differ from their neighbours this much less than usual."""

FILLED = 0.75
"""Fraction of a square that contamination fills: noise leaves holes in it. A particle fills 0.65
of a square 1.1 times as wide, 0.55 of one 1.2 times as wide."""

RUN_PX = 8
"""So many streaks side by side are a border."""

STRIP_SIGMAS = 0.7
"""A line is the last of a strip if its median is this far from that of the next ones, in standard
deviations of a pixel. Particles and slopes move it by less, and noise by a tenth."""

BESIDE_PX = 5
"""So many lines are the next ones."""

WIDEST_STRIP_PX = 8
"""What is wider is no strip."""

BINNED = 2
"""Outliers are looked for on means of squares this wide."""

EVERY = 16
"""Lines are compared at every so manieth pixel, which is plenty and costs little."""


@dataclass(frozen=True, slots=True)
class MaskedFractions:
    """How much of a micrograph is masked, and why; 0 to 1. What has two reasons counts once."""

    border: float
    """No data."""

    contamination: float
    """Far too dark or bright over too large an area: ice, gold, thick carbon."""

    carbon: float
    """Film, by its edge or its texture."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.border + self.contamination + self.carbon

    @classmethod
    def of(cls, border: Mask, contamination: Mask, carbon: Mask) -> "MaskedFractions":
        """Return the fractions of masks, the first reason before the later ones."""
        contamination = contamination & ~border
        carbon = carbon & ~border & ~contamination
        return cls(*(float(mask.mean()) for mask in (border, contamination, carbon)))


@dataclass(frozen=True, slots=True)
class Borders:
    """Widths of the borders that hold no data, in pixels; 0 for none."""

    top: int
    """Rows, at the begin of the file."""
    bottom: int
    left: int
    right: int

    def mask(
        self, shape: tuple[int, int], *, scale_y: float, scale_x: float, grow_px: int = 0
    ) -> Mask:
        """Return True in the borders of an image of ``shape`` with pixels ``scale`` as large.

        Where there is a border, it is made wider by ``grow_px``.
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
        """Return where picks may be in an image of this height and width, in its own pixels.

        Picks keep ``edge_px`` from the edge of the image, and at least ``dead_px`` from that of a
        dead border, which the resampling blurs.
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
    """Return the borders that hold no data: constant, or the last line repeated outwards.

    Motion correction and some detectors leave such borders. What they have in common is
    that a line hardly differs from the next one, while inside, noise makes neighbours
    differ. A few bad lines along an edge are a border too: noise, but of another level. To be
    asked before any filtering, which blurs these differences.
    """
    widths = []
    for lines in (image[:, ::EVERY], image[::EVERY].T):
        streaks, strips = _ends(_steps(lines)), _strips(lines)
        widths += [max(pair) for pair in zip(streaks, strips, strict=True)]
    return Borders(*widths)


def _strips(lines: NDArray[Any]) -> tuple[int, int]:
    """Return how many lines at the begin and at the end are before the last jump."""
    begin, end = (_strip_width(side) for side in (lines, lines[::-1]))
    return begin, end


def _strip_width(lines: NDArray[Any]) -> int:
    first = lines[: WIDEST_STRIP_PX + BESIDE_PX].astype(np.float32)
    medians = np.median(first, axis=1)
    beside = np.median(sliding_window_view(medians[1:], BESIDE_PX), axis=1)
    deviations = np.abs(first - medians[:, None])
    sigma = 1.4826 * float(np.median(deviations))
    jumps = np.flatnonzero(np.abs(medians[: len(beside)] - beside) > STRIP_SIGMAS * sigma)
    return int(jumps[-1]) + 1 if len(jumps) else 0


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


@dataclass(frozen=True, slots=True)
class Outlier:
    """What is too far from the background, over too large an area, to be a particle."""

    sigmas: float
    """Distance from the background, in its standard deviations."""

    least_px: float
    """Side of a square that is that far in ``filled`` of its area."""

    filled: float = FILLED
    """Less than ``FILLED`` is for what is not solid, and is looked for beside what is."""


def outlier_mask(flat: Image, outliers: Sequence[Outlier], *, grow_px: float) -> Mask:
    """Return True on and around areas that are far from the background and wider than a particle.

    Strong particles are far from the background too, also where two touch. So an area counts
    only where it fills most of a square that is wider than a particle. Done on means of 2 x 2
    pixels, which is fine enough for what is so large.

    Parameters
    ----------
    flat
        Background 0, standard deviation 1, as from ``normalize.flatten``.
    outliers
        Each of them is masked; the solid ones come first.
    grow_px
        The areas are widened by this much.
    """
    distance = np.abs(block_means(flat, BINNED))
    grown = 2 * round(grow_px / BINNED) + 1
    found = np.zeros(distance.shape, dtype=bool)
    for outlier in outliers:
        far = distance > outlier.sigmas
        if outlier.filled < FILLED:  # not solid: beside solid ice, a particle is no heap
            far &= ~found
        width = max(1, round(outlier.least_px / BINNED))
        if far.sum() < outlier.filled * width**2:
            continue
        # Nothing beyond the edge: a particle that it cuts would go on for ever.
        filled = ndimage.uniform_filter(far.astype(np.float32), width, mode="constant")
        if filled.max() > outlier.filled:
            area = ndimage.maximum_filter(filled > outlier.filled, width) & far
            found |= ndimage.maximum_filter(area, grown)
    return from_blocks(found, flat.shape, BINNED)


def block_means(image: Image, side_px: int) -> Image:
    """Return the means of squares of pixels; what does not fill a square is left out."""
    height, width = (n // side_px for n in image.shape)
    rows = image[: height * side_px, : width * side_px].reshape(height, side_px, -1).mean(axis=1)
    means: Image = rows.reshape(height, width, side_px).mean(axis=2)
    return means


def from_blocks(blocks: Mask, shape: tuple[int, ...], side_px: int) -> Mask:
    """Return a mask of squares of pixels in pixels; the last squares reach to the end."""
    rows, columns = (
        np.minimum(np.arange(size) // side_px, count - 1)
        for size, count in zip(shape, blocks.shape, strict=True)
    )
    return np.asarray(blocks[np.ix_(rows, columns)])

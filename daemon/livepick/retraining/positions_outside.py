"""Positions outside the image: why a coordinates file does not fit its micrographs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEW", "MOST_OUTSIDE", "Placed", "inside", "likely_cause"]

Vector = NDArray[np.floating]

MOST_OUTSIDE = 0.05
"""If more than this fraction of its positions is outside the images, a file is refused: people and
programs pick hardly any there, so it is for images of another size or another axis."""

FEW = 3
"""So many positions outside the images are never a reason to refuse a file."""

FACTORS = (2, 3, 4, 6, 8, 16)
"""Binning factors that are tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Positions in one micrograph, inside and outside it."""

    x_px: Vector
    y_px: Vector
    shape_px: tuple[int, int]
    """Height and width of the micrograph."""


def inside(x_px: Vector, y_px: Vector, shape_px: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which positions are inside an image of this height and width.

    A pixel extends half a pixel to either side of its centre.
    """
    height, width = shape_px
    within = (x_px >= -0.5) & (x_px <= width - 0.5)
    return within & (y_px >= -0.5) & (y_px <= height - 0.5)


def likely_cause(micrographs: Sequence[Placed]) -> str:
    """Return what would explain that positions are outside the images, as a remedy."""

    def fits(change: str, factor: float = 1.0) -> bool:
        found = [_inside_if(one, change, factor) for one in micrographs]
        return float(np.concatenate(found).mean()) >= 1 - MOST_OUTSIDE

    if fits("exchanged"):
        return "They fit if x and y are exchanged: check the order of the columns."
    if fits("negative"):
        return (
            "Their y is negative, so it is counted the other way: write y from 0 at the first row"
            " of the micrograph."
        )
    for factor in FACTORS:
        if fits("scaled", factor):
            return (
                f"They fit micrographs that are {factor} times as large: divide them by the"
                " binning, or watch the unbinned micrographs."
            )
    return (
        "Give coordinates in pixels of the micrographs that livepick watches, not of binned or"
        " unbinned ones."
    )


def _inside_if(one: Placed, change: str, factor: float) -> NDArray[np.bool_]:
    x_px, y_px = one.x_px / factor, one.y_px / factor
    if change == "exchanged":
        x_px, y_px = y_px, x_px
    elif change == "negative":
        y_px = -y_px
    return inside(x_px, y_px, one.shape_px)

"""Cell means of an image, on which carbon film is measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from livepick.core.imaging.masks import block_means

__all__ = ["CELLS", "MOST_FILM", "TEXTURE_QUANTILE", "Cells", "average_cells"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

CELLS = 5
"""Cells per diameter. Everything is measured on cell means; a rim is half a diameter wide."""

TEXTURE_QUANTILE = 0.2
"""Quantile of the fine structure: crowded particles leave a fifth of the ice free."""

MOST_FILM = 0.6
"""Largest fraction of the image that may be film. The majority is the specimen."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The image, averaged over cells."""

    mean: Image
    """Mean brightness, ``[y, x]``."""

    fine: Image
    """Energy of the fine structure, that is, of the differences between neighbouring pixels."""

    good: Mask
    """True where there is data."""

    side_px: int


def average_cells(image: Image, border: Mask, side_px: int) -> Cells:
    """Return the image averaged over cells of ``side_px`` pixels.

    ``border`` is True where there is no data.
    """
    energy = np.zeros_like(image)
    for axis in (0, 1):
        step = np.diff(image, axis=axis)
        step *= step
        energy[: step.shape[0], : step.shape[1]] += step
    bad = block_means(border.astype(np.float32), side_px) > 0
    # Resampling is periodic: the edges of the image contain some of the opposite edge.
    bad[[0, -1]] = bad[:, [0, -1]] = True
    good = ~ndimage.binary_dilation(bad)  # the step at a border is not part of the image
    return Cells(block_means(image, side_px), block_means(energy, side_px), good, side_px)

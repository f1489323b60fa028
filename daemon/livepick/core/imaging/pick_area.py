"""The edge rule: no pick is closer to the edge of the image data than a set distance.

The distance is ``particle.edge_fraction`` of the particle's diameter. It is measured from the
centre of the outermost pixel with data, at the edge of the image or of a dead border. With half a
diameter or more, every picked particle is whole. The same rule applies to every model, in training,
at the gate and in evaluation: labels of particles closer to the edge count neither way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PickArea"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PickArea:
    """A rectangle that must contain the centre of a pick, limits included, in pixels.

    It is empty if a first limit is greater than the last.
    """

    top: float
    """First y."""
    bottom: float
    """Last y."""
    left: float
    """First x."""
    right: float
    """Last x."""

    @classmethod
    def of_image(cls, shape_px: tuple[int, int], *, edge_px: float) -> "PickArea":
        """Return the area of an image of this height and width without dead borders."""
        height, width = shape_px
        return cls(0, height - 1, 0, width - 1).shrunk(edge_px)

    def shrunk(self, by_px: float) -> "PickArea":
        """Return the area reduced by a margin on each side."""
        return PickArea(
            self.top + by_px, self.bottom - by_px, self.left + by_px, self.right - by_px
        )

    def scaled(self, *, scale_y: float, scale_x: float) -> "PickArea":
        """Return the same area in an image whose pixels are ``scale`` times as large."""
        return PickArea(
            self.top / scale_y, self.bottom / scale_y, self.left / scale_x, self.right / scale_x
        )

    def intersection(self, other: "PickArea") -> "PickArea":
        """Return the intersection of both areas."""
        return PickArea(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    def holds(self, x_px: NDArray[Any], y_px: NDArray[Any]) -> Mask:
        """Return a mask of the positions that are inside."""
        # In double precision: a limit rounded to the positions' precision would let some through.
        x, y = (np.asarray(values, dtype=np.float64) for values in (x_px, y_px))
        along_x = (x >= self.left) & (x <= self.right)
        return np.asarray(along_x & (y >= self.top) & (y <= self.bottom))

    def outside(self, shape: tuple[int, int], *, corner_px: tuple[int, int] = (0, 0)) -> Mask:
        """Return a mask that is True in the pixels of an image whose centres are outside.

        Parameters
        ----------
        shape
            Height and width.
        corner_px
            Position of the image's first pixel, (y, x).
        """
        y, x = (np.arange(size) + first for size, first in zip(shape, corner_px, strict=True))
        rows = (y >= self.top) & (y <= self.bottom)
        columns = (x >= self.left) & (x <= self.right)
        return ~(rows[:, None] & columns)

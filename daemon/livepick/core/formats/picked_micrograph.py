"""A micrograph and its picks, as the writers of coordinates formats need them.

The conventions of other programs are in the module of each format. Two of them are shared:

- **Rounding.** Programs that keep coordinates as integers, or that cut them off when they read
  (RELION does), get ``floor(v + 0.5)``, clipped to the image.
- **TIFF rows.** RELION, EMAN2, IMOD, MotionCor2 and Warp turn the rows of a TIFF over when they
  read it, so that the last row of the file is their row 0. For a TIFF they get
  ``y' = height - 1 - y``, before rounding. MRC files are read in the order of the file by all.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.picks import Picks

__all__ = ["TIFF_SUFFIXES", "PickedMicrograph"]

TIFF_SUFFIXES = (".tif", ".tiff")

BOX_DIAMETERS = 1.5
"""Side of the box in particle diameters, the usual choice in RELION, EMAN2 and crYOLO."""


@dataclass(frozen=True, slots=True, eq=False)
class PickedMicrograph:
    """A micrograph and its picks."""

    path: Path
    """Path of the micrograph, or the name under which the reading program knows it."""

    picks: Picks
    """Picks above the threshold, in pixels of the micrograph as stored."""

    shape_px: tuple[int, int]
    """Height and width of the micrograph."""

    pixel_size_angstrom: float
    """Pixel size of the micrograph."""

    diameter_angstrom: float
    """Longest diameter of the particle."""

    model_version: int = 0
    """Version of the model that made the picks."""

    model_kind: str = "blob"
    """Kind of that model."""

    @property
    def is_tiff(self) -> bool:
        """True if some programs turn the rows of this file over."""
        return self.path.suffix.lower() in TIFF_SUFFIXES

    @property
    def box_px(self) -> int:
        """Side of a box around the particle, an even number of pixels."""
        return max(
            2, 2 * round(BOX_DIAMETERS * self.diameter_angstrom / self.pixel_size_angstrom / 2)
        )

    def xy(self, *, turned: bool) -> NDArray[np.float64]:
        """Return the centres, (N, 2) as x and y, unrounded.

        Parameters
        ----------
        turned
            True for a program that turns the rows of a TIFF over.
        """
        x_px, y_px = self.picks.x_px.astype(np.float64), self.picks.y_px.astype(np.float64)
        if turned and self.is_tiff:
            y_px = self.shape_px[0] - 1 - y_px
        return np.column_stack([x_px, y_px])

    def whole_xy(self, *, turned: bool) -> NDArray[np.int64]:
        """Return the centres, (N, 2) as x and y, rounded to whole pixels inside the image."""
        height, width = self.shape_px
        rounded = np.floor(self.xy(turned=turned) + 0.5)
        return np.clip(rounded, 0, [width - 1, height - 1]).astype(np.int64)

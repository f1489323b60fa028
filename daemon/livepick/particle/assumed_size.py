"""A micrograph as the general model sees it if its particles have an assumed diameter.

Small diameters need fine pixels, so that the whole micrograph would cost most of the time. The
model therefore sees a field in the middle, of at most ``FIELD_PX`` prepared pixels. That is still
several hundred particles of any diameter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.fourier import fourier_resample
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.preprocess import DIAMETER_PX, Prepared, prepare

__all__ = ["FINER", "Field", "Reduced", "Scorer", "field", "reduced"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Vector = NDArray[np.float32]
Scorer = Callable[[Image], Image]
"""Function from a prepared image to the scores of a model."""

FIELD_PX = 384
"""Side of the largest field that the model sees, in prepared pixels."""

FINER = 0.8
"""Pixel size of a micrograph before it is prepared for its smallest diameter, as a fraction of that
afterwards."""

MARGIN_PX = 8
"""Peaks this close to the edge of a field are not counted: opposite edges of it were joined."""

DISTANCE_DIAMETERS = 0.6
"""Smallest distance of two peaks."""


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """A micrograph, with larger pixels or its own."""

    image: NDArray[Any]
    pixel_size_angstrom: float
    scale_y: float
    """Pixels of the original per pixel."""
    scale_x: float


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """The middle of a micrograph, prepared for an assumed diameter; particles bright if dark."""

    prepared: Prepared
    top_px: int
    """First row of the field in the reduced micrograph."""
    left_px: int
    outside: Mask
    """True where no peak counts."""

    @property
    def free_px(self) -> int:
        """Number of pixels where peaks count."""
        return int((~self.outside).sum())

    def peaks(self, score: Image, *, floor: float) -> tuple[Vector, Vector, Vector]:
        """Return y and x of the peaks, in prepared pixels, and their scores, the best first."""
        return find_peaks(
            score,
            min_distance_px=DISTANCE_DIAMETERS * DIAMETER_PX,
            floor=floor,
            mask=self.outside,
        )


def reduced(image: NDArray[Any], *, pixel_size_angstrom: float, wished_angstrom: float) -> Reduced:
    """Return a micrograph with pixels of about a wished size; it is never enlarged.

    Raises
    ------
    ContentError
        NaN, infinite or constant pixels.
    """
    small = fourier_resample(image, factor=max(1.0, wished_angstrom / pixel_size_angstrom))
    achieved_angstrom = pixel_size_angstrom * 0.5 * (small.scale_y + small.scale_x)
    return Reduced(small.image, achieved_angstrom, small.scale_y, small.scale_x)


def field(fine: Reduced, *, diameter_angstrom: float) -> Field:
    """Return the middle of a micrograph, prepared as if its particles were dark.

    Raises
    ------
    ContentError
        The field is constant.
    """
    side_px = round(FIELD_PX * diameter_angstrom / DIAMETER_PX / fine.pixel_size_angstrom)
    top, left = (max(0, n - side_px) // 2 for n in fine.image.shape)
    prepared = prepare(
        fine.image[top : top + side_px, left : left + side_px],
        pixel_size_angstrom=fine.pixel_size_angstrom,
        diameter_angstrom=diameter_angstrom,
        contrast="dark",
    )
    outside = np.ones_like(prepared.unpicked)
    outside[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = False
    outside |= prepared.unpicked
    return Field(prepared, top, left, outside)

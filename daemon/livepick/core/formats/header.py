"""Header of a micrograph file, and the limits that every file must meet."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from livepick.core.formats.compressed import Compression
from livepick.errors import HeaderError

__all__ = [
    "MOVIE_REMEDY",
    "PIXEL_SIZE_TOLERANCE",
    "Header",
    "check_shape",
    "printable",
]

PIXEL_SIZE_TOLERANCE: Final = 0.02
"""Relative difference up to which the pixel sizes of header and config (or x and y) are equal."""

PIXEL_SIZE_BOUNDS_ANGSTROM: Final = (0.1, 20.0)
"""Allowed range of a micrograph's pixel size; the same as in the config."""

MAX_SIDE_PX: Final = 32768
MAX_PIXELS: Final = 2**28
"""16384 x 16384, the super-resolution of the largest detector: 1 GiB as float32."""

MOVIE_REMEDY: Final = (
    "livepick picks motion-corrected micrographs: watch the folder that the motion correction"
    " writes to, or leave such files out with watch.exclude."
)


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a file, checked against the file's length."""

    kind: Literal["mrc", "tiff"]
    shape_px: tuple[int, int]
    """Height and width."""

    dtype: np.dtype[Any]
    """Type of the pixels as they are read, with the byte order of the file."""

    data_offset: int
    """Offset of the first pixel (MRC) or the first strip (TIFF), in bytes."""

    needed_bytes: int
    """Smallest length of a complete file."""

    pixel_sizes_angstrom: tuple[float, float]
    """Pixel sizes along x and y as written, plausible or not; 0 if unset, and always for TIFF."""

    compression: Compression | None = None
    """Compression of the whole file; ``data_offset`` and ``needed_bytes`` are of its content."""

    @property
    def header_pixel_size_angstrom(self) -> float:
        """The header's pixel size: 0.0 if unset, NaN if implausible."""
        x, y = self.pixel_sizes_angstrom
        if x == 0 and y == 0:
            return 0.0
        low, high = PIXEL_SIZE_BOUNDS_ANGSTROM
        sane = all(math.isfinite(size) and low <= size <= high for size in (x, y))
        return x if sane and abs(x - y) <= PIXEL_SIZE_TOLERANCE * max(x, y) else math.nan


def printable(text: Path | str) -> str:
    r"""Return a path or a text with undecodable bytes of file names escaped, as ``\xff``.

    The result can be encoded: logged, stored and shown.
    """
    text = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", str(text))
    return text.encode("utf-8", "backslashreplace").decode()  # any other surrogate


def check_shape(name: str, height: int, width: int, item_bytes: int) -> None:
    """Raise HeaderError unless a detector can produce an image of this size."""
    within = 0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX
    if not within or width * height * item_bytes > 4 * MAX_PIXELS:
        raise HeaderError(
            f"{name}: the header says {width} x {height} pixels of {item_bytes} bytes",
            f"A micrograph has at most {MAX_SIDE_PX} pixels a side and at most 1 GiB; the file is"
            " damaged or is not a micrograph.",
        )

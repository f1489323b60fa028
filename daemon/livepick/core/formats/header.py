"""Header of a micrograph file, the limits that every file must meet, and notes about odd files."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from livepick.core.formats.compressed import Compression
from livepick.core.imaging.pixel_evidence import Sign, Statistics
from livepick.errors import ContentError, HeaderError

__all__ = [
    "MAX_PIXEL_BYTES",
    "MOVIE_REMEDY",
    "NOTE_WORDS",
    "PIXEL_SIZE_TOLERANCE",
    "Header",
    "Note",
    "NoteKind",
    "check_compression",
    "check_shape",
    "is_pixel_size",
    "printable",
]

PIXEL_SIZE_TOLERANCE: Final = 0.02
"""Relative difference up to which the pixel sizes of header and config (or x and y) are equal."""

PIXEL_SIZE_BOUNDS_ANGSTROM: Final = (0.1, 20.0)
"""Allowed range of a micrograph's pixel size; the same as in the config."""

MOST_COMPRESSED: Final = 500
"""Largest ratio of the pixels to what is stored of them. The noise of a micrograph cannot be
compressed: even counts of one electron on a thousand pixels give 80 as float32."""

MAX_SIDE_PX: Final = 32768
MAX_PIXEL_BYTES: Final = 2**30
"""1 GiB: 16384 x 16384 pixels as float32, the super-resolution of the largest detector."""

MOVIE_REMEDY: Final = (
    "livepick picks motion-corrected micrographs: watch the folder that the motion correction"
    " writes to, or leave such files out with watch.exclude."
)

NoteKind = Literal[
    "no_map_word",
    "header_corrected",
    "surplus_bytes",
    "byte_order",
    "read_as_unsigned",
    "read_as_signed",
    "pixel_size",
    "bad_pixels",
    "library_warning",
]
"""Kind of an oddity with which a file is read all the same; see ``Note``."""


NOTE_WORDS: Final[dict[NoteKind, str]] = {
    "no_map_word": "without the word MAP in the header",
    "header_corrected": "with a header that was corrected",
    "surplus_bytes": "longer than their header says; the rest was not read",
    "byte_order": "with pixels or header in another byte order than the header says",
    "read_as_unsigned": "read as unsigned, although the header says signed",
    "read_as_signed": "read as signed, although the header says unsigned",
    "pixel_size": "with a pixel size in the header that is impossible or not the one used",
    "bad_pixels": "with bad pixels that were replaced",
    "library_warning": "with a warning of the library that read them",
}
"""Property that micrographs with a note of each kind share, as words after "micrographs"."""


@dataclass(frozen=True, slots=True)
class Note:
    """An oddity of a file that was read all the same, and how it was read."""

    kind: NoteKind
    text: str
    """A clause without a capital letter or a full stop, with the values that decided."""


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a file, checked against the file's length."""

    kind: Literal["mrc", "tiff"]
    shape_px: tuple[int, int]
    """Height and width."""

    dtype: np.dtype[Any]
    """Type of the pixels as the header says, with the byte order of the file. The pixels may show
    that integers have the other sign (``core.imaging.pixel_evidence``)."""

    data_offset: int
    """Offset of the first pixel (MRC) or the first strip (TIFF), in bytes."""

    needed_bytes: int
    """Smallest length of a complete file."""

    pixel_sizes_angstrom: tuple[float, float]
    """Pixel sizes along x and y as written, plausible or not; 0 if unset."""

    compression: Compression | None = None
    """Compression of the whole file; ``data_offset`` and ``needed_bytes`` are of its content."""

    statistics: Statistics | None = None
    """Minimum, maximum and mean of the pixels, as the header says; None if unset."""

    sign_flag: Sign | None = None
    """Sign of integers by a flag beside the type, such as IMOD's; None: no flag."""

    sign_is_certain: bool = False
    """True if the file says so clearly that integers are (un)signed that the pixels are not
    consulted, as the sample format of a TIFF."""

    extension: str = ""
    """Kind of an extended header that an MRC header names, although it says that there is none."""

    notes: tuple[Note, ...] = ()

    @property
    def header_pixel_size_angstrom(self) -> float:
        """The header's pixel size: 0.0 if unset, NaN if impossible."""
        x, y = self.pixel_sizes_angstrom
        if x == 0 and y == 0:
            return 0.0
        sane = is_pixel_size(x) and is_pixel_size(y)
        return x if sane and abs(x - y) <= PIXEL_SIZE_TOLERANCE * max(x, y) else math.nan


def is_pixel_size(angstrom: float) -> bool:
    """Return True if a micrograph can have this pixel size."""
    low, high = PIXEL_SIZE_BOUNDS_ANGSTROM
    return math.isfinite(angstrom) and low <= angstrom <= high


def printable(text: Path | str) -> str:
    r"""Return a path or a text with undecodable bytes of file names escaped, as ``\xff``.

    The result can be encoded: logged, stored and shown.
    """
    text = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", str(text))
    return text.encode("utf-8", "backslashreplace").decode()  # any other surrogate


def check_shape(name: str, height: int, width: int, item_bytes: int) -> None:
    """Raise HeaderError unless a detector can produce an image of this size."""
    within = 0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX
    if not within or width * height * item_bytes > MAX_PIXEL_BYTES:
        wanted = ""
        if width > 0 and height > 0:
            wanted = f", {width * height * item_bytes / 2**30:.1f} GiB in all"
        raise HeaderError(
            f"{name}: the header says {width} x {height} pixels of {item_bytes} bytes{wanted}",
            f"A micrograph has at most {MAX_SIDE_PX} pixels a side and at most 1 GiB; the file is"
            " damaged or is not a micrograph.",
        )


def check_compression(name: str, pixel_bytes: int, stored_bytes: int) -> None:
    """Raise ContentError if pixels are compressed so much that they cannot be an image.

    Otherwise a file of 1 MB could take a gigabyte of memory before that is found.
    """
    if pixel_bytes > MOST_COMPRESSED * stored_bytes:
        raise ContentError(
            f"{name}: pixels of {pixel_bytes / 2**20:.1f} MiB are compressed to"
            f" {stored_bytes / 2**10:.1f} KiB, so that they cannot be an image",
            "The file contains no image data; check the camera and the motion correction.",
        )

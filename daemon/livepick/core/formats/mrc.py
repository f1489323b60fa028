"""MRC files: a header of 1024 bytes, an extended header, pixels.

The header is parsed here, and its values are checked against limits before any memory is allocated:
a library that trusts ``nsymbt = 2e9`` allocates 1.9 GiB for a file of 64 bytes.
"""

import io
import struct
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.compressed import MOST_SURPLUS_BYTES
from livepick.core.formats.header import MOVIE_REMEDY, Header, check_shape
from livepick.errors import HeaderError, IncompleteFileError, MovieStackError

__all__ = ["HEADER_BYTES", "parse", "read", "read_stream"]

MAX_EXTENDED_HEADER_BYTES: Final = 16 * 2**20
HEADER_BYTES: Final = 1024
_TYPES: Final = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
"""Type of each mode. Mode 0 is *signed*, by the specification and in RELION since 3.1."""

_REFUSED: Final = {
    3: "complex 16-bit integers, a Fourier transform",
    4: "complex 32-bit floats, a Fourier transform",
    5: "an obsolete byte format",
    16: "RGB colours",
    101: "packed 4-bit integers, which raw movies have",
}
_REMEDY: Final = (
    "livepick reads modes 0, 1, 2, 6 and 12 (8- and 16-bit integers, 16- and 32-bit floats);"
    " write the motion-corrected micrographs in one of them."
)


def _byte_order(start: bytes) -> str:
    """Return ``<`` or ``>``: as in the machine stamp, unless the image sides contradict it.

    A side below 65536 read in the wrong order is at least 65536, so the sides decide. Some files
    have stamps of zeros, or stamps copied from another machine.
    """
    stamped = ">" if start[212:214] == b"\x11\x11" else "<"
    for order in (stamped, "<" if stamped == ">" else ">"):
        width, height = struct.unpack_from(f"{order}2i", start)
        if 0 < width < 2**16 and 0 < height < 2**16:
            return order
    return stamped


def parse(name: str, start: bytes) -> Header:
    """Parse the first 1024 bytes of a file; ``name`` is used in error messages.

    Raises
    ------
    IncompleteFileError
        There are fewer bytes.
    MovieStackError, HeaderError
        The file has several sections, or is of a kind that livepick does not read.
    """
    if len(start) < HEADER_BYTES:
        raise IncompleteFileError(
            f"{name} has {len(start)} bytes, but an MRC header has {HEADER_BYTES}",
            "Wait until it is written, or copy it again.",
        )
    if start[208:211] != b"MAP":
        raise HeaderError(
            f"{name} is neither MRC (no 'MAP' at byte 208) nor TIFF",
            "Leave such files out with watch.exclude, or convert them.",
        )
    order = _byte_order(start)
    width, height, depth, mode = struct.unpack_from(f"{order}4i", start)
    if depth > 1:
        raise MovieStackError(
            f"{name} has {depth} sections of {width} x {height} pixels, so it looks like a"
            " movie (or a volume) and not like a micrograph",
            MOVIE_REMEDY,
        )
    dtype = _pixel_type(name, order, mode)
    check_shape(name, height, width, dtype.itemsize)
    (extended_bytes,) = struct.unpack_from(f"{order}i", start, 92)
    if depth != 1 or not 0 <= extended_bytes <= MAX_EXTENDED_HEADER_BYTES:
        raise HeaderError(
            f"{name}: the header says {depth} sections and an extended header of"
            f" {extended_bytes} bytes",
            "A micrograph has 1 section and an extended header of at most 16 MiB; the file is"
            " damaged.",
        )
    offset = HEADER_BYTES + extended_bytes
    return Header(
        kind="mrc",
        shape_px=(height, width),
        dtype=dtype,
        data_offset=offset,
        needed_bytes=offset + width * height * dtype.itemsize,
        pixel_sizes_angstrom=_pixel_sizes(order, start),
    )


def _pixel_type(name: str, order: str, mode: int) -> np.dtype[Any]:
    if mode not in _TYPES:
        meaning = f" ({_REFUSED[mode]})" if mode in _REFUSED else ""
        raise HeaderError(f"{name} has MRC mode {mode}{meaning}", _REMEDY)
    return np.dtype(order + _TYPES[mode])


def _pixel_sizes(order: str, start: bytes) -> tuple[float, float]:
    """Return cell / grid along x and y; 0 where the grid or the cell is unset."""
    grid_x, grid_y = struct.unpack_from(f"{order}2i", start, 28)
    cell_x, cell_y = struct.unpack_from(f"{order}2f", start, 40)
    return (cell_x / grid_x if grid_x else 0.0, cell_y / grid_y if grid_y else 0.0)


def read(name: str, file: BinaryIO, header: Header) -> NDArray[Any]:
    """Read the pixels, ``[y, x]``, at once, in the type and byte order of the file."""
    height, width = header.shape_px
    image = np.fromfile(file, header.dtype, height * width, offset=header.data_offset)
    if image.size != height * width:
        raise IncompleteFileError(
            f"{name} ended after {image.size} of {height * width} pixels",
            "Wait until it is written, or copy it again.",
        )
    return image.reshape(height, width)


def read_stream(name: str, content: io.BufferedIOBase, header: Header) -> NDArray[Any]:
    """Read the pixels, ``[y, x]``, from the decompressed content of a file.

    The rest of the content is read too, so that its checksum is verified; it is at most
    ``MOST_SURPLUS_BYTES``, or the file is damaged.
    """
    height, width = header.shape_px
    content.seek(header.data_offset)
    image = np.empty(height * width, header.dtype)
    room = image.view(np.uint8).data  # exactly the pixels: more may be there, to no end
    read_bytes = 0
    while read_bytes < len(room) and (part := content.readinto(room[read_bytes:])):
        read_bytes += part
    content.read(MOST_SURPLUS_BYTES + 1)
    if read_bytes < len(room):
        raise IncompleteFileError(
            f"{name} ended after {read_bytes // header.dtype.itemsize} of {height * width} pixels",
            "Wait until it is written, or copy it again.",
        )
    return image.reshape(height, width)

"""Headers of MRC files: 1024 bytes, whose values are checked before any memory is allocated.

mrcfile trusts ``nsymbt = 2e9`` and allocates 1.9 GiB for a file of 64 bytes, so the header is
parsed here, against limits and the length of the file. What is wrong in a header but certain from
the rest of it is corrected, with a note.
"""

import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from livepick.core.formats.header import (
    MOVIE_REMEDY,
    Header,
    Note,
    check_shape,
    is_pixel_size,
)
from livepick.core.imaging.pixel_evidence import Sign, Statistics
from livepick.errors import HeaderError, IncompleteFileError, MovieStackError

__all__ = ["HEADER_BYTES", "MAX_EXTENDED_HEADER_BYTES", "byte_order", "parse_mrc_header"]

MAX_EXTENDED_HEADER_BYTES: Final = 16 * 2**20
HEADER_BYTES: Final = 1024
_TYPES: Final = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
"""Type of each mode. Mode 0 is *signed*, by the specification and in RELION since 3.1; whether it
is in a file is decided by ``core.imaging.pixel_evidence``."""

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

_EXTENSIONS: Final = (b"CCP4", b"MRCO", b"SERI", b"AGAR", b"FEI1", b"FEI2", b"HDF5")
"""Kinds of extended headers in the specification."""

_IMOD_STAMP: Final = 1146047817
_IMOD_SIGNED: Final = 1
"""Bit of IMOD's flags: bytes (mode 0) are signed. With the stamp and without the bit, they are not
(bio3d.colorado.edu/imod/doc/mrc_format.txt)."""


def parse_mrc_header(name: str, start: bytes, size_bytes: int | None) -> Header:
    """Parse the first 1024 bytes of a file.

    Parameters
    ----------
    name
        Name of the file in error messages.
    start
        The bytes.
    size_bytes
        Length of the file, from which some errors of headers can be told; None: not known.

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
    order = byte_order(start)
    width, height, depth, mode = struct.unpack_from(f"{order}4i", start)
    has_map = start[208:211] == b"MAP"
    is_sane = _is_sane(order, start)
    if not has_map and not is_sane:
        raise HeaderError(
            f"{name} is neither MRC (no 'MAP' at byte 208) nor TIFF",
            "Leave such files out with watch.exclude, or convert them.",
        )
    if depth > 1:
        raise MovieStackError(
            f"{name} has {depth} sections of {width} x {height} pixels, so it looks like a"
            " movie (or a volume) and not like a micrograph",
            MOVIE_REMEDY,
        )
    dtype = _pixel_type(name, order, mode)
    check_shape(name, height, width, dtype.itemsize)
    pixel_bytes = width * height * dtype.itemsize
    bare = is_sane and size_bytes == HEADER_BYTES + pixel_bytes
    extended_bytes, wrong_length = _extended_bytes(name, order, start, bare=bare)
    needed_bytes = HEADER_BYTES + extended_bytes + pixel_bytes
    wrong_depth = _check_depth(name, depth, certain=is_sane and size_bytes in (None, needed_bytes))
    sizes_angstrom, wrong_grid = _pixel_sizes(order, start, (width, height))
    no_map = [] if has_map else [Note("no_map_word", "no 'MAP' at byte 208; the rest is sane")]
    return Header(
        kind="mrc",
        shape_px=(height, width),
        dtype=dtype,
        data_offset=HEADER_BYTES + extended_bytes,
        needed_bytes=needed_bytes,
        pixel_sizes_angstrom=sizes_angstrom,
        statistics=_statistics(order, start),
        extension="" if extended_bytes else _extension(start),
        sign_flag=_sign_flag(order, start) if mode == 0 else None,
        notes=(*no_map, *_order_notes(order, start), *wrong_length, *wrong_depth, *wrong_grid),
    )


def byte_order(start: bytes) -> str:
    """Return ``<`` or ``>``: as in the machine stamp, unless the image sides contradict it.

    A side below 65536 read in the wrong order is at least 65536, so the sides decide. Some files
    have stamps of zeros, or stamps copied from another machine.
    """
    stamped = _stamped_order(start) or "<"
    for order in (stamped, "<" if stamped == ">" else ">"):
        width, height = struct.unpack_from(f"{order}2i", start)
        if 0 < width < 2**16 and 0 < height < 2**16:
            return order
    return stamped


def _stamped_order(start: bytes) -> str | None:
    if start[212:214] == b"\x11\x11":
        return ">"
    return "<" if start[212:214] in (b"\x44\x44", b"\x44\x41") else None


def _order_notes(order: str, start: bytes) -> Iterator[Note]:
    stamped = _stamped_order(start)
    if stamped is not None and stamped != order:
        words = {"<": "little-endian", ">": "big-endian"}
        yield Note(
            "byte_order",
            f"the machine stamp says {words[stamped]}, but the image sides are {words[order]};"
            " read like the sides",
        )


def _is_sane(order: str, start: bytes) -> bool:
    """Return True if a header can be nothing but that of one image, even without ``MAP``.

    Leginon and programs older than the MRC format of 2000 write no ``MAP``. Text or another format
    in these bytes has sides of millions of pixels, or a mode that does not exist.
    """
    width, height, depth, mode = struct.unpack_from(f"{order}4i", start)
    grid = struct.unpack_from(f"{order}3i", start, 28)
    cell = struct.unpack_from(f"{order}3f", start, 40)
    axes = struct.unpack_from(f"{order}3i", start, 64)
    return (
        16 <= width < 2**16
        and 16 <= height < 2**16
        and depth in (0, 1)
        and mode in _TYPES
        and all(0 <= side < 2**16 for side in grid)
        and all(side == side and 0 <= side < 1e7 for side in cell)  # noqa: PLR0124 - not NaN
        and sorted(axes) in ([0, 0, 0], [1, 2, 3])
    )


def _pixel_type(name: str, order: str, mode: int) -> np.dtype[Any]:
    if mode not in _TYPES:
        meaning = f" ({_REFUSED[mode]})" if mode in _REFUSED else ""
        raise HeaderError(f"{name} has MRC mode {mode}{meaning}", _REMEDY)
    return np.dtype(order + _TYPES[mode])


def _extended_bytes(name: str, order: str, start: bytes, *, bare: bool) -> tuple[int, list[Note]]:
    """Return the length of the extended header.

    A negative one counts as 0 if the file is ``bare``: as long as header and pixels together, with
    a header that is sane otherwise.
    """
    (extended_bytes,) = struct.unpack_from(f"{order}i", start, 92)
    if 0 <= extended_bytes <= MAX_EXTENDED_HEADER_BYTES:
        return int(extended_bytes), []
    if not bare or extended_bytes > 0:
        raise HeaderError(
            f"{name}: the header says an extended header of {extended_bytes} bytes",
            "An extended header has 0 to 16 MiB; the file is damaged.",
        )
    text = (
        f"the header says an extended header of {extended_bytes} bytes; the length of the file"
        " shows that there is none"
    )
    return 0, [Note("header_corrected", text)]


def _check_depth(name: str, depth: int, *, certain: bool) -> list[Note]:
    """Check that there is one section; 0 count as one if the rest of the file is ``certain``."""
    if depth == 1:
        return []
    if depth < 0 or not certain:
        raise HeaderError(
            f"{name}: the header says {depth} sections",
            "A micrograph has 1 section; the file is damaged.",
        )
    return [Note("header_corrected", "the header says 0 sections; the file holds one")]


def _pixel_sizes(
    order: str, start: bytes, sides_px: tuple[int, int]
) -> tuple[tuple[float, float], list[Note]]:
    """Return cell / grid along x and y; 0 where the cell is unset.

    A grid of 0, or one that gives an impossible pixel size, is replaced by the sides of the image
    if these give a possible one.
    """
    grid = struct.unpack_from(f"{order}2i", start, 28)
    cell = struct.unpack_from(f"{order}2f", start, 40)
    by_grid = [c / g if g else 0.0 for c, g in zip(cell, grid, strict=True)]
    by_side = [c / side for c, side in zip(cell, sides_px, strict=True)]
    if all(map(is_pixel_size, by_grid)) or not all(map(is_pixel_size, by_side)):
        return (by_grid[0], by_grid[1]), []
    text = (
        f"the grid (mx, my) is {grid[0]} x {grid[1]} in an image of {sides_px[0]} x {sides_px[1]};"
        f" cell / columns gives {by_side[0]:.4g} Å"
    )
    return (by_side[0], by_side[1]), [Note("header_corrected", text)]


def _extension(start: bytes) -> str:
    kind = start[104:108]
    return kind.decode() if kind in _EXTENSIONS else ""


def _statistics(order: str, start: bytes) -> Statistics | None:
    """Return minimum, maximum and mean; None if unset (a maximum below the minimum)."""
    least, most, mean = struct.unpack_from(f"{order}3f", start, 76)
    return (least, most, mean) if least < most else None


def _sign_flag(order: str, start: bytes) -> Sign | None:
    for each in (order, "<" if order == ">" else ">"):  # a copied header may have the other order
        stamp, flags = struct.unpack_from(f"{each}2i", start, 152)
        if stamp == _IMOD_STAMP:
            return "signed" if flags & _IMOD_SIGNED else "unsigned"
    return None

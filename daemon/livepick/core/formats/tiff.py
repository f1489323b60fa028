"""Reader for TIFF files by tifffile, which is imported with the first such file.

All sizes are checked before anything is decoded: of the image, of a strip or tile, and of what a
strip is compressed to. A file of 1 MB can be decompressed to a gigabyte, and its header can say
anything. Only compressions whose output is bounded by the size of the strip are decoded.
"""

import contextlib
import importlib.util
import math
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.header import (
    MAX_PIXEL_BYTES,
    MOVIE_REMEDY,
    Header,
    check_compression,
    check_shape,
    is_pixel_size,
)
from livepick.errors import (
    ContentError,
    HeaderError,
    IncompleteFileError,
    MemoryLimitError,
    MovieStackError,
)

__all__ = ["MAGICS", "parse", "read"]

MAX_SEGMENTS: Final = 2**17
"""Largest number of strips or tiles; one strip per row makes 32768."""

MAX_ENTRIES: Final = 4096
"""Largest number of tags; programs write about twenty."""

MAX_VALUE_BYTES: Final = 2**26
"""Largest size of the value of a tag, such as ImageJ's metadata."""

_SEGMENT_TAGS: Final = (273, 279, 324, 325)
_TYPE_BYTES: Final = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Size of each type of value that is not a byte."""

MAGICS: Final = {
    b"II*\0": ("<", 4, "I"),
    b"MM\0*": (">", 4, "I"),
    b"II+\0": ("<", 8, "Q"),
    b"MM\0+": (">", 8, "Q"),
}
"""Magic → byte order, position and type of the offset of the first directory."""

_UNCOMPRESSED: Final = 1
_DEFLATE: Final = (8, 32946)
_JPEG: Final = 7
_COMPRESSIONS: Final = (_UNCOMPRESSED, 5, *_DEFLATE, _JPEG, 32773, 34925, 50000)
"""None, LZW, deflate, JPEG, PackBits, LZMA, zstd. Others, such as JPEG 2000, have a size of their
own inside."""

PACKED_BITS: Final = (10, 12, 14)
"""Widths of integers that are packed without gaps."""

READ_BYTES: Final = 2**24
"""Amount of compressed data that is read at once."""

_SAMPLE_FORMAT, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 339, 282, 283, 296
_CENTIMETRE: Final = 3

_IMAGEJ_UNIT_ANGSTROM: Final = {
    **dict.fromkeys(("a", "å", "\\u00c5", "angstrom", "angstroms", "ångström"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "\\u00b5m", "micron", "microns"), 1e4),
    **dict.fromkeys(("pm", "picometer"), 0.01),
    "mm": 1e7,
    "cm": 1e8,
    "inch": 2.54e8,
}


def parse(name: str, file: BinaryIO, start: bytes, size_bytes: int) -> Header:
    """Parse the single page of a TIFF file, without reading its pixels.

    The pixel size is taken from ImageJ's unit, or from a resolution in centimetres, if it is
    possible. Dots per inch count as unset: programs write them that know nothing of microscopes.

    Raises
    ------
    IncompleteFileError
        The directory, or the list of strips in it, is not written yet.
    MovieStackError, HeaderError
        The file has several pages, or is of a kind that livepick does not read.
    ContentError
        Its pixels are compressed so much that they are not an image.
    """
    order, position, code = MAGICS[start[:4]]
    end = position * 2 if code == "Q" else position + 4
    first = struct.unpack_from(order + code, start, position)[0] if len(start) >= end else 0
    if first == 0 or first + 2 > size_bytes:
        raise IncompleteFileError(f"{name} has no TIFF directory yet", "Wait: it is written last.")
    with _understood(name):
        _check_directory(name, file, start[:4], first)
    with _understood(name), _opened(name, file) as tiff:
        page = tiff.pages[0]
        _check_single_page(name, tiff, page)
        return _header(name, tiff, page)


def _check_directory(name: str, file: BinaryIO, magic: bytes, place: int) -> None:
    """Check the sizes in the first directory, before tifffile reads its values into memory.

    The watcher reads directories in the main process. A list of a hundred million strips takes
    gigabytes there.
    """
    order, _, code = MAGICS[magic]
    number, entry = (order + "Q", order + "HHQQ") if code == "Q" else (order + "H", order + "HHII")
    length = struct.calcsize(entry)
    (entries,) = struct.unpack(number, os.pread(file.fileno(), struct.calcsize(number), place))
    if entries > MAX_ENTRIES:
        raise HeaderError(
            f"{name} has a directory of {entries} entries", "The file is damaged; write it again."
        )
    table = os.pread(file.fileno(), entries * length, place + struct.calcsize(number))
    if len(table) < entries * length:
        raise IncompleteFileError(
            f"{name} ends within its TIFF directory", "Wait until it is written, or copy it again."
        )
    for tag, kind, count, _ in struct.iter_unpack(entry, table):
        most = MAX_SEGMENTS if tag in _SEGMENT_TAGS else MAX_VALUE_BYTES // _TYPE_BYTES.get(kind, 1)
        if count > most:
            raise HeaderError(
                f"{name}: tag {tag} of its TIFF directory has {count} values",
                f"livepick reads TIFF with at most {MAX_SEGMENTS} strips or tiles, and with"
                f" {MAX_VALUE_BYTES >> 20} MiB in another tag; write the file in larger strips.",
            )


def _opened(name: str, file: BinaryIO) -> Any:
    import tifffile  # noqa: PLC0415 - only sessions that have TIFF files pay for it

    return tifffile.TiffFile(file, name=name, offset=0)


@contextlib.contextmanager
def _understood(name: str) -> Iterator[None]:
    """Convert any error of tifffile about a damaged or unusual file to a HeaderError."""
    try:
        yield
    except (ContentError, HeaderError, IncompleteFileError, MovieStackError, OSError):
        raise
    except MemoryError as error:
        raise MemoryLimitError(
            f"{name}: its strips or its directory need more memory than there is",
            "Raise picking.memory_limit_gib or lower picking.workers, if the machine has the"
            " memory.",
        ) from error
    except Exception as error:  # a damaged file makes tifffile raise nearly anything
        if "imagecodecs" in str(error):
            raise HeaderError(
                f"{name} is compressed: {error}",
                "Install the decoders: pip install 'livepick[tiff]'.",
            ) from error
        raise HeaderError(
            f"{name} cannot be read as TIFF: {type(error).__name__}: {error}",
            "The file is damaged or of an unusual kind; write it again, or convert it to MRC.",
        ) from error


def _check_single_page(name: str, tiff: Any, page: Any) -> None:
    several = False
    with contextlib.suppress(IndexError):
        several = tiff.pages[1] is not None
    metadata = tiff.imagej_metadata if page.is_imagej else None
    if several or (metadata or {}).get("images", 1) > 1:
        raise MovieStackError(
            f"{name} has more than one page, so it looks like a movie and not like a micrograph",
            MOVIE_REMEDY,
        )


def _header(name: str, tiff: Any, page: Any) -> Header:
    dtype, bits = page.dtype, page.bitspersample
    whole_bits = dtype is not None and (
        bits == 8 * dtype.itemsize or (bits in PACKED_BITS and dtype.kind == "u")
    )
    if not whole_bits or dtype.kind not in "iuf" or page.ndim != 2 or page.samplesperpixel != 1:
        raise HeaderError(
            f"{name}: {bits}-bit pixels, axes {page.axes}, {page.samplesperpixel}"
            " samples per pixel",
            "livepick reads grey images of 8- to 64-bit integers or floats; convert the file.",
        )
    height, width = (int(n) for n in page.shape)
    check_shape(name, height, width, dtype.itemsize)
    end_bytes = _check_segments(name, page, -(-width * bits // 8) * height)
    return Header(
        kind="tiff",
        shape_px=(height, width),
        dtype=dtype,
        data_offset=int(min(page.dataoffsets)),
        needed_bytes=end_bytes,
        pixel_sizes_angstrom=_pixel_sizes(tiff, page),
        sign_is_certain=_SAMPLE_FORMAT in page.tags,
    )


def _check_segments(name: str, page: Any, packed_bytes: int) -> int:
    """Check the strips or tiles before any is decoded; return where the last one ends.

    Parameters
    ----------
    name, page
        The file and its page.
    packed_bytes
        Length of the pixels, uncompressed.
    """
    offsets, counts = page.dataoffsets, page.databytecounts
    if not 0 < len(offsets) == len(counts) <= MAX_SEGMENTS:
        raise HeaderError(
            f"{name} has {len(offsets)} strips or tiles, but {len(counts)} strip lengths",
            "The file is damaged; write it again.",
        )
    if page.compression not in _COMPRESSIONS:
        raise HeaderError(
            f"{name} is compressed with {getattr(page.compression, 'name', page.compression)}",
            "livepick reads TIFF without compression or with LZW, deflate, zstd, LZMA, PackBits or"
            " JPEG; convert the file.",
        )
    stored_bytes = sum(counts)
    uncompressed = page.compression == _UNCOMPRESSED
    if min(counts) <= 0 or (uncompressed and stored_bytes < packed_bytes):
        raise IncompleteFileError(
            f"{name}: some strips have no pixels yet ({stored_bytes} bytes in all)",
            "Wait until it is written, or copy it again.",
        )
    segment_bytes = math.prod(page.chunks) * page.dtype.itemsize
    if segment_bytes > MAX_PIXEL_BYTES:
        raise HeaderError(
            f"{name}: the header says strips or tiles of {page.chunks} pixels, {segment_bytes}"
            " bytes each",
            "A whole micrograph has at most 1 GiB; the file is damaged.",
        )
    if not uncompressed:
        check_compression(name, packed_bytes, stored_bytes)
    return int(max(offset + count for offset, count in zip(offsets, counts, strict=True)))


def _pixel_sizes(tiff: Any, page: Any) -> tuple[float, float]:
    """Return the pixel sizes along x and y that the tags give, in Å; 0 if they give none."""
    unit_angstrom = 0.0
    if page.tags.valueof(_RESOLUTION_UNIT) == _CENTIMETRE:
        unit_angstrom = 1e8
    metadata = tiff.imagej_metadata if page.is_imagej else None
    named = str((metadata or {}).get("unit", "")).strip().lower()
    unit_angstrom = _IMAGEJ_UNIT_ANGSTROM.get(named, unit_angstrom)
    resolution = (page.tags.valueof(tag) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    sizes = [_angstrom(count, unit_angstrom) for count in resolution]
    return (sizes[0], sizes[1]) if all(map(is_pixel_size, sizes)) else (0.0, 0.0)


def _angstrom(pixels_a_unit: Any, unit_angstrom: float) -> float:
    try:
        count, units = pixels_a_unit
        return float(units) * unit_angstrom / float(count)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0


def read(name: str, file: BinaryIO, header: Header) -> NDArray[Any]:
    """Read and decode the pixels, ``[y, x]``, with one thread.

    The memory is that of the pixels and of one strip; an image in one strip may be read-only.

    Raises
    ------
    HeaderError
        The pixels cannot be decoded, or need decoders that are not installed.
    """
    with _understood(name), _opened(name, file) as tiff:
        page = tiff.pages[0]
        _check_contents(name, file, page)
        if len(page.dataoffsets) == 1 and not page.is_contiguous and not page.is_tiled:
            file.seek(page.dataoffsets[0])
            data = file.read(page.databytecounts[0])
            decoded, _, _ = page.decode(data, 0, jpegtables=page.jpegtables)
            image = np.asarray(decoded)[0, :, :, 0]
        else:
            image = np.asarray(page.asarray(maxworkers=1, buffersize=READ_BYTES))
    if image.shape != header.shape_px:
        raise HeaderError(
            f"{name}: the header says {header.shape_px} pixels, but {image.shape} were read",
            "The file is damaged; write it again.",
        )
    return image


def _check_contents(name: str, file: BinaryIO, page: Any) -> None:
    """Check the strips whose decoder would not keep to their size.

    A JPEG has a size of its own, and so has deflate in the decoder of Python.
    """
    inflates = page.compression in _DEFLATE and importlib.util.find_spec("imagecodecs") is None
    if page.compression != _JPEG and not inflates:
        return
    most_bytes = math.prod(page.chunks) * page.dtype.itemsize
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        data = file.read(count)
        found_bytes = _inflated_bytes(data, most_bytes) if inflates else _jpeg_pixels(data)
        if found_bytes > most_bytes:
            raise HeaderError(
                f"{name}: a strip or tile of {most_bytes} bytes holds {found_bytes} or more",
                "The file is damaged; write it again.",
            )


def _inflated_bytes(data: bytes, most_bytes: int) -> int:
    """Return the length of deflate data, decompressed; it may stop soon beyond ``most_bytes``."""
    decoder = zlib.decompressobj()
    total = 0
    while data and not decoder.eof and total <= most_bytes:
        total += len(decoder.decompress(data, READ_BYTES))
        data = decoder.unconsumed_tail
    return total


def _jpeg_pixels(data: bytes) -> int:
    """Return the number of pixels that the frame header of a JPEG says; 0 if there is none."""
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        (length,) = struct.unpack_from(">H", data, place + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">2H", data, place + 5)
            return int(height * width)
        place += 2 + length
    return 0

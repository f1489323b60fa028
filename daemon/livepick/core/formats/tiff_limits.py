"""Limits of TIFF files: all sizes are checked before anything is decoded.

A file of 1 MB can be decompressed to a gigabyte, and its header can say anything, so the sizes of
the directory, of a strip or tile, and of what a strip is compressed to are checked. Only
compressions whose output is bounded by the size of the strip are decoded.
"""

import importlib.util
import math
import os
import struct
import zlib
from typing import Any, BinaryIO, Final

from livepick.core.formats.header import MAX_PIXEL_BYTES, check_compression
from livepick.errors import HeaderError, IncompleteFileError

__all__ = ["READ_BYTES", "TIFF_MAGICS", "check_contents", "check_directory", "check_segments"]

TIFF_MAGICS: Final = {
    b"II*\0": ("<", 4, "I"),
    b"MM\0*": (">", 4, "I"),
    b"II+\0": ("<", 8, "Q"),
    b"MM\0+": (">", 8, "Q"),
}
"""Magic → byte order, position and type of the offset of the first directory."""

MAX_SEGMENTS: Final = 2**17
"""Largest number of strips or tiles; one strip per row makes 32768."""

MAX_ENTRIES: Final = 4096
"""Largest number of tags; programs write about twenty."""

MAX_VALUE_BYTES: Final = 2**26
"""Largest size of the value of a tag, such as ImageJ's metadata."""

_SEGMENT_TAGS: Final = (273, 279, 324, 325)
_TYPE_BYTES: Final = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Size of each type of value that is not a byte."""

_UNCOMPRESSED: Final = 1
_DEFLATE: Final = (8, 32946)
_JPEG: Final = 7
_COMPRESSIONS: Final = (_UNCOMPRESSED, 5, *_DEFLATE, _JPEG, 32773, 34925, 50000)
"""None, LZW, deflate, JPEG, PackBits, LZMA, zstd. Others, such as JPEG 2000, have a size of their
own inside."""

READ_BYTES: Final = 2**24
"""Amount of compressed data that is read at once."""


def check_directory(name: str, file: BinaryIO, magic: bytes, place: int) -> None:
    """Check the sizes in the first directory, before tifffile reads its values into memory.

    The watcher reads directories in the main process. A list of a hundred million strips takes
    gigabytes there.
    """
    order, _, code = TIFF_MAGICS[magic]
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


def check_segments(name: str, page: Any, packed_bytes: int) -> int:
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


def check_contents(name: str, file: BinaryIO, page: Any) -> None:
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

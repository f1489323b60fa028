"""Compressed MRC files: gzip and bzip2, detected by their first bytes.

Hardly a file is decompressed to find out if it is complete: gzip ends with the length of its
content, bgzip with an empty block, bzip2 with a mark. A file that was cut off is found by the
worker that reads it if chance makes its end look right. Only gzip of several parts, one after the
other, and gzip with zeros after it (as tapes add them) are decompressed, piece by piece.
"""

import bz2
import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, Literal

from livepick.errors import HeaderError, IncompleteFileError

__all__ = [
    "MOST_SURPLUS_BYTES",
    "Compression",
    "compression_of",
    "decompressed",
    "has_whole_end",
    "unread_compression",
]

Compression = Literal["gzip", "bzip2"]

_MAGICS: Final[dict[bytes, Compression]] = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2"}

_UNREAD: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
}

_GZIP_LENGTH_BYTES = 4
MOST_SURPLUS_BYTES: Final = 2**20
"""Number of bytes by which the content may be longer than an MRC header says."""

_BGZIP_END: Final = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""Empty part with which bgzip ends a file (SAM/BAM format specification, section 4.1.2)."""

_PIECE_BYTES: Final = 2**20

_MOST_PADDING_BYTES: Final = 2**20
"""Most zeros after bzip2 data."""

_BZIP2_CHECKSUM_BYTES: Final = 4
_BZIP2_END = 0x177245385090
"""Mark at the end of a bzip2 stream. A checksum of 32 bits and up to 7 bits of padding follow."""
_BZIP2_END_BYTES = 11


def compression_of(start: bytes) -> Compression | None:
    """Return the compression of a file that begins with these bytes, or None."""
    return next((kind for magic, kind in _MAGICS.items() if start.startswith(magic)), None)


def unread_compression(start: bytes) -> str | None:
    """Return the compression of a file that livepick does not read, or None."""
    return next((program for magic, program in _UNREAD.items() if start.startswith(magic)), None)


@contextlib.contextmanager
def decompressed(name: str, file: BinaryIO, kind: Compression) -> Iterator[io.BufferedIOBase]:
    """Open the content of a compressed file for reading; ``name`` is used in error messages.

    Reading decompresses only as much as is read.

    Raises
    ------
    IncompleteFileError
        The file ends early.
    HeaderError
        The file is damaged.
    """
    file.seek(0)
    try:
        opened = gzip.GzipFile(fileobj=file) if kind == "gzip" else bz2.BZ2File(file)
        with opened as content:
            yield content
    except EOFError as error:
        raise IncompleteFileError(
            f"{name} ends in the middle of its {kind} data",
            "Wait until it is written, or copy it again.",
        ) from error
    except (gzip.BadGzipFile, zlib.error, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file system, not the content
        raise HeaderError(
            f"{name} cannot be decompressed: {error}", "Compress it again, or copy it again."
        ) from error


def has_whole_end(
    file: BinaryIO, kind: Compression, size_bytes: int, needed_bytes: int | None = None
) -> bool:
    """Return True if the end of a compressed file is that of a complete one.

    Parameters
    ----------
    file
        The file. Its position may change.
    kind
        Its compression.
    size_bytes
        Its length.
    needed_bytes
        Length of the complete content according to its header. None: not known yet, so that a file
        in several parts does not count as complete.
    """
    if kind == "bzip2":
        return _ends_with_mark(file, size_bytes)
    if _end(file, size_bytes, len(_BGZIP_END)) == _BGZIP_END:
        return True
    length_bytes = int.from_bytes(_end(file, size_bytes, _GZIP_LENGTH_BYTES), "little")
    if needed_bytes is None:
        return length_bytes > 0
    if needed_bytes <= length_bytes <= needed_bytes + MOST_SURPLUS_BYTES:
        return True
    # The last of several parts is not longer than all; the middle of a stream hardly looks like it.
    return length_bytes < needed_bytes and _can_be_read(file, needed_bytes)


def _end(file: BinaryIO, size_bytes: int, count: int) -> bytes:
    return os.pread(file.fileno(), count, max(0, size_bytes - count))


def _ends_with_mark(file: BinaryIO, size_bytes: int) -> bool:
    """Return True if bzip2 data end with their mark; zeros may follow."""
    end = _end(file, size_bytes, _MOST_PADDING_BYTES)
    for zeros in range(_BZIP2_CHECKSUM_BYTES + 1):  # the checksum itself may end with some
        last = end.rstrip(b"\0") + bytes(zeros)
        bits = int.from_bytes(last[-_BZIP2_END_BYTES:], "big")
        marks = ((bits >> (32 + padding)) & (2**48 - 1) for padding in range(8))
        if len(last) <= len(end) and _BZIP2_END in marks:
            return True
    return False


def _can_be_read(file: BinaryIO, needed_bytes: int) -> bool:
    """Return True if gzip data are whole, with at least ``needed_bytes`` and not much more."""
    left_bytes = needed_bytes + MOST_SURPLUS_BYTES + 1
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) as content:
            while left_bytes > 0 and (piece := content.read(min(_PIECE_BYTES, left_bytes))):
                left_bytes -= len(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    return 0 < left_bytes <= MOST_SURPLUS_BYTES + 1

"""Compressed MRC files: gzip and bzip2, detected by their first bytes.

Nothing is decompressed to find out if a file is complete: gzip ends with the length of its content,
bzip2 with a mark. A file that was cut off is found by the worker that reads it if chance makes its
end look right.
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
        The file; its position does not matter.
    kind
        Its compression.
    size_bytes
        Its length.
    needed_bytes
        Length of the complete content according to its header. None: not known yet.
    """
    if kind == "gzip":
        end = os.pread(file.fileno(), _GZIP_LENGTH_BYTES, max(0, size_bytes - _GZIP_LENGTH_BYTES))
        length_bytes = int.from_bytes(end, "little")
        if needed_bytes is None:
            return length_bytes > 0
        return needed_bytes <= length_bytes <= needed_bytes + MOST_SURPLUS_BYTES
    end = os.pread(file.fileno(), _BZIP2_END_BYTES, max(0, size_bytes - _BZIP2_END_BYTES))
    bits = int.from_bytes(end, "big")
    return any((bits >> (32 + padding)) & (2**48 - 1) == _BZIP2_END for padding in range(8))

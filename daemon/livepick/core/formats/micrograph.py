"""MRC and TIFF files → ``Micrograph``; an MRC file may be compressed with gzip or bzip2.

The format is detected from the first bytes, never from the name. ``core.formats.mrc_header`` and
``core.formats.tiff`` check the values in the header against limits and the length of the file,
before the pixels are read at once into an array of the file's own type. What the header leaves open
is decided by the pixels (``core.imaging.pixel_evidence``), and bad pixels are replaced
(``core.imaging.bad_pixels``); a ``Note`` says so in words.

A file whose first bytes are zero is treated as *not yet* written, never as corrupt: MotionCor
writes the pixels first and the header last, and SerialEM writes the TIFF directory last.

Both readers raise:

- ``VanishedFileError``, ``UnreadableFileError``: the system cannot open or read the file;
- ``IncompleteFileError``: the file is shorter than its header says, or has no header yet;
- ``ChangedFileError``: not the requested content, or it changed while it was read;
- ``MovieStackError``, ``HeaderError``: several frames, or a format that livepick does not read;
- ``PixelSizeError`` (only ``read_micrograph``): missing, impossible, or contradicts the config;
- ``ContentError``: compressed so much that it is not an image; in ``read_micrograph`` also too many
  bad pixels.
"""

import contextlib
import dataclasses
import errno
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from livepick.config.sections import Trust
from livepick.core.formats import mrc, tiff
from livepick.core.formats.compressed import (
    MOST_SURPLUS_BYTES,
    Compression,
    compression_of,
    decompressed,
    has_whole_end,
    unread_compression,
)
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.header import (
    Header,
    Note,
    NoteKind,
    check_compression,
    printable,
)
from livepick.core.formats.mrc_header import (
    HEADER_BYTES,
    MAX_EXTENDED_HEADER_BYTES,
    parse_mrc_header,
)
from livepick.core.formats.pixel_memory import PixelMemory
from livepick.core.formats.pixel_size import resolve_pixel_size
from livepick.core.formats.tiff_limits import TIFF_MAGICS
from livepick.core.imaging.bad_pixels import replace_bad_pixels
from livepick.core.imaging.pixel_evidence import in_right_byte_order, with_right_sign
from livepick.core.imaging.pixel_start import move_start, unstated_bytes
from livepick.errors import (
    ChangedFileError,
    ContentError,
    HeaderError,
    IncompleteFileError,
    MemoryLimitError,
    UnreadableFileError,
    VanishedFileError,
)

__all__ = ["Micrograph", "read_header", "read_micrograph", "read_picked"]


@dataclass(frozen=True, slots=True)
class Micrograph:
    """A micrograph in memory."""

    image: NDArray[Any]
    """``[y, x]``, rows in file order, in the type and byte order of the file."""

    pixel_size_angstrom: float
    """Pixel size from the config, else from the header; never 0."""

    notes: tuple[Note, ...] = ()
    """Oddities of the file."""


def read_header(path: Path, *, follow_symlinks: bool = True) -> Header:
    """Read the header of a file, and check that the file is as long as the header says.

    This costs one open and one read of 1 KiB (MRC) or of the directory (TIFF); no pixels are read.

    Raises
    ------
    MicrographError
        As listed in the module docstring.
    """
    with _opened(path, follow_symlinks=follow_symlinks) as (file, status):
        return _parse(path, file, status.st_size)[0]


def read_micrograph(
    path: Path,
    *,
    pixel_size_angstrom: float | None,
    version: FileVersion | None = None,
    trust: Trust | None = None,
    memory: PixelMemory | None = None,
) -> Micrograph:
    """Read a whole micrograph.

    Parameters
    ----------
    path
        The file. A link is followed: its target must be a regular file and, with a version,
        the same one that was seen.
    pixel_size_angstrom
        Pixel size from the config; None: from the header.
    version
        The content that was seen to be complete; None: the file as it is.
    trust
        Which pixel size counts if both are there, as in ``resolve_pixel_size``.
    memory
        Memory for the pixels of an MRC file. The image of before, in the same memory, becomes
        invalid. None: new memory.

    Raises
    ------
    MicrographError
        As listed in the module docstring.
    """
    name = printable(path)
    with _opened(path, follow_symlinks=True) as (file, status):
        expected = version or FileVersion.of(status)
        _check_version(path, expected, status)
        header, start = _parse(path, file, status.st_size)
        size = resolve_pixel_size(path, header, pixel_size_angstrom, trust=trust)
        image, rest, notes = _pixels(name, file, header, start, memory)
        _check_version(path, expected, os.fstat(file.fileno()))
    header = _with_right_start(image, rest, header)
    image, odd = _examined(name, image, header)
    return Micrograph(image, size.angstrom, (*header.notes, *size.notes, *notes, *odd))


def read_picked(path: Path, version: FileVersion | None, pixel_size_angstrom: float) -> Micrograph:
    """Read a micrograph again, as it was picked.

    Parameters
    ----------
    path
        The file, as in ``read_micrograph``.
    version
        Content that was picked; None: the file as it is.
    pixel_size_angstrom
        Pixel size that it was picked with, which counts and not that of the header.

    Raises
    ------
    MicrographError
        As listed in the module docstring.
    """
    return read_micrograph(
        path, pixel_size_angstrom=pixel_size_angstrom, version=version, trust="config"
    )


def _pixels(
    name: str, file: BinaryIO, header: Header, start: bytes, memory: PixelMemory | None
) -> tuple[NDArray[Any], bytes, tuple[Note, ...]]:
    """Read the pixels, decompressed, as the header says, and what follows them."""
    try:
        if header.kind == "tiff":
            return tiff.read(name, file, header), b"", ()
        if header.compression is None:
            file.seek(0)
            image, notes = mrc.read(name, file, header, start, memory)
            file.seek(header.needed_bytes)
            return image, _rest(file, MAX_EXTENDED_HEADER_BYTES), notes
        with decompressed(name, file, header.compression) as content:
            image, notes = mrc.read(name, content, header, start, memory)
            return image, _rest(content, MOST_SURPLUS_BYTES), notes  # the checksum is at the end
    except MemoryError as error:
        height, width = header.shape_px
        raise MemoryLimitError(
            f"{name} needs {height * width * header.dtype.itemsize / 2**30:.2f} GiB of memory for"
            f" {width} x {height} pixels, and memory ran out",
            "Raise picking.memory_limit_gib or lower picking.workers, if the machine has the"
            " memory.",
        ) from error


def _rest(stream: BinaryIO | io.BufferedIOBase, most_bytes: int) -> bytes:
    """Return what follows in a file; nothing if that is more than ``most_bytes``."""
    rest = b""
    while len(rest) <= most_bytes and (piece := stream.read(most_bytes + 1 - len(rest))):
        rest += piece
    return rest if len(rest) <= most_bytes else b""


def _with_right_start(image: NDArray[Any], rest: bytes, header: Header) -> Header:
    """Move the start of an image if an extended header is not stated; return a header with a note.

    The image is changed in place.
    """
    stated_bytes = header.data_offset - HEADER_BYTES
    if header.kind == "tiff" or stated_bytes + len(rest) > MAX_EXTENDED_HEADER_BYTES:
        return header
    why = unstated_bytes(image, rest, statistics=header.statistics, extension=header.extension)
    if why is None:
        return header
    move_start(image, rest)
    text = (
        f"the header says an extended header of {stated_bytes} bytes; read with one of"
        f" {stated_bytes + len(rest)}, because {why}"
    )
    others = (note for note in header.notes if note.kind != "surplus_bytes")
    return dataclasses.replace(header, notes=(*others, Note("header_corrected", text)))


def _examined(
    name: str, image: NDArray[Any], header: Header
) -> tuple[NDArray[Any], tuple[Note, ...]]:
    """Decide by the pixels what the header leaves open, and replace bad pixels."""
    notes = []
    image, swapped = in_right_byte_order(image, statistics=header.statistics)
    if swapped is not None:
        notes.append(Note("byte_order", swapped))
    if not header.sign_is_certain:
        image, evidence = with_right_sign(
            image, statistics=header.statistics, flag=header.sign_flag
        )
        if evidence is not None:
            kind: NoteKind = "read_as_signed" if image.dtype.kind == "i" else "read_as_unsigned"
            notes.append(Note(kind, evidence))
    try:
        image, bad = replace_bad_pixels(image)
    except ContentError as error:
        raise ContentError(f"{name}: {error.what}", error.remedy) from error
    if bad.sentence is not None:
        notes.append(Note("bad_pixels", bad.sentence))
    return image, tuple(notes)


# --- the file ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path, *, follow_symlinks: bool) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open a regular file without ever blocking on a pipe or device; translate OS errors."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    if not follow_symlinks:
        flags |= os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise HeaderError(
                    f"{printable(path)} is not a regular file", "Leave it out with watch.exclude."
                )
            yield file, status
    except FileNotFoundError as error:
        raise VanishedFileError(
            f"{printable(path)} no longer exists",
            "Nothing to do if it was moved or deleted on purpose.",
        ) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            remedy = "Set watch.follow_symlinks if links may be followed."
        else:
            remedy = "Check its permissions and the file system."
        reason = error.strerror or str(error)
        raise UnreadableFileError(f"{printable(path)} cannot be read: {reason}", remedy) from error


def _check_version(path: Path, expected: FileVersion, status: os.stat_result) -> None:
    if not expected.describes(status):
        raise ChangedFileError(
            f"{printable(path)} was written again: it had {expected.size_bytes} bytes and now has"
            f" {status.st_size}",
            "Nothing to do: it is read again once it stops changing.",
        )


def _parse(path: Path, file: BinaryIO, size_bytes: int) -> tuple[Header, bytes]:
    """Return the header, and the first bytes of the file, decompressed."""
    name = printable(path)
    start = os.pread(file.fileno(), HEADER_BYTES, 0)
    if not start[:16].strip(b"\0"):  # no image has sides of zero
        raise IncompleteFileError(
            f"{name} has no header yet: it begins with zeros",
            "Wait: some programs write the header last.",
        )
    if (compression := compression_of(start)) is not None:
        return _parse_compressed(name, file, size_bytes, compression)
    if (program := unread_compression(start)) is not None:
        raise HeaderError(
            f"{name} is compressed with {program}",
            "livepick reads .mrc, .mrc.gz, .mrc.bz2 and TIFF: decompress the file.",
        )
    if start[:4] in TIFF_MAGICS:
        header = tiff.parse(name, file, start, size_bytes)
    else:
        header = parse_mrc_header(name, start, size_bytes)
    if size_bytes < header.needed_bytes:
        remedy = "Wait until it is written, or copy it again."
        extended_bytes = header.data_offset - HEADER_BYTES
        if header.kind == "mrc" and size_bytes == header.needed_bytes - extended_bytes:
            remedy += (
                f" If it is whole, correct the {extended_bytes} bytes of the extended header that"
                " its header says: its length is that of a file without."
            )
        raise IncompleteFileError(
            f"{name} has {size_bytes} bytes, but its header says {header.needed_bytes}", remedy
        )
    return _with_surplus(header, size_bytes), start


def _with_surplus(header: Header, size_bytes: int) -> Header:
    """Return a header with a note if an MRC file goes on after its pixels."""
    surplus_bytes = size_bytes - header.needed_bytes
    if header.kind != "mrc" or not surplus_bytes:
        return header
    images, rest = divmod(surplus_bytes, header.needed_bytes - header.data_offset)
    text = f"the file is {surplus_bytes} bytes longer than its header says"
    if images and not rest:
        text += f", as long as {images} more images; only the first is read"
    return dataclasses.replace(header, notes=(*header.notes, Note("surplus_bytes", text)))


def _parse_compressed(
    name: str, file: BinaryIO, size_bytes: int, compression: Compression
) -> tuple[Header, bytes]:
    unfinished = IncompleteFileError(
        f"{name} does not end as complete {compression} data of a micrograph do",
        "Wait until it is written, or copy it again.",
    )
    seems_whole = has_whole_end(file, compression, size_bytes)
    if compression == "bzip2" and not seems_whole:
        raise unfinished
    try:
        with decompressed(name, file, compression) as content:
            start = content.read(HEADER_BYTES)
    except HeaderError as error:
        if seems_whole:
            raise
        raise unfinished from error  # zeros are where its data will be written
    if start[:4] in TIFF_MAGICS:
        raise HeaderError(
            f"{name} is a compressed TIFF",
            "Decompress it, or write a TIFF that is compressed inside (LZW or deflate).",
        )
    if not start[:16].strip(b"\0"):
        raise HeaderError(
            f"{name} was compressed before it had a header: it begins with zeros",
            "Compress the complete micrograph.",
        )
    header = parse_mrc_header(name, start, None)
    check_compression(name, header.needed_bytes, size_bytes)
    if not has_whole_end(file, compression, size_bytes, header.needed_bytes):
        raise unfinished
    return dataclasses.replace(header, compression=compression), start

"""Reader for TIFF files by tifffile, which is imported with the first such file."""

import contextlib
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.header import MOVIE_REMEDY, Header, check_shape
from livepick.errors import HeaderError, IncompleteFileError, MovieStackError

__all__ = ["MAGICS", "parse", "read"]

MAX_SEGMENTS: Final = 2**17
"""Largest number of strips or tiles; one strip per row makes 32768."""

MAGICS: Final = {
    b"II*\0": ("<", 4, "I"),
    b"MM\0*": (">", 4, "I"),
    b"II+\0": ("<", 8, "Q"),
    b"MM\0+": (">", 8, "Q"),
}
"""Magic → byte order, position and type of the offset of the first directory."""


def parse(name: str, file: BinaryIO, start: bytes, size_bytes: int) -> Header:
    """Parse the single page of a TIFF file, without reading its pixels.

    The pixel size counts as unset: resolution tags and ImageJ's metadata cannot be trusted for it.

    Raises
    ------
    IncompleteFileError
        The directory, or the list of strips in it, is not written yet.
    MovieStackError, HeaderError
        The file has several pages, or is of a kind that livepick does not read.
    """
    order, position, code = MAGICS[start[:4]]
    end = position * 2 if code == "Q" else position + 4
    first = struct.unpack_from(order + code, start, position)[0] if len(start) >= end else 0
    if first == 0 or first + 2 > size_bytes:
        raise IncompleteFileError(f"{name} has no TIFF directory yet", "Wait: it is written last.")
    with _understood(name), _opened(name, file) as tiff:
        page = tiff.pages[0]
        _check_single_page(name, tiff, page)
        return _header(name, page)


def _opened(name: str, file: BinaryIO) -> Any:
    import tifffile  # noqa: PLC0415 - only sessions that have TIFF files pay for it

    return tifffile.TiffFile(file, name=name, offset=0)


@contextlib.contextmanager
def _understood(name: str) -> Iterator[None]:
    """Convert any error of tifffile about a damaged or unusual file to a HeaderError."""
    try:
        yield
    except (HeaderError, IncompleteFileError, MovieStackError, OSError):
        raise
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


def _header(name: str, page: Any) -> Header:
    dtype = page.dtype
    whole_bits = dtype is not None and page.bitspersample == 8 * dtype.itemsize
    if not whole_bits or dtype.kind not in "iuf" or page.ndim != 2 or page.samplesperpixel != 1:
        raise HeaderError(
            f"{name}: {page.bitspersample}-bit pixels, axes {page.axes}, {page.samplesperpixel}"
            " samples per pixel",
            "livepick reads grey images of 8- to 64-bit integers or floats; convert the file.",
        )
    height, width = (int(n) for n in page.shape)
    check_shape(name, height, width, dtype.itemsize)
    offsets, counts = page.dataoffsets, page.databytecounts
    if not 0 < len(offsets) == len(counts) <= MAX_SEGMENTS:
        raise HeaderError(
            f"{name} has {len(offsets)} strips or tiles, but {len(counts)} strip lengths",
            "The file is damaged; write it again.",
        )
    pairs = list(zip(offsets, counts, strict=True))
    stored_bytes = sum(counts)
    if min(counts) <= 0 or (
        page.compression == 1 and stored_bytes < height * width * dtype.itemsize
    ):
        raise IncompleteFileError(
            f"{name}: some strips have no pixels yet ({stored_bytes} bytes in all)",
            "Wait until it is written, or copy it again.",
        )
    return Header(
        kind="tiff",
        shape_px=(height, width),
        dtype=dtype,
        data_offset=int(min(offsets)),
        needed_bytes=int(max(offset + count for offset, count in pairs)),
        pixel_sizes_angstrom=(0.0, 0.0),
    )


def read(name: str, file: BinaryIO, header: Header) -> NDArray[Any]:
    """Read and decode the pixels, ``[y, x]``, with one thread.

    Raises
    ------
    HeaderError
        The pixels cannot be decoded, or need decoders that are not installed.
    """
    with _understood(name), _opened(name, file) as tiff:
        image: NDArray[Any] = np.asarray(tiff.pages[0].asarray(maxworkers=1))
    if image.shape != header.shape_px:
        raise HeaderError(
            f"{name}: the header says {header.shape_px} pixels, but {image.shape} were read",
            "The file is damaged; write it again.",
        )
    return image

"""Reader for TIFF files by tifffile, which is imported with the first such file.

All sizes are checked before anything is decoded (``core.formats.tiff_limits``).
"""

import contextlib
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.header import MOVIE_REMEDY, Header, check_shape, is_pixel_size
from livepick.core.formats.tiff_limits import (
    READ_BYTES,
    TIFF_MAGICS,
    check_contents,
    check_directory,
    check_segments,
)
from livepick.errors import (
    ContentError,
    HeaderError,
    IncompleteFileError,
    MemoryLimitError,
    MovieStackError,
)

__all__ = ["parse", "read"]

PACKED_BITS: Final = (10, 12, 14)
"""Widths of integers that are packed without gaps."""

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
    order, position, code = TIFF_MAGICS[start[:4]]
    end = position * 2 if code == "Q" else position + 4
    first = struct.unpack_from(order + code, start, position)[0] if len(start) >= end else 0
    if first == 0 or first + 2 > size_bytes:
        raise IncompleteFileError(f"{name} has no TIFF directory yet", "Wait: it is written last.")
    with _understood(name):
        check_directory(name, file, start[:4], first)
    with _understood(name), _opened(name, file) as tiff:
        page = tiff.pages[0]
        _check_single_page(name, tiff, page)
        return _header(name, tiff, page)


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
    end_bytes = check_segments(name, page, -(-width * bits // 8) * height)
    return Header(
        kind="tiff",
        shape_px=(height, width),
        dtype=dtype,
        data_offset=int(min(page.dataoffsets)),
        needed_bytes=end_bytes,
        pixel_sizes_angstrom=_pixel_sizes(tiff, page),
        sign_is_certain=_SAMPLE_FORMAT in page.tags,
    )


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
        check_contents(name, file, page)
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

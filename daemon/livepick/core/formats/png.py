"""Grey pictures as PNG files, for the page.

A micrograph is mostly noise, which a lossless format cannot compress as it is. So the caller
chooses how many grey levels to keep: a file of 24 levels is as large as a JPEG of medium quality,
and the noise hides the steps between levels. livepick therefore needs no image library.

Format: Portable Network Graphics Specification, third edition, W3C 2025.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_grey", "encode_mask"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"

PALETTE = 3
"""Colour type of both kinds of picture: a pixel is an index into a list of colours."""

AVERAGE = 3
"""Filter type: each pixel less the mean of its left and its upper neighbour."""


def encode_grey(
    image: NDArray[np.uint8],
    *,
    levels: int,
    marks: NDArray[np.bool_] | None = None,
    marks_rgb: tuple[int, int, int] = (0, 0, 0),
) -> bytes:
    """Return a grey PNG, on which marks may be drawn in one colour.

    Parameters
    ----------
    image
        ``[y, x]``.
    levels
        Grey levels to keep, evenly from black to white: 2 to 256, or to 255 with marks.
    marks
        True where the picture has the colour of the marks, ``[y, x]``; None: nowhere.
    marks_rgb
        Colour of the marks.
    """
    step = 255 / (levels - 1)
    index = np.round(image / step).astype(np.int16)
    if marks is not None:
        index[marks] = levels
    left = np.pad(index, ((0, 0), (1, 0)))[:, :-1]
    above = np.pad(index, ((1, 0), (0, 0)))[:-1]
    filtered = (index - (left + above) // 2).astype(np.uint8)  # modulo 256, as the format says
    rows = np.pad(filtered, ((0, 0), (1, 0)), constant_values=AVERAGE)
    greys = np.round(np.arange(levels) * step).astype(np.uint8)
    colours = np.repeat(greys, 3).tobytes() + (b"" if marks is None else bytes(marks_rgb))
    return _file(image.shape, 8, _chunk(b"PLTE", colours), rows)


def encode_mask(mask: NDArray[np.bool_], *, rgba: tuple[int, int, int, int]) -> bytes:
    """Return a PNG that is transparent where ``mask`` is False, and ``rgba`` where it is True."""
    rows = np.pad(np.packbits(mask, axis=1), ((0, 0), (1, 0)))
    colours = _chunk(b"PLTE", bytes((0, 0, 0, *rgba[:3]))) + _chunk(b"tRNS", bytes((0, rgba[3])))
    return _file(mask.shape, 1, colours, rows)


def _file(shape: tuple[int, ...], bits: int, colours: bytes, rows: NDArray[np.uint8]) -> bytes:
    height, width = shape
    header = struct.pack(">IIBBBBB", width, height, bits, PALETTE, 0, 0, 0)
    # After filtering, noise consists of small numbers that hardly ever repeat as strings.
    packer = zlib.compressobj(4, strategy=zlib.Z_FILTERED)
    pixels = packer.compress(rows.tobytes()) + packer.flush()
    chunks = (_chunk(b"IHDR", header), colours, _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return SIGNATURE + b"".join(chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

"""Sign and byte order of pixels, decided by evidence where the header may be wrong.

Unsigned integers read as signed wrap at half of their range: grey 130 becomes -126, black amid
white. The evidence is taken in this order, and the first that is clear decides:

1. minimum and maximum in the header are those of the pixels read with the other sign than the
   header says: somebody meant that sign, unless most of the pixels contradict it as in 2. (programs
   that knew only unsigned bytes wrote a range of 0 to 255 to signed ones);
2. the histogram: grey values of an image are continuous, so the right reading does not cut the
   histogram where it is full. Signed reading cuts it between 127 and 128, unsigned reading between
   255 and 0;
3. minimum and maximum are those of the pixels read as the header says; a library that knew nothing
   else may have computed them;
4. a flag in the header, such as IMOD's;
5. a maximum in the header that no signed pixel can have, or a minimum below 0;
6. the type that the header says.
"""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sign", "Statistics", "in_right_byte_order", "with_right_sign"]

Sign = Literal["signed", "unsigned"]
Statistics = tuple[float, float, float]
"""Minimum, maximum and mean of the pixels, as a header says."""

Range = tuple[int, int]
"""Lowest and highest pixel."""

CACHED_PX: Final = 2**19
"""Number of pixels that fit into the cache of a core."""

SAMPLE_PX: Final = 2**20
"""Number of pixels in a histogram."""

NEAR: Final = 1 / 32
"""Part of the range that counts as near the cut, on each side."""

LEAST_NEAR: Final = 20
MOST_NEAR: Final = 0.05
"""Part of the pixels near a cut, on each side, with which the histogram overrules the header."""

CLEAR_RATIO: Final = 8.0
"""A histogram is clear if the other cut has this many times as many pixels near it, and clipped
where a limit has this many times as many as the values beside it."""

LEAST_TAKEN: Final = 1e-4
"""Part of the pixels that have a value, above which a byte counts as taking it."""

SANE: Final = (1e-15, 1e15)
"""Magnitudes that pixels have; floats in the wrong byte order are spread over all magnitudes."""


def with_right_sign(
    image: NDArray[Any], *, statistics: Statistics | None, flag: Sign | None
) -> tuple[NDArray[Any], str | None]:
    """Return an image with its integers read as signed or unsigned, whichever is right.

    Parameters
    ----------
    image
        ``[y, x]``, 8- or 16-bit integers, as the header says; others are returned as they are.
    statistics
        Minimum, maximum and mean in the header; None: unset.
    flag
        Sign by a flag in the header; None: no flag.

    Returns
    -------
    tuple
        The image, with the same memory; and the evidence in words, if its type was changed.
    """
    if image.dtype.kind not in "iu" or image.dtype.itemsize > 2:
        return image, None
    signed, unsigned = _read(image, "i"), _read(image, "u")
    ranges = _ranges(signed, unsigned)
    if ranges["signed"][0] >= 0:  # the same numbers either way
        return image, None
    said: Sign = "signed" if image.dtype.kind == "i" else "unsigned"
    by_statistics = _by_statistics(ranges, statistics)
    sign, why = by_statistics if by_statistics[0] != said else (None, "")
    if sign is None:
        sign, why = _by_histogram(unsigned)
    elif _by_histogram(unsigned, least_near=MOST_NEAR)[0] == said:
        return image, None
    if sign is None:
        sign, why = by_statistics
    if sign is None and flag is not None:
        sign, why = flag, f"IMOD's flag in the header says {flag}"
    if sign is None:
        sign, why = _by_range(image.dtype.itemsize, statistics)
    if sign is None or sign == said:
        return image, None
    bits = 8 * image.dtype.itemsize
    right = signed if sign == "signed" else unsigned
    return right, f"the header says {said} {bits}-bit integers; read as {sign}, because {why}"


def _read(image: NDArray[Any], kind: str) -> NDArray[Any]:
    order = image.dtype.byteorder
    return image.view(np.dtype(f"{'' if order == '|' else order}{kind}{image.dtype.itemsize}"))


def _ranges(signed: NDArray[Any], unsigned: NDArray[Any]) -> dict[str, Range]:
    """Return the ranges of the same pixels read with either sign.

    The pixels are read from memory once, in rows that fit into the cache.
    """
    found: dict[str, Range] = {}
    count = max(1, CACHED_PX // signed.shape[1])
    for start in range(0, len(signed), count):
        for sign, image in (("signed", signed), ("unsigned", unsigned)):
            low, high = _range(image[start : start + count])
            before = found.get(sign, (low, high))
            found[sign] = min(before[0], low), max(before[1], high)
    return found


def _by_statistics(
    ranges: dict[str, Range], statistics: Statistics | None
) -> tuple[Sign | None, str]:
    if statistics is None:
        return None, ""
    fits = {sign: _fits(given, statistics) for sign, given in ranges.items()}
    if fits["signed"] == fits["unsigned"]:
        return None, ""
    sign: Sign = "signed" if fits["signed"] else "unsigned"
    least, most, _ = statistics
    return sign, f"the header's range of {least:g} to {most:g} is then that of the pixels"


def _fits(given: Range, statistics: Statistics) -> bool:
    least, most, _ = statistics
    return abs(given[0] - least) < 1 and abs(given[1] - most) < 1


def _range(image: NDArray[Any]) -> Range:
    return int(image.min()), int(image.max())


def _by_histogram(unsigned: NDArray[Any], *, least_near: float = 0.0) -> tuple[Sign | None, str]:
    """Return the sign whose cut is where the histogram is empty, or where it is clipped.

    ``least_near`` is the smallest part of the pixels on each side of a cut that counts as full; if
    it is given, clipping is no evidence. The values right at the ends are looked at separately:
    saturated pixels are there. A cut counts as full if there are pixels on both sides of it.
    """
    step = max(1, unsigned.size // SAMPLE_PX)
    values = np.bincount(unsigned.ravel()[::step], minlength=2 ** (8 * unsigned.dtype.itemsize))
    half, near = len(values) // 2, round(len(values) * NEAR)
    # On both sides of each cut, the values beginning at the cut.
    at_half = values[half - near : half][::-1], values[half : half + near]
    at_ends = values[:near], values[-near:][::-1]
    full_half, full_ends = (min(int(side[1:].sum()) for side in cut) for cut in (at_half, at_ends))
    few, many = sorted((full_half, full_ends))
    least = max(LEAST_NEAR, least_near * int(values.sum()))
    if many >= least and many > CLEAR_RATIO * (few + 1):
        sign: Sign = "unsigned" if full_half > full_ends else "signed"
        other = "signed" if sign == "unsigned" else "unsigned"
        return sign, f"read as {other} the grey values would be torn apart where most of them are"
    if least_near:
        return None, ""
    clipped = [
        all(side[0] > CLEAR_RATIO * (side[1:].mean() + 1) for side in cut)
        for cut in (at_half, at_ends)
    ]
    if clipped[0] != clipped[1]:
        return ("signed" if clipped[0] else "unsigned"), "the grey values are clipped at its limits"
    return None, ""


def _by_range(item_bytes: int, statistics: Statistics | None) -> tuple[Sign | None, str]:
    if statistics is None:
        return None, ""
    least, most, _ = statistics
    limit = 2 ** (8 * item_bytes - 1)
    if least >= 0 and limit <= most < 2 * limit:
        return "unsigned", f"the header's maximum is {most:g}"
    if -limit <= least < 0 and most < limit:
        return "signed", f"the header's minimum is {least:g}"
    return None, ""


def in_right_byte_order(
    image: NDArray[Any], *, statistics: Statistics | None
) -> tuple[NDArray[Any], str | None]:
    """Return an image with its bytes in the right order, and the evidence if it was changed.

    Floats in the wrong order have absurd magnitudes. Of 16-bit integers, the statistics in the
    header can tell, and otherwise which byte takes few values in a row.
    """
    if image.dtype.itemsize == 1 or not image.size:
        return image, None
    swapped = image.view(image.dtype.newbyteorder())
    if image.dtype.kind == "f":
        as_is, other = _sane_fraction(image), _sane_fraction(swapped)
        if as_is < 0.9 and other > 0.999:
            return swapped, (
                f"{1 - as_is:.0%} of the pixels have absurd values in the byte order of the header;"
                " read in the other one"
            )
    elif statistics is not None and _fits(_range(image), statistics):
        return image, None
    elif statistics is not None and _fits(_range(swapped), statistics):
        least, most, _ = statistics
        return swapped, (
            "the pixels are in the other byte order than the header: its range of"
            f" {least:g} to {most:g} is then theirs"
        )
    elif _has_swapped_bytes(image):
        return swapped, (
            "the pixels are in the other byte order than the header: read in that of the header,"
            " like grey values would be far apart"
        )
    return image, None


def _has_swapped_bytes(image: NDArray[Any]) -> bool:
    """Return True if the low byte of 16-bit integers is what a high byte is.

    A high byte takes fewer values than the low one, without gaps between them (from 255 to 0 there
    is none, because of negative numbers). The low byte of images with fewer bits, shifted to the
    left or multiplied, takes few values too, but with gaps.
    """
    if image.dtype.itemsize != 2:
        return False
    step = max(1, round((image.size / SAMPLE_PX) ** 0.5))
    sample = _read(image, "u")[::step, ::step].ravel()
    taken = []
    for byte in (sample >> 8, sample & 255):
        counts = np.bincount(byte, minlength=256)
        taken.append(counts > LEAST_TAKEN * sample.size)
    high, low = taken
    runs = int(np.count_nonzero(low & ~np.roll(low, 1)))
    has_gaps = runs > 1 + int(low.sum()) // 10  # rare values have some
    return int(low.sum()) >= 2 and not has_gaps and int(high.sum()) > 2 * int(low.sum())


def _sane_fraction(image: NDArray[Any]) -> float:
    step = max(1, round((image.size / 2**16) ** 0.5))
    with np.errstate(invalid="ignore"):  # signalling NaN
        sample = np.abs(image[::step, ::step].astype(np.float64))
    low, high = SANE
    return float(((sample == 0) | ((sample >= low) & (sample <= high))).mean())

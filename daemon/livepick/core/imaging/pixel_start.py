"""Start of the pixels in a file that is longer than its header says.

What is too much is a trailer after the pixels, or an extended header before them whose length the
header does not state. Read at the wrong place, all picks are shifted. In between are pixels either
way, so the beginning and the end of the file are compared with them. The evidence:

1. the header's statistics are those of the pixels with the trailer left out: there is a trailer;
2. the values at the beginning are unlike those of the pixels and those at the end are like them,
   or the other way round;
3. the header's statistics are those of the pixels with the beginning left out;
4. the header names the kind of an extended header, and so many bytes can be one.

If none is clear, the file is read as its header says.
"""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.pixel_evidence import Statistics

__all__ = ["move_start", "unstated_bytes"]

Place = Literal["beginning", "end"]

LEAST_EXTENSION_BYTES: Final = 80
"""Shortest extended header of any kind: one line of text about symmetry."""

LEAST_VALUES: Final = 16
"""Fewer values than this are not compared."""

SAMPLE_PX: Final = 2**18
"""Number of values in a histogram, so that the memory is limited."""

WINDOWS: Final = 64
"""Number of parts of the image, of the length in question, that show how different parts are."""

QUANTILES: Final = (0.0005, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.9995)

NEARLY_ZERO: Final = 1e-6
"""Floats that are smaller than this, relative to the pixels, count as zero: bytes of a header."""

UNLIKE: Final = 0.5
"""Smallest distance of histograms (0 to 1) at which values are unlike pixels."""

UNLIKE_RATIO: Final = 1.4
"""They are also this many times as unlike as any part of the image is."""

LIKE_RATIO: Final = 1.2
"""Values that are like pixels are at most this many times as unlike as parts of the image are."""

ODD_RATIO: Final = 3.0
LEAST_ODD: Final = 0.1
"""Zeros and values far outside the range are clear if there are this many times as many of them as
in any part of the image; so few show nothing."""

ALIKE: Final = 0.25
"""Smaller distances show nothing, such as between two black borders."""

MOSTLY: Final = 0.5
"""Part of the values that are equal, above which they are not those of an image."""

RELATIVE: Final = 2.0**-22
"""Error of a mean that is stored as a 32-bit float."""

_COPIED: Final = 2**20
"""Number of bytes moved at once."""


def unstated_bytes(
    image: NDArray[Any], rest: bytes, *, statistics: Statistics | None, extension: str
) -> str | None:
    """Return why the pixels begin later than the header says, by the length of ``rest``.

    Parameters
    ----------
    image
        ``[y, x]``, read as the header says.
    rest
        What follows in the file.
    statistics
        Minimum, maximum and mean in the header; None: unset.
    extension
        Kind of an extended header that the header names; empty: none.

    Returns
    -------
    str or None
        The evidence in words; None: the pixels begin where the header says, or that is not clear.
    """
    if not rest or len(rest) % image.dtype.itemsize:
        return None
    pixels = image.ravel()
    after = np.frombuffer(rest, image.dtype)
    with np.errstate(all="ignore"):  # bytes of a header may be any float
        if len(after) >= len(pixels):
            return _by_whole_images(pixels, after[-len(pixels) :])
        before, common = pixels[: len(after)], pixels[len(after) :]
        by_statistics = _by_statistics(before, common, after, statistics)
        if by_statistics == "beginning":
            return None
        by_values = _by_values(before, common, after)
    why = None
    if by_values == "end":
        why = "the values at the beginning are unlike pixels, and those at the end are like them"
    elif by_values is None and by_statistics == "end":
        why = "the header's minimum, maximum and mean are then those of the pixels"
    elif by_values is None and extension and len(rest) >= LEAST_EXTENSION_BYTES:
        why = f"the header names the kind {extension}"
    return why


def move_start(image: NDArray[Any], rest: bytes) -> None:
    """Let an image in memory begin later, by the length of ``rest``, which becomes its end."""
    content = image.reshape(-1).view(np.uint8)
    count = min(len(rest), len(content))
    kept = len(content) - count
    for start in range(0, kept, _COPIED):
        end = min(start + _COPIED, kept)
        content[start:end] = content[start + count : end + count]
    content[kept:] = np.frombuffer(rest, np.uint8)[len(rest) - count :]


def _by_whole_images(first: NDArray[Any], last: NDArray[Any]) -> str | None:
    """Compare two ways to read an image that have no pixel in common."""
    if _most_equal(first) > MOSTLY > _most_equal(last):
        return "read without it, most pixels would have the same value"
    return None


def _most_equal(values: NDArray[Any]) -> float:
    """Return the part of values that have the most common value, or are not finite."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 1.0
    counts = np.unique(finite, return_counts=True)[1]
    return float((counts.max() + len(values) - len(finite)) / len(values))


def _by_values(before: NDArray[Any], common: NDArray[Any], after: NDArray[Any]) -> Place | None:
    """Return where the pixels are, by the values of the two parts in question."""
    count = len(before)
    if count < LEAST_VALUES or len(common) < 4 * LEAST_VALUES:
        return None
    length = min(count, len(common) // 4)
    bins = _Bins(common)
    whole = bins.histogram(common)
    starts = np.linspace(0, len(common) - length, min(WINDOWS, len(common) // length)).astype(int)
    windows = [bins.histogram(common[start : start + length]) for start in starts]

    def unlikeness(histogram: NDArray[Any], *neighbours: NDArray[Any]) -> float:
        return min(_distance(histogram, each) for each in (whole, *neighbours))

    usual = max(
        unlikeness(each, *windows[max(0, number - 1) : number], *windows[number + 1 : number + 2])
        for number, each in enumerate(windows)
    )
    at_start, at_end = bins.histogram(before), bins.histogram(after)
    if _distance(at_start, at_end) < ALIKE:
        return None
    first, last = unlikeness(at_start, windows[0]), unlikeness(at_end, windows[-1])
    # In a few values the histogram shows little, but values that no pixel has are clear.
    usually_odd = max(map(_odd, windows))
    odd_limit = max(UNLIKE, ODD_RATIO * usually_odd)

    def is_unlike(distance: float, histogram: NDArray[Any]) -> bool:
        return distance > max(UNLIKE, UNLIKE_RATIO * usual) or _odd(histogram) > odd_limit

    def is_like(distance: float, histogram: NDArray[Any]) -> bool:
        return (
            distance <= max(ALIKE, LIKE_RATIO * usual)
            and _odd(histogram) <= usually_odd + LEAST_ODD
        )

    if is_unlike(first, at_start) and is_like(last, at_end):
        return "end"
    if is_unlike(last, at_end) and is_like(first, at_start):
        return "beginning"
    return None


class _Bins:
    """Bins of a histogram: eighths of the pixels, zero, and what no pixel is.

    Parameters
    ----------
    pixels
        The pixels, ``[number]``.
    """

    def __init__(self, pixels: NDArray[Any]) -> None:
        sample = pixels[:: max(1, len(pixels) // SAMPLE_PX)].astype(np.float64)
        sample = sample[np.isfinite(sample)]
        edges = np.quantile(sample, QUANTILES) if sample.size else np.zeros(len(QUANTILES))
        low, high = float(edges[0]), float(edges[-1])
        self._range = 2 * low - high, 2 * high - low
        self._edges = np.unique(edges[1:-1])
        is_float = pixels.dtype.kind == "f"
        self._zero = NEARLY_ZERO * max(abs(low), abs(high)) if is_float else 0.0

    def histogram(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the part of values in each bin."""
        values = values[:: max(1, len(values) // SAMPLE_PX)].astype(np.float64)
        count = len(self._edges) + 1
        numbers = np.searchsorted(self._edges, values, side="right")
        numbers[np.abs(values) <= self._zero] = count
        low, high = self._range
        numbers[~((values >= low) & (values <= high))] = count + 1  # also NaN
        return np.bincount(numbers, minlength=count + 2) / len(values)


def _odd(histogram: NDArray[Any]) -> float:
    """Return the part of values that are zero or far outside the range of the pixels."""
    return float(histogram[-2:].sum())


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one - other).sum() / 2)


def _by_statistics(
    before: NDArray[Any],
    common: NDArray[Any],
    after: NDArray[Any],
    statistics: Statistics | None,
) -> Place | None:
    """Return where the pixels are, if the header's statistics fit only one of the two."""
    if statistics is None:
        return None
    for kind in "iu" if common.dtype.kind in "iu" else "f":
        dtype = np.dtype(common.dtype.str.replace(common.dtype.kind, kind))
        parts = [part.view(dtype) for part in (before, common, after)]
        fits_start = _fit(parts[:2], statistics)
        fits_end = _fit(parts[1:], statistics)
        if fits_start != fits_end:
            return "beginning" if fits_start else "end"
        if fits_start:
            by_mean = [_has_mean(pair, statistics[2]) for pair in (parts[:2], parts[1:])]
            if by_mean[0] != by_mean[1]:
                return "beginning" if by_mean[0] else "end"
    return None


def _fit(parts: list[NDArray[Any]], statistics: Statistics) -> bool:
    least, most, _ = statistics
    low, high = (
        float(min(part.min() for part in parts)),
        float(max(part.max() for part in parts)),
    )
    error = 0.5 if parts[0].dtype.kind in "iu" else RELATIVE * max(abs(least), abs(most))
    return abs(low - least) <= error and abs(high - most) <= error


def _has_mean(parts: list[NDArray[Any]], mean: float) -> bool:
    total = sum(float(part.sum(dtype=np.float64)) for part in parts)
    return abs(total / sum(map(len, parts)) - mean) <= RELATIVE * abs(mean)

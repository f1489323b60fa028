"""The rule for bad pixels: few are replaced, many refuse the micrograph, wherever they lie.

A pixel is bad if it is NaN, infinite or beyond 1e15 in magnitude (the squares of all pixels of the
largest micrograph then still have a finite sum in float32), or if it is in a dead line: a row or
column inside the image whose pixels are all the same. Dead lines along an edge are a dead border,
which ``core.imaging.masks`` masks.

*Few* is up to 2 % of the pixels. Cameras have less than 0.5 % of defects, so that this allows for a
narrow edge or for some dead lines too, and the picks elsewhere are the same. Beyond it the gain
reference or the motion correction has failed. Each bad pixel gets the median of the good pixels
around it. The search widens up to about 200 pixels; beyond that it is the median of the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from livepick.errors import ContentError

__all__ = ["MOST_BAD", "BadPixels", "replace_bad_pixels"]

MOST_BAD: Final = 0.02
"""Largest fraction of bad pixels."""

LARGEST: Final = 1e15
"""Largest magnitude of a pixel."""

FLOAT16_EXPONENT: Final = np.uint16(0x7C00)
"""Bits of the exponent of a float16; all of them are set in what is not a finite number."""

ROWS_AT_ONCE: Final = 256
PIXELS_AT_ONCE: Final = 20_000

REACH_PX: Final = 3
STEPS_PX: Final = (1, 8, 64)
"""Good pixels are sought in squares of 7 x 7 positions, at these distances from each other."""

PROBED_PX: Final = 16
"""Number of pixels that a line is first judged by."""

Flat = NDArray[np.intp]
Lines = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BadPixels:
    """Number of bad pixels that were replaced."""

    absurd: int
    """NaN, infinite or beyond 1e15."""

    dead_lines: int
    """Rows and columns."""

    @property
    def sentence(self) -> str | None:
        """The replaced pixels, in words; None if none were."""
        parts = []
        if self.absurd:
            some = "pixel that is" if self.absurd == 1 else "pixels that are"
            parts.append(f"{self.absurd} {some} NaN, infinite or beyond {LARGEST:g}")
        if self.dead_lines:
            lines = "line" if self.dead_lines == 1 else "lines"
            parts.append(f"{self.dead_lines} dead {lines} of pixels")
        return f"{' and '.join(parts)}: replaced by the median around them" if parts else None


def replace_bad_pixels(image: NDArray[Any]) -> tuple[NDArray[Any], BadPixels]:
    """Return an image with its bad pixels replaced, in place if it is writable.

    Parameters
    ----------
    image
        ``[y, x]``, any real type.

    Raises
    ------
    ContentError
        There are too many.
    """
    absurd = _absurd(image) if image.dtype.kind == "f" else np.empty(0, dtype=np.intp)
    rows, columns = _dead_rows(image), _dead_rows(image.T)
    bad = absurd
    if rows.any() or columns.any():
        bad = np.union1d(absurd, _on_lines(image.shape, rows, columns))
    if not len(bad):
        return image, BadPixels(0, 0)
    _refuse_many(len(bad), image.size)
    image = image if image.flags.writeable and image.flags.c_contiguous else image.copy()
    if image.dtype.kind == "f":
        image.reshape(-1)[bad] = np.nan
    image.reshape(-1)[bad] = _medians(image, bad, rows, columns)
    return image, BadPixels(len(absurd), int(rows.sum() + columns.sum()))


def _absurd(image: NDArray[Any]) -> Flat:
    """Return the flat indices of the pixels that are NaN, infinite or absurdly large."""
    found: list[Flat] = []
    count = 0
    for first in range(0, image.shape[0], ROWS_AT_ONCE):
        rows = image[first : first + ROWS_AT_ONCE]
        if _are_sane(rows):
            continue
        bad = _is_absurd(rows)
        here = int(np.count_nonzero(bad))
        count += here
        if here and count <= MOST_BAD * image.size:
            found.append(np.flatnonzero(bad) + first * image.shape[1])
    _refuse_many(count, image.size)
    return np.concatenate(found) if found else np.empty(0, dtype=np.intp)


def _are_sane(rows: NDArray[Any]) -> bool:
    """Return True if clearly no value is absurd, by a quicker test than that of each value.

    The sum of squares is NaN or infinite if a value is, and beyond the square of ``LARGEST`` if a
    value is beyond that.
    """
    if rows.dtype != np.float32 or not rows.flags.c_contiguous:
        return False
    with np.errstate(all="ignore"):
        return bool(np.vdot(rows, rows) < LARGEST**2)


def _is_absurd(values: NDArray[Any]) -> Lines:
    if values.itemsize == 2:  # float16 has no values as large as the limit
        if values.dtype.isnative and values.flags.c_contiguous:
            return np.asarray((values.view(np.uint16) & FLOAT16_EXPONENT) == FLOAT16_EXPONENT)
        return np.asarray(~np.isfinite(values))
    return np.asarray(~((values >= -LARGEST) & (values <= LARGEST)))  # neither holds for NaN


def _refuse_many(count: int, size: int) -> None:
    if count > MOST_BAD * size:
        raise ContentError(
            f"{count} of {size} pixels ({count / size:.1%}) are NaN, infinite, beyond {LARGEST:g}"
            f" or in dead lines; up to {MOST_BAD:.0%} of a micrograph are replaced",
            "Check the gain reference and the motion correction.",
        )


def _dead_rows(image: NDArray[Any]) -> Lines:
    """Return which rows inside the image have the same value throughout.

    Other dead lines may cross them, so that a few pixels may differ.
    """
    step = max(1, image.shape[1] // PROBED_PX)
    probe = np.sort(image[:, ::step], axis=1)
    value = probe[:, probe.shape[1] // 2]
    dead: Lines = (probe == value[:, None]).mean(axis=1) >= 0.9
    if image.dtype.kind == "f":
        dead &= ~_is_absurd(value)
    if dead.mean() > MOST_BAD:  # an image of sparse counts, or without content
        return np.zeros_like(dead)
    for row in np.flatnonzero(dead).tolist():
        dead[row] = bool((image[row] == value[row]).mean() >= 1 - MOST_BAD)
    for end in (dead, dead[::-1]):
        border = len(end) if end.all() else int(np.argmin(end))
        end[:border] = False
    return dead


def _on_lines(shape: tuple[int, ...], rows: Lines, columns: Lines) -> Flat:
    height, width = shape
    on_rows = (np.flatnonzero(rows)[:, None] * width + np.arange(width)).ravel()
    on_columns = (np.arange(height)[:, None] * width + np.flatnonzero(columns)).ravel()
    return np.union1d(on_rows, on_columns)


def _medians(image: NDArray[Any], bad: Flat, rows: Lines, columns: Lines) -> NDArray[Any]:
    """Return the median of the good pixels around each bad one."""

    def is_good(y: Flat, x: Flat, values: NDArray[Any]) -> Lines:
        return np.asarray(~np.isnan(values) if image.dtype.kind == "f" else ~(rows[y] | columns[x]))

    values = np.empty(len(bad), dtype=np.float64)
    for first in range(0, len(bad), PIXELS_AT_ONCE):
        part = slice(first, first + PIXELS_AT_ONCE)
        values[part] = _medians_around(image, bad[part], is_good)
    unknown = np.isnan(values)
    if unknown.any():
        sample = image[::7, ::5].astype(np.float64)
        values[unknown] = np.nanmedian(sample) if not np.isnan(sample).all() else 0
    return values if image.dtype.kind == "f" else np.rint(values)


def _medians_around(
    image: NDArray[Any], bad: Flat, is_good: Callable[[Flat, Flat, NDArray[Any]], Lines]
) -> NDArray[np.float64]:
    """Return the median of the nearest good pixels; NaN if there are none."""
    height, width = image.shape
    found = np.full(len(bad), np.nan)
    offsets = np.arange(-REACH_PX, REACH_PX + 1)
    for step in STEPS_PX:
        left = np.flatnonzero(np.isnan(found))
        if not len(left):
            break
        y, x = np.divmod(bad[left], width)
        around_y = np.clip(y[:, None, None] + step * offsets[:, None], 0, height - 1)
        around_x = np.clip(x[:, None, None] + step * offsets[None, :], 0, width - 1)
        around_y, around_x = np.broadcast_arrays(around_y, around_x)
        values = image[around_y, around_x].astype(np.float64)
        good = is_good(around_y, around_x, values).reshape(len(left), -1)
        values = values.reshape(good.shape)
        some = good.any(axis=1)
        found[left[some]] = np.nanmedian(np.where(good, values, np.nan)[some], axis=1)
    return found

"""Normalization that gradients, borders and a few very dark things do not upset."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["BACKGROUND_MEDIAN", "flatten"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

BACKGROUND_MEDIAN: Final = "background-median-1"
"""Name of this normalization in a model card; a change of its figures changes the name."""

SAMPLES = 16
"""Pixels along each axis of a block whose median is taken; 256 give it to a tenth of sigma."""


def flatten(image: Image, *, window_px: int, ignore: Mask | None = None) -> Image:
    """Take out slow changes of brightness, and divide by the robust standard deviation.

    The background is the median of blocks half a ``window_px`` wide, smoothed and
    interpolated: a median, since particles and contamination are the minority of a block.
    The standard deviation is 1.4826 times the median absolute deviation.

    Parameters
    ----------
    image
        ``[y, x]``; not changed.
    window_px
        Structures wider than this are background.
    ignore
        True where pixels are not to count, as in dead borders.

    Returns
    -------
    flat
        Background 0, standard deviation 1.
    """
    flat = image - background(image, block_px=max(2, window_px // 2), ignore=ignore)
    sample = flat[::2, ::2]
    if ignore is not None and not ignore.all():
        sample = sample[~ignore[::2, ::2]]
    sigma = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    flat /= np.float32(max(sigma, float(np.finfo(np.float32).tiny)))
    return flat


def background(image: Image, *, block_px: int, ignore: Mask | None = None) -> Image:
    """Return the slowly changing brightness: block medians, smoothed and interpolated."""
    places = [_sample_places(n, block_px) for n in image.shape]
    rows, columns = (len(p) for p in places)
    where = np.ix_(*(p.ravel() for p in places))
    blocks = _by_block(image[where], rows, columns)
    if ignore is None or not ignore.any():
        medians = np.median(blocks, axis=2)
    else:
        counts = _by_block(~ignore[where], rows, columns)
        whole = counts.all(axis=2)
        medians = np.full((rows, columns), np.nan, dtype=np.float32)
        medians[whole] = np.median(blocks[whole], axis=1)
        for i, j in np.argwhere(~whole & counts.any(axis=2)).tolist():
            medians[i, j] = np.median(blocks[i, j][counts[i, j]])
    _fill_holes(medians)
    robust = ndimage.median_filter(medians, 3, mode="nearest")  # contamination fills a block
    smooth = ndimage.uniform_filter(robust, 3, mode="nearest")
    return _interpolate(smooth, image.shape)


def _sample_places(size: int, block_px: int) -> NDArray[np.intp]:
    """Return where blocks are sampled along one axis, shape (blocks, samples)."""
    count = max(1, round(size / block_px))
    samples = min(SAMPLES, size // count)
    return (
        ((np.arange(count * samples) + 0.5) * size / (count * samples))
        .astype(np.intp)
        .reshape(count, samples)
    )


def _by_block(sampled: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Return (rows, columns, samples) of an image in which each block is a rectangle."""
    height, width = sampled.shape
    split = sampled.reshape(rows, height // rows, columns, width // columns)
    return split.transpose(0, 2, 1, 3).reshape(rows, columns, -1)


def _fill_holes(grid: Image) -> None:
    """Give each NaN the value of the nearest number, in place; all NaN become 0."""
    holes = np.isnan(grid)
    if holes.all():
        grid[:] = 0
    elif holes.any():
        nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
        grid[:] = grid[tuple(nearest)]


def _interpolate(grid: Image, shape: tuple[int, ...]) -> Image:
    """Return ``grid``, whose cells tile an image of ``shape``, interpolated bilinearly."""
    for axis, size in enumerate(shape):
        cells = grid.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
        below = np.minimum(position.astype(int), max(cells - 2, 0))
        above = np.minimum(below + 1, cells - 1)
        part = (position - below).astype(np.float32)
        part = part[:, None] if axis == 0 else part
        grid = grid.take(below, axis) * (1 - part) + grid.take(above, axis) * part
    return grid

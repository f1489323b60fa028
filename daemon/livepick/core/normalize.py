"""Normalization that gradients, borders and a few very dark things do not upset."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["BACKGROUND_MEDIAN", "flatten"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

BACKGROUND_MEDIAN: Final = "background-median-1"
"""Name of this normalization in a model card; a change of its figures changes the name."""

LIMIT_SIGMAS = 5.0
"""Values are limited to this many standard deviations of the background."""


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
        Background 0, standard deviation 1, limited to ±``LIMIT_SIGMAS``.
    """
    flat = image - background(image, block_px=max(2, window_px // 2), ignore=ignore)
    sample = flat if ignore is None or ignore.all() else flat[~ignore]
    sigma = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    flat /= np.float32(max(sigma, np.finfo(np.float32).tiny))
    return np.clip(flat, -LIMIT_SIGMAS, LIMIT_SIGMAS, out=flat)


def background(image: Image, *, block_px: int, ignore: Mask | None = None) -> Image:
    """Return the slowly changing brightness: block medians, smoothed and interpolated."""
    rows, columns = (max(1, round(n / block_px)) for n in image.shape)
    medians = np.full((rows, columns), np.nan, dtype=np.float32)
    y_edges, x_edges = (
        np.linspace(0, n, k + 1).astype(int)
        for n, k in zip(image.shape, (rows, columns), strict=True)
    )
    for i in range(rows):
        for j in range(columns):
            where = np.s_[y_edges[i] : y_edges[i + 1], x_edges[j] : x_edges[j + 1]]
            block = image[where] if ignore is None else image[where][~ignore[where]]
            if block.size:
                medians[i, j] = np.median(block)
    _fill_holes(medians)
    smooth = ndimage.uniform_filter(medians, 3, mode="nearest")
    return _interpolate(smooth, image.shape)


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

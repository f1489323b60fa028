"""Normalization that is robust to gradients, borders and a few very dark objects."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from livepick.core.imaging.fast_median import median

__all__ = ["BACKGROUND_MEDIAN", "COMMON_NOISE", "Flattened", "flatten", "trend"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

BACKGROUND_MEDIAN: Final = "background-median-1"
"""Name of this normalization in a model card. If the resulting values change, so does the name."""
COMMON_NOISE: Final = "background-median-common-noise-1"
"""Name of the variant with one noise value for all micrographs. The model card has the value."""

SAMPLES = 16
"""Pixels sampled along each axis of a block for its median; 256 give it to a tenth of sigma."""


TREND_STEPS = 5
"""Iterations of the trend fit; in each, blocks that are far from the trend lose weight."""


@dataclass(frozen=True, slots=True, eq=False)
class Flattened:
    """An image without its slow changes of brightness, in units of its noise."""

    flat: Image
    """Image with local background 0 and standard deviation 1, ``[y, x]``."""

    above_trend: Image
    """The same image with only the trend of the whole field removed, ``[y, x]``. Carbon and large
    pieces of ice still stand out in it, because they are not taken for their own background."""

    sigma: float
    """Standard deviation of the background that both were divided by, in the image's units."""

    trend_sigmas: float
    """Range (highest minus lowest) of the trend of the whole field, in units of ``sigma``."""


def flatten(image: Image, *, window_px: int, ignore: Mask | None = None) -> Flattened:
    """Remove slow changes of brightness, and divide by the robust standard deviation.

    The local background is the median of blocks half a ``window_px`` wide, smoothed and
    interpolated. The median is used because particles and contamination are the minority of a
    block. The trend of the whole field is a second-order polynomial through the block medians,
    because ice is thicker towards the edge of a hole. It is fitted by least squares with Tukey
    reweighting. The standard deviation is 1.4826 times the median absolute deviation.

    Parameters
    ----------
    image
        Image, ``[y, x]``; not changed.
    window_px
        Structures wider than this are background.
    ignore
        True where pixels do not count, such as in dead borders.
    """
    medians = _block_medians(image, max(2, window_px // 2), ignore)
    robust = ndimage.median_filter(medians, 3, mode="nearest")  # contamination fills a block
    smooth = ndimage.uniform_filter(robust, 3, mode="nearest")
    flat = _without(image, smooth)
    sample = flat[::2, ::2].ravel()
    if ignore is not None and not ignore.all():
        sample = sample[~ignore[::2, ::2].ravel()]
    sigma = 1.4826 * float(median(np.abs(sample - median(sample))))
    sigma = max(sigma, float(np.finfo(np.float32).tiny))
    inverse = np.float32(1 / sigma)
    flat *= inverse
    slow = trend(medians)
    above_trend = _without(image, slow)
    above_trend *= inverse
    return Flattened(flat, above_trend, sigma, float(np.ptp(slow)) / sigma)


def trend(grid: Image) -> Image:
    """Return a second-order polynomial through a grid, fitted robustly to outliers."""
    y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in grid.shape)
    y, x = (a.ravel() for a in np.meshgrid(y, x, indexing="ij"))
    terms = [np.ones_like(x), x, y, x * x, x * y, y * y]
    basis = np.column_stack(terms[: 6 if min(grid.shape) > 3 else 1])
    values = grid.ravel().astype(np.float64)
    weights = np.ones_like(values)
    fitted = np.full_like(values, np.median(values))
    for _ in range(TREND_STEPS):
        residual = np.abs(values - fitted)
        spread = 1.4826 * float(np.median(residual))
        if spread <= 1e-6 * max(1.0, float(np.abs(fitted).max())):
            break
        weights = np.clip(1 - (residual / (4.685 * spread)) ** 2, 0, None)
        coefficients, *_ = np.linalg.lstsq(basis * weights[:, None], values * weights, rcond=None)
        fitted = basis @ coefficients
    return fitted.reshape(grid.shape).astype(np.float32)


def _block_medians(image: Image, block_px: int, ignore: Mask | None) -> Image:
    """Return the median of each block, shape (rows, columns) of blocks."""
    places = [_sample_places(n, block_px) for n in image.shape]
    rows, columns = (len(p) for p in places)
    where = np.ix_(*(p.ravel() for p in places))
    blocks = _by_block(image[where], rows, columns)
    if ignore is None or not ignore.any():
        return np.asarray(median(blocks), dtype=np.float32)
    counts = _by_block(~ignore[where], rows, columns)
    whole = counts.all(axis=2)
    medians = np.full((rows, columns), np.nan, dtype=np.float32)
    medians[whole] = median(blocks[whole])
    for i, j in np.argwhere(~whole & counts.any(axis=2)).tolist():
        medians[i, j] = np.median(blocks[i, j][counts[i, j]])
    _fill_holes(medians)
    return medians


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
    """Reshape an image of rectangular blocks to (rows, columns, samples)."""
    height, width = sampled.shape
    split = sampled.reshape(rows, height // rows, columns, width // columns)
    return split.transpose(0, 2, 1, 3).reshape(rows, columns, -1)


def _fill_holes(grid: Image) -> None:
    """Replace each NaN by the nearest number, in place; by 0 if all values are NaN."""
    holes = np.isnan(grid)
    if holes.all():
        grid[:] = 0
    elif holes.any():
        nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
        grid[:] = grid[tuple(nearest)]


def _without(image: Image, grid: Image) -> Image:
    """Return an image with an interpolated grid subtracted."""
    background = _interpolate(grid, image.shape)
    return np.subtract(image, background, out=background)


def _interpolate(grid: Image, shape: tuple[int, ...]) -> Image:
    """Return ``grid``, whose cells tile an image of ``shape``, interpolated bilinearly."""
    rows, columns = (
        _interpolation(cells, size) for cells, size in zip(grid.shape, shape, strict=True)
    )
    return np.asarray(rows @ grid @ columns.T, dtype=np.float32)


def _interpolation(cells: int, size: int) -> Image:
    """Return the matrix of linear interpolation of ``cells`` values to ``size`` places."""
    position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    below = np.minimum(position.astype(int), max(cells - 2, 0))
    part = (position - below).astype(np.float32)
    weights = np.zeros((size, cells), dtype=np.float32)
    weights[np.arange(size), below] = 1 - part
    weights[np.arange(size), np.minimum(below + 1, cells - 1)] += part
    return weights

"""Carbon film detection, by the film's edge (the rim of a hole) and by its texture.

After normalization the film is as bright as the ice, and none of its structure is wider than a
particle. Two properties still distinguish it:

- *The rim* is a line, many particles long, along which the gradient points in one direction.
  Particles, averaged over a window, have gradients in all directions. The rim is an arc of a
  circle, because holes are round. It is bright on the side of the film and dark on the other: the
  Fresnel fringe of an underfocused lens, after the change of sign that makes particles bright.
- *The texture*: between particles the ice is smooth, while the film is not smooth anywhere. The
  comparison therefore uses a low quantile of the fine structure, which particles do not affect as
  long as they leave gaps.

A rim counts if it is long, narrow and on a circle, and if the side taken for film is not smoother
than the other side. Texture alone counts if it differs strongly from the rest over a large area.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from livepick.core.imaging.film_cells import CELLS, MOST_FILM, TEXTURE_QUANTILE, average_cells
from livepick.core.imaging.hole_rim import film_behind, find_rims
from livepick.core.imaging.masks import block_means, from_blocks

__all__ = ["film_mask"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

TEXTURE_WINDOW = 2.0
"""Side of the square in which the quantile is taken, in diameters."""

TEXTURE_RATIO = 1.5
"""Least ratio between the median textures of the two parts, film and ice, of an image."""

TEXTURE_APART = 5.0
"""Least distance between the two parts, in robust standard deviations within one part. The halves
of a single bell curve are 2.2 apart; for film without a visible edge it was ten."""

SMALLEST_FILM = 16.0
"""Smallest area of film that is found by texture, in square diameters."""

LEAST_CLEAN = 0.1
"""Least clean fraction of the image: with less there is nothing to compare with."""


def film_mask(image: Image, *, border: Mask, junk: Mask, diameter_px: float) -> Mask:
    """Return True on carbon film.

    Parameters
    ----------
    image
        Background 0, standard deviation 1, particles bright.
    border
        True where there is no data.
    junk
        True on areas that are masked for other reasons. Their texture is not compared, but their
        edge may be a rim: thick film is among them.
    diameter_px
        Particle diameter, in pixels.
    """
    cells = average_cells(image, border, max(1, round(diameter_px / CELLS)))
    film = np.zeros(cells.mean.shape, dtype=bool)
    if min(film.shape) < 3 * CELLS or cells.good.mean() < LEAST_CLEAN:
        return np.zeros(image.shape, dtype=bool)
    for rim in find_rims(cells):
        film |= film_behind(rim, cells)
    clean = cells.good & (block_means(junk.astype(np.float32), cells.side_px) == 0)
    if clean.mean() >= LEAST_CLEAN:
        film |= _rough_part(cells.fine, clean)
    return from_blocks(film, image.shape, cells.side_px)


def _rough_part(fine: Image, clean: Mask) -> Mask:
    """Return the part with a rougher texture than the rest, if the image has two parts."""
    nothing = np.zeros(clean.shape, dtype=bool)
    width, stride = round(TEXTURE_WINDOW * CELLS), 2
    fine = np.where(clean, fine, np.median(fine[clean]))
    windows = sliding_window_view(fine, (width, width))[::stride, ::stride]
    windows = windows.reshape(*windows.shape[:2], -1)
    rank = int(TEXTURE_QUANTILE * width**2)
    low = np.log(np.partition(windows, rank, axis=2)[:, :, rank] + np.finfo(np.float32).tiny)
    known = _good_fraction(clean, width)[::stride, ::stride] > 0.5
    if known.sum() < 4 * CELLS**2:
        return nothing
    limit = _two_parts(low[known])
    if limit is None:
        return nothing
    rough = np.pad((low > limit) & known, 1, mode="edge")
    rough = ndimage.binary_opening(rough, np.ones((3, 3), dtype=bool))[1:-1, 1:-1]
    labels, count = ndimage.label(rough)
    areas = ndimage.sum_labels(rough, labels, np.arange(count + 1)) * (stride / CELLS) ** 2
    film: Mask = (areas >= SMALLEST_FILM)[labels]
    if not 0 < film.mean() <= MOST_FILM:
        return nothing
    rows, columns = (
        np.clip((np.arange(nothing.shape[axis]) - width // 2) // stride, 0, film.shape[axis] - 1)
        for axis in (0, 1)
    )
    # A window is rough only if nearly all of it is, so the film reaches half a window further.
    return np.asarray(ndimage.maximum_filter(film[np.ix_(rows, columns)], width + 1))


def _good_fraction(good: Mask, width: int) -> Image:
    """Return the good fraction of each window."""
    mean: Image = ndimage.uniform_filter(good.astype(np.float32), width)
    half = width // 2
    return mean[half : half + good.shape[0] - width + 1, half : half + good.shape[1] - width + 1]


def _two_parts(values: Image) -> float | None:
    """Return the value that splits logarithms into two parts, or None if there is only one part.

    The split is Otsu's: it maximizes the variance between the parts.
    """
    ordered = np.sort(values).astype(np.float64)
    total = np.cumsum(ordered)
    below = np.arange(1, len(ordered))
    above = len(ordered) - below
    means = total[:-1] / below, (total[-1] - total[:-1]) / above
    best = int(np.argmax(below * above * (means[1] - means[0]) ** 2)) + 1
    parts = ordered[:best], ordered[best:]
    middles = [float(np.median(part)) for part in parts]
    spreads = [
        1.4826 * float(np.median(np.abs(p - m))) for p, m in zip(parts, middles, strict=True)
    ]
    gap = middles[1] - middles[0]
    if gap < np.log(TEXTURE_RATIO) or gap < TEXTURE_APART * max(spreads):
        return None
    return 0.5 * (float(ordered[best - 1]) + float(ordered[best]))

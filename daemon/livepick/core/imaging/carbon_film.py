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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from livepick.core.imaging.masks import block_means, from_blocks

__all__ = ["film_mask"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Grid = NDArray[np.float64]

CELLS = 5
"""Cells per diameter. Everything is measured on cell means; a rim is half a diameter wide."""

RIM_ENERGY = (0.4, 0.8)
"""Least directed part of the gradient energy, as a fraction of the image's median energy: for a
rim, and for its core."""

RIM_COHERENCE = (0.35, 0.45)
"""Least directed part of the gradient energy, as a fraction of the local energy: for a rim, and for
its core. Random fields of particles stay below 0.4, averaged over a window of one diameter."""

SHORTEST_RIM = 5.0
"""Least length of a rim, in diameters. Two touching particles, or a piece of ice, have shorter
edges."""

SMALLEST_RADIUS = 5.0
"""Smallest radius of a hole, in diameters."""

RIM_ROUGHNESS = 0.4
"""Largest root mean square distance of a rim's steepest points from the circle, in diameters. Rims
of holes have half of that."""

FITS = 4
"""Number of circle fits. Each uses the points that lie on the previous circle and step the same
way."""

RIM_SEGMENT, RIM_AGREEMENT = 2.0, 0.75
"""Length of a segment of a rim, in diameters, and the fraction of segments in which brightness must
step the same way at the same place. Chains of particles and the outlines of ice fail this."""

RIM_CONTRAST = 0.5
"""Least step of brightness across a rim, averaged along it, in standard deviations of the noise."""

RIM_FLANKS = 0.75
"""Largest opposite step beside the main step, as a fraction of it. A fringe has half, a filament
has all of it."""

GAUSS_NEWTON_STEPS = 5
STRAIGHT = 1e5
"""Radius of a straight line, in cells."""

RIM_BEYOND = 0.25
"""Largest extension of a rim beyond its ends, as a fraction of its length, plus one diameter. By
then it must have left the image: either the hole is wider than the image, or its whole rim is in
view."""

SMOOTHER = 0.9
"""If the texture behind a rim is less than this fraction of the other side's, it is not film."""

FEW_CELLS = 50
"""Two square diameters: the texture of a smaller area is not reliable."""

TEXTURE_WINDOW = 2.0
"""Side of the square in which the quantile is taken, in diameters."""

LOW = 0.2
"""Quantile of the fine structure: crowded particles leave a fifth of the ice free."""

TEXTURE_RATIO = 1.5
"""Least ratio between the median textures of the two parts, film and ice, of an image."""

TEXTURE_APART = 5.0
"""Least distance between the two parts, in robust standard deviations within one part. The halves
of a single bell curve are 2.2 apart; for film without a visible edge it was ten."""

SMALLEST_FILM = 16.0
"""Smallest area of film that is found by texture, in square diameters."""

MARGIN = 0.5
"""Width by which the film is grown, in diameters, to include the fringe of its rim."""

LEAST_CLEAN = 0.1
"""Least clean fraction of the image: with less there is nothing to compare with."""

MOST_FILM = 0.6
"""Largest fraction of the image that may be film. The majority is the specimen."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """The image, averaged over cells."""

    mean: Image
    """Mean brightness, ``[y, x]``."""

    fine: Image
    """Energy of the fine structure, that is, of the differences between neighbouring pixels."""

    good: Mask
    """True where there is data."""

    side_px: int


@dataclass(frozen=True, slots=True)
class _Circle:
    """A circle, in units of cells."""

    y: float
    x: float
    radius: float


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
    cells = _cells(image, border, max(1, round(diameter_px / CELLS)))
    film = np.zeros(cells.mean.shape, dtype=bool)
    if min(film.shape) < 3 * CELLS or cells.good.mean() < LEAST_CLEAN:
        return np.zeros(image.shape, dtype=bool)
    for rim in _rims(cells):
        film |= _behind(rim, cells)
    clean = cells.good & (block_means(junk.astype(np.float32), cells.side_px) == 0)
    if clean.mean() >= LEAST_CLEAN:
        film |= _textured(cells.fine, clean)
    return from_blocks(film, image.shape, cells.side_px)


def _cells(image: Image, border: Mask, side_px: int) -> _Cells:
    energy = np.zeros_like(image)
    for axis in (0, 1):
        step = np.diff(image, axis=axis)
        step *= step
        energy[: step.shape[0], : step.shape[1]] += step
    bad = block_means(border.astype(np.float32), side_px) > 0
    # Resampling is periodic: the edges of the image contain some of the opposite edge.
    bad[[0, -1]] = bad[:, [0, -1]] = True
    good = ~ndimage.binary_dilation(bad)  # the step at a border is not part of the image
    return _Cells(block_means(image, side_px), block_means(energy, side_px), good, side_px)


# --- the rim -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Rim:
    """A long line with one direction, and the gradient on it."""

    area: Mask
    """True on the cells of the line, ``[y, x]``."""

    y: Grid
    """Row of each cell in ``area``, shape (N,)."""

    x: Grid
    along_y: Grid
    """Gradient along y in each cell, shape (N,)."""

    along_x: Grid


def _rims(cells: _Cells) -> list[_Rim]:
    """Return the long lines along which the gradient points in one direction."""
    smooth = ndimage.gaussian_filter(cells.mean, 1.0)
    along_y, along_x = (ndimage.sobel(smooth, axis) * cells.good for axis in (0, 1))
    energy = along_y**2 + along_x**2
    limit = np.quantile(energy[cells.good], 0.98)  # one black speck must not dominate
    scale = np.sqrt(np.where(energy > limit, limit / np.maximum(energy, limit), np.float32(1)))
    limited_y, limited_x = along_y * scale, along_x * scale
    seen = ndimage.gaussian_filter(cells.good.astype(np.float32), CELLS).clip(0.1)

    def windowed(values: Image) -> Image:
        mean: Image = ndimage.gaussian_filter(values, CELLS) / seen
        return mean

    total = windowed(limited_y**2 + limited_x**2)
    directed = np.hypot(windowed(limited_y**2 - limited_x**2), windowed(2 * limited_y * limited_x))
    usual = float(np.median(total[cells.good]))
    strong = directed / max(usual, float(np.finfo(np.float32).tiny))
    coherent = directed / np.maximum(total, 0.1 * usual)
    wide, core = (
        (strong > e) & (coherent > c) & cells.good
        for e, c in zip(RIM_ENERGY, RIM_COHERENCE, strict=True)
    )
    labels, _ = ndimage.label(wide)
    rims = []
    for number in np.unique(labels[core]).tolist():
        area = labels == number
        y, x = np.nonzero(area)
        if np.hypot(np.ptp(y), np.ptp(x)) >= SHORTEST_RIM * CELLS:
            values = (y, x, along_y[area], along_x[area])
            rims.append(_Rim(area, *(v.astype(np.float64) for v in values)))
    return rims


def _behind(rim: _Rim, cells: _Cells) -> Mask:
    """Return the film behind a rim; nothing if it is not a rim, or if the film is in doubt.

    The circle is not extrapolated far beyond the ends of the rim.
    """
    nothing = np.zeros(rim.area.shape, dtype=bool)
    circle, roughness = _circle_through(rim)
    if roughness > RIM_ROUGHNESS * CELLS:
        return nothing
    off, arc = _round(circle, rim)
    beyond = RIM_BEYOND * float(np.ptp(arc[rim.area])) + CELLS
    begin, end = float(arc[rim.area].min()) - beyond, float(arc[rim.area].max()) + beyond
    near = (arc > begin) & (arc < end)
    line = near & cells.good & (np.abs(off) < 1)
    if (line & ((arc < begin + CELLS) | (arc > end - CELLS))).any():
        return nothing  # the line ends within the image: it is the outline of something else
    step = _step(off, arc, near & (np.abs(off) < 2 * CELLS) & cells.good, cells)
    if step is None:
        return nothing
    outward = (off - step.place) * step.sign  # positive on the film's side
    sides = [cells.fine[cells.good & near & (side > CELLS)] for side in (outward, -outward)]
    if min(map(len, sides)) > FEW_CELLS:
        film, ice = (float(np.quantile(side, LOW)) for side in sides)
        if film < SMOOTHER * ice:
            return nothing
    behind = np.asarray(near & (outward > -MARGIN * CELLS))
    return behind if behind.mean() <= MOST_FILM else nothing


def _round(circle: _Circle, rim: _Rim) -> tuple[Grid, Grid]:
    """Return each cell's distance outside a circle, and its distance along it from the rim."""
    y, x = np.ogrid[: rim.area.shape[0], : rim.area.shape[1]]
    off = np.hypot(y - circle.y, x - circle.x) - circle.radius
    middle = np.arctan2(rim.y.mean() - circle.y, rim.x.mean() - circle.x)
    angle = np.arctan2(y - circle.y, x - circle.x) - middle
    return off, (np.mod(angle + np.pi, 2 * np.pi) - np.pi) * circle.radius


def _circle_through(rim: _Rim) -> tuple[_Circle, float]:
    """Return the circle through a rim's steepest points, and their distance from it.

    A rim has flanks, where brightness returns to normal. They step the other way and are left out.
    """
    weight = rim.along_y**2 + rim.along_x**2
    circle, roughness = _fit_circle(rim.y, rim.x, weight)
    for _ in range(FITS - 1):
        y, x = rim.y - circle.y, rim.x - circle.x
        distance = np.maximum(np.hypot(y, x), 1)
        outward = (rim.along_y * y + rim.along_x * x) / distance
        sign = np.sign((outward**3).sum())
        near = np.abs(distance - circle.radius) < 1.5 * CELLS
        weight = np.maximum(sign * outward, 0) ** 2 * near
        if np.count_nonzero(weight) < CELLS**2:
            return circle, float(np.inf)
        circle, roughness = _fit_circle(rim.y, rim.x, weight)
    return circle, roughness


def _fit_circle(y: Grid, x: Grid, weight: Grid) -> tuple[_Circle, float]:
    """Return the least-squares circle, and the root mean square distance from it.

    The fit starts from Kåsa's circle (least squares of the squared distances, which is linear and
    gives a slightly too small circle), followed by Gauss-Newton steps. The curvature of a short rim
    is uncertain: if the circle would be smaller than a hole, a straight line is used instead.
    """
    root = np.sqrt(weight)
    mean = np.array([np.average(y, weights=weight), np.average(x, weights=weight)])
    points = np.column_stack([y, x]) - mean
    squares = (points**2).sum(axis=1)
    linear = np.column_stack([2 * points, np.ones(len(points))]) * root[:, None]
    solution, *_ = np.linalg.lstsq(linear, squares * root, rcond=1e-8)
    centre = solution[:2]
    radius = float(np.sqrt(max(solution[2] + centre @ centre, 0.0)))
    for _ in range(GAUSS_NEWTON_STEPS):
        distance, away = _distance(points, centre)
        jacobian = np.column_stack([-away, -np.ones(len(away))]) * root[:, None]
        change, *_ = np.linalg.lstsq(jacobian, (radius - distance) * root, rcond=1e-8)
        centre, radius = centre + change[:2], abs(radius + float(change[2]))
    if radius < SMALLEST_RADIUS * CELLS:
        _, axes = np.linalg.eigh((points * weight[:, None]).T @ points)
        centre, radius = STRAIGHT * axes[:, 0], STRAIGHT  # across the chord
    distance, _ = _distance(points, centre)
    roughness = np.sqrt(np.average((distance - radius) ** 2, weights=weight))
    centre_y, centre_x = mean + centre
    return _Circle(float(centre_y), float(centre_x), radius), float(roughness)


def _distance(points: Grid, centre: Grid) -> tuple[Grid, Grid]:
    """Return the distances from a centre, shape (N,), and the directions, shape (N, 2)."""
    away = points - centre
    distance = np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-6)
    return distance, away / distance[:, None]


@dataclass(frozen=True, slots=True)
class _Step:
    """The step of brightness across a rim."""

    place: float
    """Distance outside the circle, in cells."""

    sign: float
    """1 if it is brighter outside the circle, else -1."""


def _step(off: Grid, arc: Grid, near: Mask, cells: _Cells) -> _Step | None:
    """Return where brightness changes most across a rim, or None if it is not the step of a rim.

    The step must be as large as that of a rim and present along its whole length. There must not be
    an equally steep opposite step beside it, as in a filament or a row of particles, which is
    bright between two edges.
    """
    if not near.any():
        return None
    reach = 2 * CELLS
    width = 2 * reach + 1
    piece = np.floor((arc[near] - arc[near].min()) / (RIM_SEGMENT * CELLS)).astype(int)
    where = piece * width + np.rint(off[near]).astype(int) + reach
    size = (int(piece.max()) + 1) * width
    counts = np.bincount(where, minlength=size).reshape(-1, width)
    weights = cells.mean[near].astype(np.float64)
    sums = np.bincount(where, weights=weights, minlength=size).reshape(-1, width)
    change = _change(sums.sum(axis=0), counts.sum(axis=0))
    best = int(np.argmax(np.abs(change)))
    sign = float(np.sign(change[best]))
    change, parts = change * sign, _change(sums, counts)[:, best] * sign
    known = (counts[:, best] > 0) & (counts[:, best + 2] > 0)
    if change[best] < RIM_CONTRAST or -change.min() > RIM_FLANKS * change[best]:
        return None
    if np.mean(parts[known] > 0.5 * RIM_CONTRAST) < RIM_AGREEMENT:
        return None
    return _Step(float(best + 1 - reach), sign)


def _change(sums: NDArray[Any], counts: NDArray[Any]) -> Grid:
    """Return the change of the mean from the previous cell to the next; 0 where unknown."""
    mean = sums / np.maximum(counts, 1)
    known = (counts[..., 2:] > 0) & (counts[..., :-2] > 0)
    return np.where(known, mean[..., 2:] - mean[..., :-2], 0)


# --- the texture -------------------------------------------------------------------------


def _textured(fine: Image, clean: Mask) -> Mask:
    """Return the part with a rougher texture than the rest, if the image has two parts."""
    nothing = np.zeros(clean.shape, dtype=bool)
    width, stride = round(TEXTURE_WINDOW * CELLS), 2
    fine = np.where(clean, fine, np.median(fine[clean]))
    windows = sliding_window_view(fine, (width, width))[::stride, ::stride]
    windows = windows.reshape(*windows.shape[:2], -1)
    rank = int(LOW * width**2)
    low = np.log(np.partition(windows, rank, axis=2)[:, :, rank] + np.finfo(np.float32).tiny)
    known = _whole(clean, width)[::stride, ::stride] > 0.5
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


def _whole(good: Mask, width: int) -> Image:
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

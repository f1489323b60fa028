"""Rims of holes in carbon film, and the film behind them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from livepick.core.imaging.circle_fit import Circle, fit_circle
from livepick.core.imaging.film_cells import CELLS, MOST_FILM, TEXTURE_QUANTILE, Cells

__all__ = ["Rim", "film_behind", "find_rims"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Grid = NDArray[np.float64]

RIM_ENERGY = (0.4, 0.8)
"""Least directed part of the gradient energy, as a fraction of the image's median energy: for a
rim, and for its core."""

RIM_COHERENCE = (0.35, 0.45)
"""Least directed part of the gradient energy, as a fraction of the local energy: for a rim, and for
its core. Random fields of particles stay below 0.4, averaged over a window of one diameter."""

SHORTEST_RIM = 5.0
"""Least length of a rim, in diameters. Two touching particles, or a piece of ice, have shorter
edges."""

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

RIM_BEYOND = 0.25
"""Largest extension of a rim beyond its ends, as a fraction of its length, plus one diameter. By
then it must have left the image: either the hole is wider than the image, or its whole rim is in
view."""

SMOOTHER = 0.9
"""If the texture behind a rim is less than this fraction of the other side's, it is not film."""

SMALLEST_RADIUS = 5.0
"""Smallest radius of a hole, in diameters."""

FEW_CELLS = 50
"""Two square diameters: the texture of a smaller area is not reliable."""

MARGIN = 0.5
"""Width by which the film is grown, in diameters, to include the fringe of its rim."""


@dataclass(frozen=True, slots=True, eq=False)
class Rim:
    """A long line with one direction, and the gradient on it."""

    area: Mask
    """True on the cells of the line, ``[y, x]``."""

    y: Grid
    """Row of each cell in ``area``, shape (N,)."""

    x: Grid
    along_y: Grid
    """Gradient along y in each cell, shape (N,)."""

    along_x: Grid


def find_rims(cells: Cells) -> list[Rim]:
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
            rims.append(Rim(area, *(v.astype(np.float64) for v in values)))
    return rims


def film_behind(rim: Rim, cells: Cells) -> Mask:
    """Return the film behind a rim; nothing if it is not a rim, or if the film is in doubt.

    The circle is not extrapolated far beyond the ends of the rim.
    """
    nothing = np.zeros(rim.area.shape, dtype=bool)
    circle, roughness = _circle_through(rim)
    if roughness > RIM_ROUGHNESS * CELLS:
        return nothing
    off, arc = _polar_position(circle, rim)
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
        film, ice = (float(np.quantile(side, TEXTURE_QUANTILE)) for side in sides)
        if film < SMOOTHER * ice:
            return nothing
    behind = np.asarray(near & (outward > -MARGIN * CELLS))
    return behind if behind.mean() <= MOST_FILM else nothing


def _polar_position(circle: Circle, rim: Rim) -> tuple[Grid, Grid]:
    """Return each cell's distance outside a circle, and its distance along it from the rim."""
    y, x = np.ogrid[: rim.area.shape[0], : rim.area.shape[1]]
    off = np.hypot(y - circle.y, x - circle.x) - circle.radius
    middle = np.arctan2(rim.y.mean() - circle.y, rim.x.mean() - circle.x)
    angle = np.arctan2(y - circle.y, x - circle.x) - middle
    return off, (np.mod(angle + np.pi, 2 * np.pi) - np.pi) * circle.radius


def _circle_through(rim: Rim) -> tuple[Circle, float]:
    """Return the circle through a rim's steepest points, and their distance from it.

    A rim has flanks, where brightness returns to normal. They step the other way and are left out.
    """
    weight = rim.along_y**2 + rim.along_x**2
    circle, roughness = fit_circle(rim.y, rim.x, weight, least_radius=SMALLEST_RADIUS * CELLS)
    for _ in range(FITS - 1):
        y, x = rim.y - circle.y, rim.x - circle.x
        distance = np.maximum(np.hypot(y, x), 1)
        outward = (rim.along_y * y + rim.along_x * x) / distance
        sign = np.sign((outward**3).sum())
        near = np.abs(distance - circle.radius) < 1.5 * CELLS
        weight = np.maximum(sign * outward, 0) ** 2 * near
        if np.count_nonzero(weight) < CELLS**2:
            return circle, float(np.inf)
        circle, roughness = fit_circle(rim.y, rim.x, weight, least_radius=SMALLEST_RADIUS * CELLS)
    return circle, roughness


@dataclass(frozen=True, slots=True)
class _Step:
    """The step of brightness across a rim."""

    place: float
    """Distance outside the circle, in cells."""

    sign: float
    """1 if it is brighter outside the circle, else -1."""


def _step(off: Grid, arc: Grid, near: Mask, cells: Cells) -> _Step | None:
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

"""Least-squares fit of a circle to weighted points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Circle", "fit_circle"]

Grid = NDArray[np.float64]

GAUSS_NEWTON_STEPS = 5
STRAIGHT = 1e5
"""Radius of a straight line, in units of the points."""


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle."""

    y: float
    x: float
    radius: float


def fit_circle(y: Grid, x: Grid, weight: Grid, *, least_radius: float) -> tuple[Circle, float]:
    """Return the least-squares circle, and the root mean square distance from it.

    The fit starts from Kåsa's circle (least squares of the squared distances, which is linear and
    gives a slightly too small circle), followed by Gauss-Newton steps. The curvature of a short arc
    is uncertain: if the radius would be below ``least_radius``, a straight line is used instead.

    ``y``, ``x`` and ``weight`` are vectors of shape (N,).
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
    if radius < least_radius:
        _, axes = np.linalg.eigh((points * weight[:, None]).T @ points)
        centre, radius = STRAIGHT * axes[:, 0], STRAIGHT  # across the chord
    distance, _ = _distance(points, centre)
    roughness = np.sqrt(np.average((distance - radius) ** 2, weights=weight))
    centre_y, centre_x = mean + centre
    return Circle(float(centre_y), float(centre_x), radius), float(roughness)


def _distance(points: Grid, centre: Grid) -> tuple[Grid, Grid]:
    """Return the distances from a centre, shape (N,), and the directions, shape (N, 2)."""
    away = points - centre
    distance = np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-6)
    return distance, away / distance[:, None]

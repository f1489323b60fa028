"""Particles of a scene: where they lie, how they are turned, and their projections.

Among the particles there may be clumps of overlapping ones and molecules of another size, which are
background.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from livepick_trainer.pretrain.specimens import Specimen, random_rotations, random_specimen

__all__ = ["Copies", "add_projections", "clumped", "orientations", "scattered", "strangers"]

FloatArray = NDArray[np.float32]
Array = NDArray[np.float64]
Random = np.random.Generator

MOST_COPIES = 500

STRANGER_POINTS = 400
"""Number of points of a small molecule."""

LARGE_STRANGER_POINTS = 3000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Copies:
    """Copies of one specimen in a scene."""

    specimen: Specimen
    diameter_px: float
    centres: Array
    """Centres (y, x), shape (N, 2), in pixels."""
    rotations: FloatArray
    """Orientations, shape (N, 3, 3)."""
    masses: Array
    """Mass of each copy, shape (N,); an average particle of the scene has 1."""


def scattered(shape: tuple[int, int], diameter_px: float, rng: Random) -> Array:
    """Return centres (y, x): sparse or crowded, even or in clouds, rarely closer than touching."""
    covered = float(np.exp(rng.uniform(np.log(0.015), np.log(0.65))))
    wanted = covered * shape[0] * shape[1] / (np.pi / 4 * diameter_px**2)
    count = int(np.clip(wanted * rng.uniform(0.7, 1.3), 1, MOST_COPIES))
    trials = rng.uniform(0, shape, (3 * count, 2))
    if rng.random() < 0.6:
        clouds = ndimage.zoom(rng.standard_normal((5, 5)), np.asarray(shape) / 5, order=1)
        chance = 1 / (1 + np.exp(-rng.uniform(0.5, 4) * clouds[tuple(trials.astype(int).T)]))
        trials = trials[rng.random(len(trials)) < chance]
    apart = diameter_px * rng.uniform(0.65, 1.15)
    kept = np.ones(len(trials), dtype=bool)
    for first, second in sorted(cKDTree(trials).query_pairs(apart)) if len(trials) else ():
        if kept[first]:
            kept[second] = False
    return np.asarray(trials[kept][:count])


def clumped(
    shape: tuple[int, int], centres: Array, diameter_px: float, rng: Random
) -> tuple[Array, Array]:
    """Return the centres of particles away from a new clump, and the centres of those in it."""
    members = int(rng.integers(4, 16))
    middle = rng.uniform(0, shape)
    spread = 0.25 * diameter_px * np.sqrt(members)
    away = np.linalg.norm(centres - middle, axis=1) > 2 * spread + diameter_px
    return centres[away], middle + rng.normal(0, spread, (members, 2))


def orientations(count: int, rng: Random) -> FloatArray:
    """Return rotations: all of them, or one to three preferred views, turned in the plane."""
    if rng.random() < 0.6:
        return random_rotations(count, rng)
    views = random_rotations(int(rng.integers(1, 4)), rng)
    views = views[rng.integers(len(views), size=count)]
    angle = rng.uniform(0, 2 * np.pi, count)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros(count), np.ones(count)
    turns = np.array([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]).transpose(2, 0, 1)
    return np.asarray(turns @ views, dtype=np.float32)


def strangers(
    shape: tuple[int, int], particles: Copies, structures: Sequence[Array], rng: Random
) -> Copies:
    """Return molecules of another size: pieces of the particle, or other small or large ones."""
    small = rng.random() < 0.75
    factor = float(rng.uniform(0.25, 0.6) if small else rng.uniform(1.7, 3.0))
    mass = factor**3 * float(np.exp(rng.uniform(np.log(0.5), np.log(4))))
    if small and rng.random() < 0.5:
        specimen, factor, mass = _piece(particles.specimen, rng), 1.0, 1.0
    else:
        points = STRANGER_POINTS if small else LARGE_STRANGER_POINTS
        specimen = random_specimen(rng, structures, points=points)
    few = int(rng.integers(1, 4))
    count = int(len(particles.centres) * rng.uniform(0.1, 1.5)) if small else few
    count = min(max(count, 1), MOST_COPIES)
    return Copies(
        specimen=specimen,
        diameter_px=factor * particles.diameter_px,
        centres=rng.uniform(0, shape, (count, 2)),
        rotations=random_rotations(count, rng),
        masses=np.full(count, mass),
    )


def _piece(specimen: Specimen, rng: Random) -> Specimen:
    """Return the part of a specimen beyond a random plane, with its own share of the mass."""
    height = specimen.points @ rng.normal(size=3).astype(np.float32)
    part = height > np.quantile(height, rng.uniform(0.5, 0.85))
    points = specimen.points[part]
    return Specimen(points - points.mean(axis=0), specimen.weights[part], specimen.blur)


def add_projections(plane: FloatArray, copies: Copies) -> None:
    """Add the projected points of each copy, each split between its four nearest pixels."""
    points = copies.specimen.points * np.float32(copies.diameter_px)
    turned = np.einsum("nij,pj->npi", copies.rotations[:, :2], points)
    x, y = (turned + copies.centres[:, None, ::-1].astype(np.float32)).reshape(-1, 2).T
    mass = (copies.masses[:, None] * copies.specimen.weights).astype(np.float32).ravel()
    left, top = np.floor(x), np.floor(y)
    height, width = plane.shape
    inside = (left >= 0) & (top >= 0) & (left < width - 1) & (top < height - 1)
    right, low, mass = (x - left)[inside], (y - top)[inside], mass[inside]
    corner = (top[inside] * width + left[inside]).astype(np.int64)
    for offset, share in (
        (0, (1 - right) * (1 - low)),
        (1, right * (1 - low)),
        (width, (1 - right) * low),
        (width + 1, right * low),
    ):
        added = np.bincount(corner + offset, share * mass, plane.size)
        plane += added.reshape(plane.shape).astype(np.float32)

"""Random specimens: clouds of points in the shapes that proteins and their complexes have.

Diversity matters more than physics here. A network that learned one species well knows nothing of
others, so each scene gets a specimen of its own: compact and hollow, symmetric and not, round, long
and flat. Half of them may come from structure files instead (``structure_files``); small structures
are assembled with a random symmetry, like the subunits of a complex.

All lengths are in units of the longest diameter of the specimen, which is 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Specimen", "random_rotations", "random_specimen"]

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

DIRECTIONS = 100
"""Number of directions in which a specimen is measured for its longest diameter."""

MEASURED_POINTS = 600
"""Number of points that are measured; the outermost ones of all are slightly beyond."""

STRUCTURE_FRACTION = 0.5
"""Fraction of the specimens that come from structure files, if there are any."""

LEAST_WHOLE = 20_000
"""Number of atoms from which a structure is usually large enough to be a specimen of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Specimen:
    """A particle, centred on its centre of mass, with a longest diameter of 1."""

    points: FloatArray
    """Positions ``(x, y, z)``, shape (N, 3)."""

    weights: FloatArray
    """Mass of each point, shape (N,); their sum is 1."""

    blur: float
    """Standard deviation of the Gaussian that stands for one point."""


def random_specimen(
    rng: np.random.Generator, structures: Sequence[Array] = (), *, points: int = 1500
) -> Specimen:
    """Return a random specimen.

    Parameters
    ----------
    rng
        Source of all randomness.
    structures
        Atoms of known structures, each (N, 3); may be empty.
    points
        Number of points, about. Their blur is chosen so that they do not show as points.
    """
    if structures and rng.random() < STRUCTURE_FRACTION:
        atoms = structures[int(rng.integers(len(structures)))]
        cloud = _from_structure(atoms, points, rng)
        lumpiness = 0.0
    else:
        cloud = _SHAPES[int(rng.integers(len(_SHAPES)))](points, rng)
        lumpiness = float(rng.uniform(0, 1))
    # Shuffled, because the number of an assembly's points depends on its symmetry.
    cloud = cloud[rng.permutation(len(cloud))[:points]]
    cloud = cloud / _longest_diameter(cloud, rng)
    weights = _lumpy_weights(cloud, lumpiness, rng)
    weights /= weights.sum()
    cloud = cloud - weights @ cloud
    # Distance between neighbours if the points filled half of a ball of diameter 1.
    spacing = float(np.cbrt(0.25 / len(cloud)))
    return Specimen(cloud.astype(np.float32), weights.astype(np.float32), 0.7 * spacing)


def random_rotations(count: int, rng: np.random.Generator) -> FloatArray:
    """Return rotation matrices, uniform over all orientations, shape (count, 3, 3).

    A normalized quaternion of four normal deviates is uniformly distributed over all rotations.
    """
    w, x, y, z = (q := rng.normal(size=(4, count))) / np.linalg.norm(q, axis=0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows, dtype=np.float32).transpose(2, 0, 1)


def _longest_diameter(cloud: Array, rng: np.random.Generator) -> float:
    """Return the largest extent over random directions."""
    directions = rng.normal(size=(3, DIRECTIONS))
    along = cloud[:MEASURED_POINTS] @ (directions / np.linalg.norm(directions, axis=0))
    return float(np.ptp(along, axis=0).max())


def _lumpy_weights(cloud: Array, lumpiness: float, rng: np.random.Generator) -> Array:
    """Return weights that are larger near some of the points, like domains in a protein."""
    if not lumpiness:
        return np.ones(len(cloud))
    lumps = cloud[rng.choice(len(cloud), int(rng.integers(6, 40)), replace=False)]
    distance, _ = cKDTree(lumps).query(cloud)
    width = rng.uniform(0.04, 0.12)
    return np.asarray(1 - lumpiness + lumpiness * np.exp(-(distance**2) / (2 * width**2)))


# --- solids --------------------------------------------------------------------------------------


def _ball(count: int, rng: np.random.Generator, *, hollow: float = 0.0) -> Array:
    """Return points in a ball of radius 1, or in its shell outside the radius ``hollow``."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(direction * np.cbrt(rng.uniform(hollow**3, 1, (count, 1))))


def _tube(count: int, rng: np.random.Generator, *, hollow: float, length: float) -> Array:
    """Return points in a cylinder of radius 1 along z, or in its wall."""
    radius = np.sqrt(rng.uniform(hollow**2, 1, count))
    angle = rng.uniform(0, 2 * np.pi, count)
    z = rng.uniform(-0.5 * length, 0.5 * length, count)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


def _domains(count: int, rng: np.random.Generator, number: int | None = None) -> Array:
    """Return a chain of touching ellipsoids, each in a random direction from an earlier one."""
    number = int(rng.integers(1, 7)) if number is None else number
    axes = rng.uniform(0.5, 1.3, (number, 3))
    centres = np.zeros((number, 3))
    for i in range(1, number):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        parent = int(rng.integers(i))
        reach = 0.8 * (axes[i].mean() + axes[parent].mean())
        centres[i] = centres[parent] + reach * direction
    which = rng.choice(number, count, p=(volume := axes.prod(axis=1)) / volume.sum())
    return _ball(count, rng) * axes[which] + centres[which]


# --- symmetry ------------------------------------------------------------------------------------


def _cyclic(fold: int) -> Array:
    """Return the rotations of an n-fold axis along z."""
    angles = 2 * np.pi * np.arange(fold) / fold
    zero, one = np.zeros(fold), np.ones(fold)
    cos, sin = np.cos(angles), np.sin(angles)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]
    return np.array(rows).transpose(2, 0, 1)


def _dihedral(fold: int) -> Array:
    """Return the rotations of an n-fold axis along z with two-fold axes perpendicular to it."""
    turns = _cyclic(fold)
    return np.concatenate([turns, turns @ np.diag([1.0, -1.0, -1.0])])


def _octahedral() -> Array:
    """Return the 24 rotations of a cube: signed permutations of the axes that keep handedness."""
    matrices = [
        np.diag(signs)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    return np.array([matrix for matrix in matrices if np.linalg.det(matrix) > 0])


def _tetrahedral() -> Array:
    """Return the 12 rotations of a tetrahedron: the even permutations among those of a cube."""
    return np.array([m for m in _octahedral() if np.linalg.det(np.abs(m)) > 0])


def _random_symmetry(rng: np.random.Generator) -> Array:
    """Return the rotations of a random point group; small cyclic ones are the most common."""
    kind = rng.random()
    if kind < 0.5:
        return _cyclic(int(rng.integers(2, 9)))
    if kind < 0.85:
        return _dihedral(int(rng.integers(2, 8)))
    return _octahedral() if kind < 0.95 else _tetrahedral()


def _assembled(unit: Array, rng: np.random.Generator) -> Array:
    """Return copies of a centred unit around the axes of a random symmetry, about touching."""
    rotations = _random_symmetry(rng)
    unit = unit @ random_rotations(1, rng)[0].T
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    where = rotations @ direction
    gaps = np.linalg.norm(where[1:] - where[0], axis=1)
    width = 2 * float(np.quantile(np.linalg.norm(unit, axis=1), 0.8))
    reach = rng.uniform(0.7, 1.05) * width / max(float(gaps.min()), 0.25)
    placed = unit + reach * direction
    return np.asarray((placed @ rotations.transpose(0, 2, 1)).reshape(-1, 3))


# --- kinds of specimens --------------------------------------------------------------------------


def _globule(count: int, rng: np.random.Generator) -> Array:
    """Return one body of several domains."""
    return _domains(count, rng)


def _assembly(count: int, rng: np.random.Generator) -> Array:
    """Return several equal subunits."""
    unit = _domains(max(60, count // 8), rng, number=int(rng.integers(1, 4)))
    return _assembled(unit - unit.mean(axis=0), rng)


def _shell(count: int, rng: np.random.Generator) -> Array:
    """Return a hollow ball, round or not, sometimes with a core."""
    shell = _ball(count, rng, hollow=rng.uniform(0.5, 0.88)) * rng.uniform(0.75, 1, 3)
    if rng.random() < 0.3:
        core = _ball(int(count * rng.uniform(0.2, 0.8)), rng) * rng.uniform(0.3, 0.6)
        shell = np.concatenate([shell, core])
    return shell


def _barrel(count: int, rng: np.random.Generator) -> Array:
    """Return a ring or a barrel with a hole, sometimes with a waist or a closed end."""
    length = rng.uniform(0.3, 2.6)
    barrel = _tube(count, rng, hollow=rng.uniform(0.2, 0.75), length=length)
    if rng.random() < 0.5:
        waist = rng.uniform(-0.25, 0.25) * np.cos(2 * np.pi * barrel[:, 2] / length)
        barrel[:, :2] *= 1 + waist[:, None]
    if rng.random() < 0.3:
        cap = _ball(count // 4, rng) * (0.8, 0.8, 0.3) + (0, 0, 0.5 * length)
        barrel = np.concatenate([barrel, cap])
    return barrel


def _rod(count: int, rng: np.random.Generator) -> Array:
    """Return a straight or bent rod."""
    rod = _tube(count, rng, hollow=0.0, length=rng.uniform(3, 8))
    rod[:, 0] += rng.uniform(0, 0.08) * rod[:, 2] ** 2
    return rod


def _disc(count: int, rng: np.random.Generator) -> Array:
    """Return a flat belt, like that of a membrane protein, with domains on one or both sides."""
    belt = _ball(count // 2, rng) * (1.0, rng.uniform(0.7, 1), rng.uniform(0.25, 0.5))
    parts = [belt]
    for side in (1, -1)[: int(rng.integers(1, 3))]:
        body = _domains(count // 3, rng, number=int(rng.integers(1, 4))) * rng.uniform(0.25, 0.5)
        body[:, 2] += side * (0.3 + np.ptp(body[:, 2]) / 2)
        parts.append(body)
    return np.concatenate(parts)


def _arms(count: int, rng: np.random.Generator) -> Array:
    """Return two to four arms from one centre, such as an L or a Y."""
    number = int(rng.integers(2, 5))
    parts = []
    for _ in range(number):
        arm = _tube(count // number, rng, hollow=0.0, length=1.0) * (0.28, 0.28, 1.0)
        arm[:, 2] += 0.45
        arm[:, 2] *= rng.uniform(0.6, 1.2)
        parts.append(arm @ random_rotations(1, rng)[0].T)
    return np.concatenate(parts)


_SHAPES: tuple[Callable[[int, np.random.Generator], Array], ...] = (
    _globule,
    _globule,
    _assembly,
    _assembly,
    _assembly,
    _shell,
    _barrel,
    _rod,
    _disc,
    _arms,
)


def _from_structure(atoms: Array, count: int, rng: np.random.Generator) -> Array:
    """Return a cloud of a known structure, or of an assembly of copies of it."""
    chosen: Array = atoms[rng.choice(len(atoms), min(count, len(atoms)), replace=False)]
    chosen = np.asarray(chosen - chosen.mean(axis=0))
    if rng.random() < (0.2 if len(atoms) >= LEAST_WHOLE else 0.6):
        return _assembled(chosen[: max(100, count // 6)], rng)
    return chosen

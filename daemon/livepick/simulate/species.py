"""Molecules: clouds of pseudo-atoms with the size, mass and symmetry of well-known particles.

A cloud of points needs neither a volume nor interpolation: for a projection at any orientation and
sub-pixel shift, the rotated points are dropped on a grid and blurred. The shapes are generated, so
no data files are needed. They are lumpy on the scale of domains, as protein is, and the same in
every session.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPECIES", "Specimen", "random_rotations", "specimen"]

FloatArray = NDArray[np.float32]

ANGSTROM3_PER_DALTON = 1.21
"""Volume of protein: 0.73 cm³/g."""


@dataclass(frozen=True, slots=True, eq=False)
class Specimen:
    """A molecule, centred on its centre of mass."""

    name: str
    diameter_angstrom: float
    """Longest diameter, as a user would configure it."""

    mass_kda: float
    points_angstrom: FloatArray
    """Pseudo-atoms of equal weight, shape (N, 3) as (x, y, z)."""

    blur_angstrom: float
    """Standard deviation of the Gaussian that represents a pseudo-atom."""

    @property
    def volume_angstrom3(self) -> float:
        """Volume from which the molecule displaces water."""
        return self.mass_kda * 1e3 * ANGSTROM3_PER_DALTON


def random_rotations(count: int, rng: np.random.Generator) -> FloatArray:
    """Return random rotation matrices, uniform over all orientations; shape (count, 3, 3).

    A normalized quaternion of four normal deviates is uniformly distributed over all rotations.
    """
    w, x, y, z = (q := rng.normal(size=(4, count))) / np.linalg.norm(q, axis=0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows, dtype=np.float32).transpose(2, 0, 1)


def _inside(
    shape: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
    reach_angstrom: float,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return points that fill ``shape`` in lumps of the size of a protein domain."""
    from scipy.spatial import cKDTree  # noqa: PLC0415 - only a simulation needs it

    kept = np.zeros((0, 3))
    lumps = np.zeros((0, 3))
    while len(lumps) < count // 12:
        trial = rng.uniform(-reach_angstrom, reach_angstrom, (4000, 3))
        lumps = np.concatenate([lumps, trial[shape(trial)]])[: count // 12]
    tree = cKDTree(lumps)
    while len(kept) < count:
        trial = rng.uniform(-reach_angstrom, reach_angstrom, (20 * count, 3))
        trial = trial[shape(trial)]
        gap2 = tree.query(trial)[0] ** 2
        # Dense in the lumps and thin between them, like helices and the water in the clefts.
        keep = rng.uniform(size=len(trial)) < 0.15 + 0.85 * np.exp(-gap2 / (2 * 9.0**2))
        kept = np.concatenate([kept, trial[keep]])
    return kept[:count]


def _octahedral() -> NDArray[np.float64]:
    """Return the 24 rotations of a cube: signed permutations of the axes that keep handedness."""
    matrices = [
        np.diag(signs)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    return np.array([matrix for matrix in matrices if np.linalg.det(matrix) > 0])


def _cyclic(fold: int) -> NDArray[np.float64]:
    """Return the rotations of an n-fold axis along z."""
    angles = 2 * np.pi * np.arange(fold) / fold
    return np.array(
        [
            [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
            for a in angles.tolist()
        ]
    )


def _dihedral(fold: int) -> NDArray[np.float64]:
    """Return the rotations of an n-fold axis along z with two-fold axes perpendicular to it."""
    turns = _cyclic(fold)
    return np.concatenate([turns, turns @ np.diag([1.0, -1.0, -1.0])])


def _symmetric(unit: NDArray[np.float64], rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    everything: NDArray[np.float64] = np.einsum("gij,nj->gni", rotations, unit).reshape(-1, 3)
    return everything


def _ellipsoid(
    points: NDArray[np.float64],
    centre: tuple[float, float, float],
    axes: tuple[float, float, float],
) -> NDArray[np.bool_]:
    scaled = (points - np.array(centre)) / np.array(axes)
    return np.asarray((scaled**2).sum(axis=1) < 1)


def _apoferritin(rng: np.random.Generator) -> NDArray[np.float64]:
    """Tile a shell from 39 to 62 Å with 24 subunits; the eight 3-fold axes are open."""

    def subunit(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        radius = np.linalg.norm(p, axis=1)
        threefold = p @ np.array([1, 1, 1]) / np.sqrt(3) / np.maximum(radius, 1)
        shell = (radius > 39) & (radius < 62) & (threefold < 0.985)
        return np.asarray(shell & (p > 0).all(axis=1))

    unit = _inside(subunit, 62, 130, rng)
    return _symmetric(unit, _octahedral())


def _beta_galactosidase(rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrange four chains (D2) in a flat diamond, 180 by 130 by 90 Å."""

    def chain(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        core = _ellipsoid(p, (38, 26, 12), (50, 36, 30))
        arm = _ellipsoid(p, (70, 6, -6), (20, 16, 20))
        cleft = _ellipsoid(p, (30, 50, 20), (16, 16, 16))
        return (core | arm) & ~cleft

    return _symmetric(_inside(chain, 95, 800, rng), _dihedral(2))


def _proteasome(rng: np.random.Generator) -> NDArray[np.float64]:
    """Stack four rings (D7) into a barrel, 150 by 115 Å, with three chambers inside."""

    def ring_pair(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        rho = np.hypot(p[:, 0], p[:, 1])
        chamber = 12 + 16 * np.abs(np.cos(np.pi * p[:, 2] / 50))
        wall = 57 - 6 * np.abs(np.sin(np.pi * p[:, 2] / 37.5))
        sector = np.abs(np.arctan2(p[:, 1], p[:, 0])) < 2.6 * np.pi / 14
        wall_of_ring = (rho > chamber) & (rho < wall) & (p[:, 2] > 0) & (p[:, 2] < 75) & sector
        return np.asarray(wall_of_ring)

    return _symmetric(_inside(ring_pair, 75, 260, rng), _dihedral(7))


def _ribosome(rng: np.random.Generator) -> NDArray[np.float64]:
    """Join two different lobes (no symmetry), 250 Å across, with stalks and a cleft."""

    def lobes(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        large = _ellipsoid(p, (0, -30, 0), (100, 76, 88)) & (p[:, 1] < 20)
        stalks = _ellipsoid(p, (98, -10, 12), (30, 14, 16)) | _ellipsoid(
            p, (-90, -8, -20), (30, 18, 20)
        )
        crown = _ellipsoid(p, (4, -10, 84), (26, 30, 26))
        body = _ellipsoid(p, (-6, 56, -22), (64, 30, 70))
        head = _ellipsoid(p, (10, 62, 62), (52, 34, 36))
        cleft = _ellipsoid(p, (0, 26, 20), (90, 9, 40))
        return (large | stalks | crown | body | head) & ~cleft

    return _inside(lobes, 130, 6000, rng)


def _spike(rng: np.random.Generator) -> NDArray[np.float64]:
    """Place three chains (C3) side by side, each with a head, two knobs and a long stalk."""

    def chain(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        head = _ellipsoid(p, (32, 0, 32), (26, 24, 34))
        knobs = _ellipsoid(p, (50, 18, 38), (20, 18, 20)) | _ellipsoid(
            p, (16, 10, 62), (16, 16, 16)
        )
        stalk = _ellipsoid(p, (10, 0, -38), (11, 11, 42))
        return np.asarray(head | knobs | stalk)

    return _symmetric(_inside(chain, 85, 400, rng), _cyclic(3))


def _polymerase(rng: np.random.Generator) -> NDArray[np.float64]:
    """Build a claw of two different pincers (no symmetry), 110 Å across."""

    def claw(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        pincers = _ellipsoid(p, (-18, 4, 0), (26, 44, 30)) | _ellipsoid(
            p, (22, 10, 6), (20, 40, 24)
        )
        base = _ellipsoid(p, (0, -34, -4), (36, 18, 28))
        tip = _ellipsoid(p, (30, 42, -14), (12, 12, 14))
        cleft = _ellipsoid(p, (2, 28, 4), (9, 36, 40))
        return (pincers | base | tip) & ~cleft

    return _inside(claw, 62, 2200, rng)


_Make = Callable[[np.random.Generator], NDArray[np.float64]]

_RECIPES: Final[dict[str, tuple[float, float, _Make]]] = {
    # name: longest diameter in ångström, mass in kDa, shape
    "apoferritin": (125.0, 480.0, _apoferritin),
    "beta-galactosidase": (180.0, 465.0, _beta_galactosidase),
    "proteasome": (155.0, 730.0, _proteasome),
    # RNA scatters more than protein of the same mass, so the ribosome is given more.
    "ribosome": (260.0, 3200.0, _ribosome),
    "spike": (150.0, 440.0, _spike),
    "polymerase": (110.0, 390.0, _polymerase),
}

SPECIES: Final = tuple(_RECIPES)
"""Names of the molecules that can be simulated."""


@cache
def specimen(name: str) -> Specimen:
    """Return a molecule by its name, one of ``SPECIES``."""
    diameter_angstrom, mass_kda, make = _RECIPES[name]
    points = make(np.random.default_rng(list(name.encode())))
    points -= points.mean(axis=0)
    volume_per_point = mass_kda * 1e3 * ANGSTROM3_PER_DALTON / len(points)
    return Specimen(
        name=name,
        diameter_angstrom=diameter_angstrom,
        mass_kda=mass_kda,
        points_angstrom=points.astype(np.float32),
        blur_angstrom=0.7 * float(np.cbrt(volume_per_point)),
    )

"""The field: positions of particles, aggregates, crystals and carbon in one micrograph.

Everything is in ångström from the centre of the first pixel, with x along the rows. Objects may lie
outside the image, because real particles may be cut by the border. This module only has numbers;
``exposure`` turns them into potential.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick.simulate.optics import Optics
from livepick.simulate.species import random_rotations

__all__ = ["Carbon", "Crystal", "Field", "Junk", "Session", "lay_out"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Junk:
    """Frequency of objects that are not particles. Probabilities are per micrograph."""

    crystal_probability: float = 0.45
    """Probability of contamination: one to five dark blobs."""

    crystal_size_angstrom: tuple[float, float] = (250.0, 800.0)
    carbon_probability: float = 0.2
    """Probability that the edge of the carbon film is in view."""

    aggregate_probability: float = 0.5
    """Probability of one to three clumps of overlapping particles or unfolded protein."""

    fragment_fraction: float = 0.06
    """Number of broken particles per whole one."""

    empty_probability: float = 0.04
    """Probability that there are no particles."""

    @classmethod
    def none(cls) -> "Junk":
        """Return settings without any junk."""
        return cls(
            crystal_probability=0,
            carbon_probability=0,
            aggregate_probability=0,
            fragment_fraction=0,
            empty_probability=0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Settings that all micrographs of a simulated session share."""

    species: str = "apoferritin"
    shape_px: tuple[int, int] = (1024, 1024)
    """Height and width."""

    pixel_size_angstrom: float = 2.0
    particles_per_micrograph: float | None = None
    """Average number of particles; None: enough to cover about a third of the area."""

    signal_to_noise: float = 0.08
    """Variance of the particles within their disc, divided by that of the shot noise, at 1.5 µm."""

    closest_fraction: float = 0.95
    """Least distance between particles, centre to centre, as a fraction of the diameter."""

    defocus_angstrom: tuple[float, float] = (8_000.0, 25_000.0)
    astigmatism_angstrom: float = 400.0
    ice_angstrom: tuple[float, float] = (250.0, 600.0)
    """Range of the ice thickness in the middle of the image, in ångström."""

    junk: Junk = Junk()
    dead_border_px: int = 0
    """Rows and columns at the border that repeat the last good ones."""

    seed: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """A piece of crystalline ice or frozen ethane on the film: dark, with a sharp edge."""

    x_angstrom: float
    y_angstrom: float
    radius_angstrom: float
    harmonics: FloatArray
    """Shape (K, 2): cosine and sine terms of the outline, from the second harmonic on."""


@dataclass(frozen=True, slots=True)
class Carbon:
    """The film outside a round hole, that is, beyond the radius from the centre of the hole."""

    x_angstrom: float
    y_angstrom: float
    hole_radius_angstrom: float
    thickness_angstrom: float


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One micrograph before the exposure."""

    optics: Optics
    ice_angstrom: float
    ice_slope: tuple[float, float]
    """Change of the ice thickness across the image in x and y, as a fraction of the thickness."""

    particles_angstrom: FloatArray
    """Centres (x, y), shape (N, 2), including those in the margin."""

    rotations: FloatArray
    """Orientations, shape (N, 3, 3)."""

    clumped_angstrom: FloatArray
    """Centres of particles inside aggregates, which should not be picked; shape (M, 2)."""

    clumped_rotations: FloatArray
    fragments_angstrom: FloatArray
    """Centres of broken particles, shape (F, 2)."""

    fragment_rotations: FloatArray
    lumps: FloatArray
    """Lumps of unfolded protein, shape (L, 4): x, y and radius in ångström, and mass as a multiple
    of the mass of a particle."""

    crystals: tuple[Crystal, ...]
    carbon: Carbon | None

    @property
    def empty(self) -> bool:
        """True if there are no particles."""
        return len(self.particles_angstrom) == 0


def default_particles(session: Session, diameter_angstrom: float) -> float:
    """Return the number of particles per micrograph that covers 35 % of the area."""
    height, width = session.shape_px
    area = height * width * session.pixel_size_angstrom**2
    return 0.35 * area / (math.pi / 4 * diameter_angstrom**2)


def lay_out(
    session: Session, diameter_angstrom: float, margin_angstrom: float, rng: np.random.Generator
) -> Field:
    """Return a random field of the session, with particles up to ``margin_angstrom`` outside."""
    size = np.array(session.shape_px[::-1]) * session.pixel_size_angstrom  # (x, y)
    junk = session.junk
    empty = rng.uniform() < junk.empty_probability
    carbon = _carbon(size, rng) if rng.uniform() < junk.carbon_probability else None
    crystals = _crystals(size, junk, rng) if rng.uniform() < junk.crystal_probability else ()

    many = session.particles_per_micrograph
    mean = default_particles(session, diameter_angstrom) if many is None else many
    mean *= float(np.prod(1 + 2 * margin_angstrom / size))
    count = 0 if empty else int(mean * np.clip(rng.normal(1, 0.25), 0.2, 2))

    taken = _Taken(size, margin_angstrom, carbon, crystals, rng)
    aggregates = int(rng.integers(1, 4)) if rng.uniform() < junk.aggregate_probability else 0
    clumped, lumps = _aggregates(0 if empty else aggregates, taken, diameter_angstrom, rng)
    closest = session.closest_fraction * diameter_angstrom
    particles = taken.scatter(count, closest)
    fragments = taken.scatter(int(rng.poisson(junk.fragment_fraction * count)), 0.8 * closest)
    return Field(
        optics=_optics(session, rng),
        ice_angstrom=float(rng.uniform(*session.ice_angstrom)),
        ice_slope=(float(rng.normal(0, 0.15)), float(rng.normal(0, 0.15))),
        particles_angstrom=particles,
        rotations=random_rotations(len(particles), rng),
        clumped_angstrom=clumped,
        clumped_rotations=random_rotations(len(clumped), rng),
        fragments_angstrom=fragments,
        fragment_rotations=random_rotations(len(fragments), rng),
        lumps=lumps,
        crystals=crystals,
        carbon=carbon,
    )


def _optics(session: Session, rng: np.random.Generator) -> Optics:
    defocus = rng.uniform(*session.defocus_angstrom)
    half = 0.5 * rng.uniform(0, session.astigmatism_angstrom)
    return Optics(
        defocus_u_angstrom=float(defocus + half),
        defocus_v_angstrom=float(defocus - half),
        astigmatism_angle_rad=float(rng.uniform(0, math.pi)),
        amplitude_contrast=float(rng.uniform(0.07, 0.1)),
    )


def _carbon(size: NDArray[np.float64], rng: np.random.Generator) -> Carbon:
    """Return a film whose edge cuts off a corner or a side, at most a third of the image."""
    radius = float(rng.uniform(4_000, 9_000))
    angle = rng.uniform(0, 2 * math.pi)
    direction = np.array([math.cos(angle), math.sin(angle)])
    # Extent of the image in that direction, and how far the carbon extends into it.
    reach = float(np.abs(direction * size / 2).sum())
    depth = rng.uniform(0.15, 0.5) * float(size.min())
    centre = size / 2 + direction * (reach - depth - radius)
    return Carbon(float(centre[0]), float(centre[1]), radius, float(rng.uniform(120, 220)))


def _crystals(
    size: NDArray[np.float64], junk: Junk, rng: np.random.Generator
) -> tuple[Crystal, ...]:
    low, high = junk.crystal_size_angstrom
    made = []
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.uniform(0, size)
        order = np.arange(2, 7)[:, None]
        harmonics = rng.normal(0, 0.15, (5, 2)) / order
        radius = 0.5 * low * (high / low) ** rng.uniform()  # small ones are more common
        made.append(Crystal(float(x), float(y), float(radius), harmonics.astype(np.float32)))
    return tuple(made)


def _aggregates(
    count: int, taken: "_Taken", diameter_angstrom: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return clumped particles (M, 2) and lumps of unfolded protein (L, 4)."""
    clumped, lumps = [np.zeros((0, 2))], [np.zeros((0, 4))]
    for _ in range(count):
        members = int(rng.integers(4, 14))
        spread = 0.42 * diameter_angstrom * math.sqrt(members)
        place = taken.scatter(1, diameter_angstrom + spread)
        if not len(place):
            continue
        if rng.uniform() < 0.65:
            clumped.append(place + rng.normal(0, 0.5 * spread, (members, 2)))
        pieces = int(rng.integers(3, 9))
        where = place + rng.normal(0, 0.4 * spread, (pieces, 2))
        size = rng.uniform(0.4, 1.2, (pieces, 1))
        mass = rng.uniform(0.3, 0.8, (pieces, 1)) * size**3
        lumps.append(np.hstack([where, 0.5 * size * diameter_angstrom, mass]))
    return (np.concatenate(clumped).astype(np.float32), np.concatenate(lumps).astype(np.float32))


class _Taken:
    """Dart throwing that keeps a distance from the places already taken.

    The probability of a place follows a smooth random density, because real particles gather in
    bands, leave gaps, and are never spread evenly.
    """

    def __init__(
        self,
        size: NDArray[np.float64],
        margin: float,
        carbon: Carbon | None,
        crystals: tuple[Crystal, ...],
        rng: np.random.Generator,
    ) -> None:
        self._size, self._margin, self._rng = size, margin, rng
        self._carbon, self._crystals = carbon, crystals
        self._places = np.zeros((0, 2))
        self._keep_off = np.zeros(0)
        self._waves = rng.normal(0, 2.2 / float(size.mean()), (4, 2))
        self._phases = rng.uniform(0, 2 * math.pi, 4)
        self._unevenness = float(rng.uniform(0.1, 0.5))

    def scatter(self, count: int, distance: float) -> FloatArray:
        """Return up to ``count`` new places (x, y), apart from each other and the taken ones."""
        new: list[NDArray[np.float64]] = []
        trials = self._rng.uniform(-self._margin, self._size + self._margin, (40 * count, 2))
        luck = self._rng.uniform(size=len(trials))
        for trial in trials[luck < self._density(trials)]:
            if len(new) == count:
                break
            apart = np.maximum(0.5 * (self._keep_off + distance), 1)
            away2 = ((self._places - trial) ** 2).sum(axis=1)
            if (away2 >= apart**2).all():
                new.append(trial)
                self._places = np.vstack([self._places, trial])
                self._keep_off = np.append(self._keep_off, distance)
        return np.array(new, dtype=np.float32).reshape(-1, 2)

    def _density(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        waves = np.cos(2 * math.pi * places @ self._waves.T + self._phases).mean(axis=1)
        density: NDArray[np.float64] = np.clip(
            1 - self._unevenness + 2 * self._unevenness * waves, 0, 1
        )
        if self._carbon is not None:
            centre = (self._carbon.x_angstrom, self._carbon.y_angstrom)
            off = np.hypot(*(places - centre).T)
            density[off > self._carbon.hole_radius_angstrom - 40] = 0
        for crystal in self._crystals:
            off = np.hypot(*(places - (crystal.x_angstrom, crystal.y_angstrom)).T)
            density[off < crystal.radius_angstrom + 50] = 0
        return density

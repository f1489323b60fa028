"""Simulated sessions for the drift benchmark, which vary between grid squares as on a real grid.

A session is a sequence of grid squares with 12 to 30 micrographs each. Each square has its own
particle density and ice, and each micrograph varies around the values of its square, as in
``livepick.simulate.field``. So neighbouring micrographs are similar, and squares differ. Every
session draws its own squares and micrographs. They are picked by the real worker with a bundle that
the real trainer made on a separate session; the picks are kept in a folder.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from ablation import Material, Step, blob_seeds, train

from livepick.core.contracts.job import Job
from livepick.core.evaluation.drift_test import Picked
from livepick.picking.worker import pick
from livepick.simulate.exposure import Simulated, simulate_micrograph
from livepick.simulate.field import Junk, Session, default_particles
from livepick.simulate.species import specimen

SPECIES = "apoferritin"
LEARNED_FROM = 20
JUNK = Junk(
    crystal_probability=0.25,
    crystal_size_angstrom=(200.0, 400.0),
    carbon_probability=0.1,
    aggregate_probability=0.3,
)
BASE = Session(
    species=SPECIES,
    shape_px=(512, 512),
    pixel_size_angstrom=3.0,
    signal_to_noise=0.12,
    defocus_angstrom=(10_000, 20_000),
    junk=JUNK,
)
"""Session with a small field and less junk than by default, because a crystal covers more of it
than of a whole detector. The microscope cycles through its defocus values within each square."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a session after a given number of micrographs."""

    after: int | None = None
    species: str = SPECIES
    same_number: bool = False
    """True if the other specimen has as many particles as the first; otherwise it covers as much
    area."""
    density: float = 1.0


def micrographs(
    seed: int, count: int, change: Change, *, square_sigma: float, first: int = 0
) -> Iterator[Simulated]:
    """Yield micrographs ``first`` to ``count`` of a session.

    ``square_sigma`` is the standard deviation of the logarithm of the squares' densities.
    """
    rng = np.random.default_rng([seed, 77])
    left, square = 0, BASE
    for index in range(count):
        if left == 0:
            left, square = _square(seed, square_sigma, rng)
        left -= 1
        if index < first:
            continue
        session = square
        if change.after is not None and index >= change.after:
            session = _changed(square, change)
        yield simulate_micrograph(session, index)


def _square(seed: int, sigma: float, rng: np.random.Generator) -> tuple[int, Session]:
    """Return the number of micrographs in the next square, and their common settings."""
    mean = default_particles(BASE, specimen(SPECIES).diameter_angstrom)
    ice = rng.uniform(280, 420)
    return int(rng.integers(12, 31)), dataclasses.replace(
        BASE,
        seed=seed,
        particles_per_micrograph=mean * float(np.exp(rng.normal(0, sigma))),
        ice_angstrom=(ice - 40, ice + 40),
    )


def _changed(square: Session, change: Change) -> Session:
    number = square.particles_per_micrograph
    assert number is not None
    if not change.same_number:
        old, new = (specimen(s).diameter_angstrom for s in (SPECIES, change.species))
        number *= (old / new) ** 2
    return dataclasses.replace(
        square, species=change.species, particles_per_micrograph=number * change.density
    )


# --- picking -------------------------------------------------------------------------------------


def picked(  # noqa: PLR0917
    name: str, bundle: Path, work: Path, seed: int, count: int, change: Change, **how: Any
) -> list[Picked]:
    """Return the picks of the bundle in a session; read from ``work`` if they are there."""
    place = work / f"picks-{how['square_sigma']:.2f}" / name
    place.mkdir(parents=True, exist_ok=True)
    first = how.get("first", 0)
    missing = [i for i in range(first, count) if not (place / f"{i:04d}.npz").exists()]
    if missing:
        how["first"] = missing[0]
        for made in micrographs(seed, count, change, **how):
            _pick(made, bundle, place / f"{made.index:04d}.npz")
    return [_load(place / f"{index:04d}.npz") for index in range(first, count)]


def _pick(made: Simulated, bundle: Path, kept: Path) -> None:
    image = kept.with_suffix(".mrc")
    with mrcfile.new(image, made.image, overwrite=True) as mrc:
        mrc.voxel_size = BASE.pixel_size_angstrom
    found = pick(Job(path=image, version=None, bundle=bundle))
    image.unlink()
    np.savez(
        kept,
        score=found.picks.score,
        threshold=found.threshold,
        masked=found.quality.masked_fraction,
        truth=len(made.truth),
    )


def _load(kept: Path) -> Picked:
    with np.load(kept) as data:
        score = data["score"]
        return Picked(score[score >= data["threshold"]], float(data["masked"]))


def trained_bundle(work: Path) -> Path:
    """Return a bundle for this specimen, trained once on a session that no case uses."""
    published = work / "trained" / "models" / "0001"
    if published.is_dir():
        return published
    place = work / "learned-from"
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for made in micrographs(9_000, LEARNED_FROM, Change(), square_sigma=0.1):
        files.append(place / f"learned_{made.index:04d}.mrc")
        with mrcfile.new(files[-1], made.image, overwrite=True) as mrc:
            mrc.voxel_size = BASE.pixel_size_angstrom
    diameter = specimen(SPECIES).diameter_angstrom
    material = Material(
        name="drift",
        micrographs=files,
        truth=[],
        pixel_size_angstrom=BASE.pixel_size_angstrom,
        diameter_angstrom=diameter,
        radius_angstrom=diameter / 4,
    )
    _, seeds = blob_seeds(material, work)
    return train(material, seeds, Step(), work / "trained", 1)

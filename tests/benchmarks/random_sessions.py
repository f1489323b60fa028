"""Simulated sessions of random specimens, for what must not depend on any one specimen.

Everything about a session depends on its number alone: the specimen and its diameter, the coverage,
signal, defocus, junk and noise, and what other software did to the micrographs. A fifth of the
sessions are without particles; further ones have nothing but noise and junk of many sizes. The
specimens are those on which the general model is trained
(``livepick_trainer.pretrain.specimens``), but imaged by ``livepick.simulate``, whose optics, ice
and junk the model does not know.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy import fft, spatial

from livepick.simulate import exposure
from livepick.simulate.field import Junk, Session
from livepick.simulate.species import ANGSTROM3_PER_DALTON, Specimen
from livepick_trainer.pretrain.junk import add_film, add_junk
from livepick_trainer.pretrain.processing import random_processing
from livepick_trainer.pretrain.specimens import random_specimen

__all__ = ["RandomSession", "junk_field", "random_session", "simulated"]

Image = NDArray[np.float32]
Random = np.random.Generator

POINTS = 700
"""Pseudo-atoms of a specimen."""

LEAST_SIDE_ANGSTROM = 2000.0
LEAST_SIDE_DIAMETERS = 9.5
"""Smallest side of a micrograph, in ångström and in diameters."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RandomSession:
    """A session of a random specimen."""

    number: int
    molecule: Specimen
    session: Session
    is_empty: bool
    """True if there are no particles."""

    noise_slope: float | None
    """Slope of additional noise with a power law; None: there is none."""

    noise_amount: float
    """Standard deviation of this noise, in units of the shot noise."""

    has_more_junk: bool
    """True if it has junk as in the training of the general model."""

    processing_seed: int | None
    """Seed of what other software did to the micrographs; None: nothing."""

    @property
    def true_angstrom(self) -> float | None:
        """Longest diameter of the particles; None if there are none."""
        if self.is_empty:
            return None
        points = self.molecule.points_angstrom
        return float(spatial.distance.pdist(points[spatial.ConvexHull(points).vertices]).max())


def random_session(number: int) -> RandomSession:
    """Return a random session; the same number gives the same one."""
    rng = np.random.default_rng([77, number])
    molecule = _molecule(rng, number)
    diameter = molecule.diameter_angstrom
    pixel = float(rng.uniform(2.2, 4.0))
    side_angstrom = max(LEAST_SIDE_ANGSTROM, LEAST_SIDE_DIAMETERS * diameter) * rng.uniform(1, 1.25)
    side = 32 * math.ceil(side_angstrom / pixel / 32)
    covered = _log_uniform(rng, 0.06, 0.6)
    is_empty, dirt = bool(rng.random() < 0.2), float(rng.random())
    session = Session(
        species=molecule.name,
        shape_px=(side, side),
        pixel_size_angstrom=pixel,
        particles_per_micrograph=covered * (side * pixel) ** 2 / (math.pi / 4 * diameter**2),
        signal_to_noise=_log_uniform(rng, 0.008, 0.15),
        closest_fraction=float(rng.uniform(0.75, 1.05)),
        junk=Junk(
            crystal_probability=dirt,
            carbon_probability=0.4 * dirt,
            aggregate_probability=float(rng.random()),
            fragment_fraction=float(rng.uniform(0, 0.12)),
            empty_probability=1.0 if is_empty else 0.04,
        ),
        seed=1000 + number,
    )
    return RandomSession(
        number=number,
        molecule=molecule,
        session=session,
        is_empty=is_empty,
        noise_slope=float(rng.uniform(0.5, 2)) if rng.random() < 0.5 else None,
        noise_amount=_log_uniform(rng, 0.1, 0.6),
        has_more_junk=bool(rng.random() < 0.25),
        processing_seed=int(rng.integers(1 << 30)) if rng.random() < 0.4 else None,
    )


def simulated(one: RandomSession, index: int, folder: Path) -> Path:
    """Return the path of a micrograph of a session, which is simulated once."""
    path = folder / f"random{one.number:03d}" / "micrographs" / f"{one.number:03d}_{index:04d}.mrc"
    if not path.exists():
        _write(path, _micrograph(one, index), one.session.pixel_size_angstrom)
    return path


def junk_field(number: int, index: int, folder: Path) -> Path:
    """Return the path of a micrograph with noise and junk alone, which is simulated once."""
    path = folder / f"junk{number:03d}" / "micrographs" / f"{number:03d}_{index:04d}.mrc"
    if not path.exists():
        session = np.random.default_rng([79, number])
        pixel, slope = float(session.uniform(2.2, 8.0)), float(session.uniform(0, 2.5))
        dirt, film = int(session.integers(0, 5)), float(session.random())
        processing_seed = int(session.integers(1 << 30))
        rng = np.random.default_rng([80, number, index])
        side = 32 * math.ceil(session.uniform(2000, 4000) / pixel / 32)
        image = _noise((side, side), slope, rng)
        for _ in range(dirt):
            add_junk(image, _log_uniform(rng, 40, 500) / pixel, rng)
        if rng.random() < film:
            add_film(image, rng)
        image = random_processing(-image, np.random.default_rng(processing_seed))
        _write(path, image, pixel)
    return path


def _write(path: Path, image: Image, pixel_size_angstrom: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path.with_suffix(".part"), image, overwrite=True) as mrc:
        mrc.voxel_size = pixel_size_angstrom
    path.with_suffix(".part").rename(path)


def _micrograph(one: RandomSession, index: int) -> Image:
    with mock.patch.object(exposure, "specimen", return_value=one.molecule):
        image = exposure.simulate_micrograph(one.session, index).image
    rng = np.random.default_rng([78, one.number, index])
    shot = float(np.sqrt(image.mean()))
    if one.noise_slope is not None:
        image += np.float32(one.noise_amount * shot) * _noise(image.shape, one.noise_slope, rng)
    if one.has_more_junk:
        junk = np.zeros_like(image)
        add_junk(junk, one.molecule.diameter_angstrom / one.session.pixel_size_angstrom, rng)
        image -= np.float32(0.5 * shot) * junk
    if one.processing_seed is not None:
        image = random_processing(image, np.random.default_rng(one.processing_seed))
    return image


def _molecule(rng: Random, number: int) -> Specimen:
    """Return a random specimen, about as dense as apoferritin or the ribosome."""
    diameter = _log_uniform(rng, 75, 380)
    made = random_specimen(rng, points=POINTS)
    chosen = rng.choice(len(made.points), POINTS, p=made.weights / made.weights.sum())
    points = made.points[chosen] * diameter
    mass_kda = 1.5e-4 * diameter**3 * float(np.exp(rng.normal(0, 0.3)))
    volume = mass_kda * 1e3 * ANGSTROM3_PER_DALTON / POINTS
    return Specimen(
        name=f"random-{number}",
        diameter_angstrom=diameter,
        mass_kda=mass_kda,
        points_angstrom=(points - points.mean(axis=0)).astype(np.float32),
        blur_angstrom=max(0.7 * float(np.cbrt(volume)), 0.02 * diameter),
    )


def _noise(shape: tuple[int, ...], slope: float, rng: Random) -> Image:
    """Return noise whose power falls with a slope, with a standard deviation of 1."""
    y, x = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]
    frequency = np.maximum(np.hypot(y, x), 2 / shape[0])
    spectrum = fft.rfft2(rng.standard_normal(shape)) * frequency ** (-slope / 2)
    noise = fft.irfft2(spectrum, s=shape)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))

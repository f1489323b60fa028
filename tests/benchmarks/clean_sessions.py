"""Clean micrographs of many kinds: vitreous ice with particles and nothing else.

Their quality verdict should be good. They come from three sources that share no code:

- the simulator of livepick, each species under each of ``CONDITIONS``;
- phantoms, made here: clouds of points as a weak phase object, with white or pink noise and
  without ice, as in simple simulators;
- the clean files of ``shared/data/simulated``, whole and in quarters, also with coarser pixels.

Every second micrograph is marked as usable for choosing limits. The others have their own seeds,
and only they include ``HELD_OUT_PHANTOMS``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from livepick.core.imaging.fourier import fourier_resample
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session
from livepick.simulate.optics import Optics, transfer
from livepick.simulate.species import SPECIES, random_rotations, specimen

__all__ = ["Clean", "clean_micrographs"]

Image = NDArray[np.float32]
Points = NDArray[np.float64]

CONDITIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "signal 0.02": {"signal_to_noise": 0.02},
    "signal 0.04": {"signal_to_noise": 0.04},
    "signal 0.3": {"signal_to_noise": 0.3},
    "ice 150-200 Å": {"ice_angstrom": (150.0, 200.0)},
    "ice 900-1200 Å": {"ice_angstrom": (900.0, 1200.0)},
    "0.6 Å a pixel": {"pixel_size_angstrom": 0.6, "shape_px": (1536, 1536)},
    "0.8 Å a pixel": {"pixel_size_angstrom": 0.8, "shape_px": (1536, 1536)},
    "1.2 Å a pixel": {"pixel_size_angstrom": 1.2, "shape_px": (1280, 1280)},
    "3 Å a pixel": {"pixel_size_angstrom": 3.0},
    "30 particles": {"particles_per_micrograph": 30.0, "shape_px": (1280, 1280)},
    "150 particles": {"particles_per_micrograph": 150.0, "shape_px": (1280, 1280)},
    "crowded": {
        "particles_per_micrograph": 3000.0,
        "closest_fraction": 0.8,
        "shape_px": (1536, 1536),
    },
    "overlapping": {
        "particles_per_micrograph": 3000.0,
        "closest_fraction": 0.6,
        "shape_px": (1536, 1536),
    },
    "defocus 0.5 µm": {"defocus_angstrom": (4000.0, 6000.0)},
    "defocus 3.2 µm": {"defocus_angstrom": (30_000.0, 35_000.0)},
}
"""Settings of a simulated session that differ from the usual ones."""

PER_CONDITION = 4
"""Number of micrographs of each species under each condition."""

PHANTOM_ANGSTROM = {
    "spike": 165.0,
    "small": 110.0,
    "globule": 310.0,
    "shell": 300.0,
    "rod": 220.0,
    "dimer": 140.0,
    "ring": 180.0,
}
"""Phantoms and their longest diameters, in ångström."""

HELD_OUT_PHANTOMS = ("dimer", "ring")

SHARED_ANGSTROM = {
    "apof_easy": 125.0,
    "groel_crowded": 150.0,
    "groel_tilt25": 150.0,
    "spike_hard_00": 165.0,
}
"""Clean files in ``shared/data/simulated``, and their particle diameters, in ångström."""


@dataclass(frozen=True, slots=True, eq=False)
class Clean:
    """A clean micrograph."""

    groups: tuple[str, ...]
    """Groups in which the micrograph is counted."""

    image: Image
    pixel_size_angstrom: float
    diameter_angstrom: float
    """True diameter of the particle, in ångström."""

    chosen_on: bool
    """True if the micrograph may be used for choosing limits."""


def clean_micrographs(data: Path) -> Iterator[Clean]:
    """Yield all clean micrographs, one at a time; ``data`` is the folder of the shared data."""
    yield from _simulated()
    yield from _phantoms()
    yield from _shared(data / "simulated")


def _simulated() -> Iterator[Clean]:
    for number, species in enumerate(SPECIES):
        for name, settings in CONDITIONS.items():
            for index in range(PER_CONDITION):
                seed = (1000 if index % 2 == 0 else 7000) + number
                session = Session(species=species, junk=Junk.none(), seed=seed, **settings)
                yield Clean(
                    (f"simulator, {species}", f"simulator, {name}"),
                    simulate_micrograph(session, index // 2 + 1).image,
                    session.pixel_size_angstrom,
                    specimen(species).diameter_angstrom,
                    index % 2 == 0,
                )


def _shared(folder: Path) -> Iterator[Clean]:
    for number, (name, diameter_angstrom) in enumerate(SHARED_ANGSTROM.items()):
        path = folder / f"{name}.mrc"
        if not path.is_file():
            continue
        with mrcfile.open(path) as mrc:
            whole = np.array(mrc.data, dtype=np.float32)
            pixel_size_angstrom = float(mrc.voxel_size.x)
        height, width = (n // 2 for n in whole.shape)
        parts = [whole] + [
            whole[y : y + height, x : x + width] for y in (0, height) for x in (0, width)
        ]
        for index, part in enumerate(parts):
            for factor in (1.0, 1.5, 2.0):
                coarser = None if factor == 1 else fourier_resample(part, factor=factor)
                yield Clean(
                    (f"shared, {name}", f"shared, pixels times {factor:g}"),
                    part if coarser is None else coarser.image,
                    pixel_size_angstrom * (1 if coarser is None else coarser.scale_x),
                    diameter_angstrom,
                    number % 2 == 0 and index % 2 == 0,
                )


def _phantoms() -> Iterator[Clean]:
    for kind, diameter_angstrom in PHANTOM_ANGSTROM.items():
        for held_out in (False, True):
            if kind in HELD_OUT_PHANTOMS and not held_out:
                continue
            for signal_to_noise in (0.025, 0.05, 0.15):
                for pink in (False, True):
                    for pixel_size_angstrom, covered in ((2.0, 0.1), (2.0, 0.35), (1.0, 0.35)):
                        settings = (signal_to_noise, pink, pixel_size_angstrom, covered)
                        rng = np.random.default_rng(
                            [held_out, *(int(1e3 * n) for n in settings), *kind.encode()]
                        )
                        noise = "pink" if pink else "white"
                        yield Clean(
                            (f"phantom, {kind}", f"phantom, {signal_to_noise} in {noise} noise"),
                            _phantom(
                                kind,
                                pixel_size_angstrom,
                                covered * 1.1,
                                signal_to_noise,
                                rng,
                                pink=pink,
                            ),
                            pixel_size_angstrom,
                            diameter_angstrom,
                            not held_out,
                        )


def _molecule(kind: str) -> Points:
    """Return points that fill a phantom, shape (N, 3) in ångström."""
    rng = np.random.default_rng(list(kind.encode()))

    def ball(centre: tuple[float, ...], axes: tuple[float, ...], count: int) -> Points:
        points = rng.normal(size=(count, 3))
        points /= np.linalg.norm(points, axis=1)[:, None]
        points *= rng.uniform(size=(count, 1)) ** (1 / 3)
        return np.asarray(points * axes + centre)

    def turned(count: int, radius: float, axes: tuple[float, ...], height: float) -> list[Points]:
        angles = 2 * np.pi * np.arange(count) / count
        return [ball((radius * np.cos(a), radius * np.sin(a), height), axes, 500) for a in angles]

    match kind:
        case "spike":
            parts = [*turned(3, 22, (24, 24, 32), 45), ball((0, 0, -25), (16, 16, 55), 700)]
        case "small":
            parts = [ball((0, 0, 0), (30, 22, 25), 500), ball((28, 10, 5), (24, 18, 14), 300)]
            parts += [ball((-30, 0, -8), (22, 14, 18), 250), ball((0, 26, -4), (14, 18, 16), 200)]
        case "globule":
            parts = [ball((0, 0, 0), (155, 140, 150), 4000)]
        case "shell":
            points = rng.normal(size=(4000, 3))
            points *= rng.uniform(125, 150, (4000, 1)) / np.linalg.norm(points, axis=1)[:, None]
            parts = [points]
        case "rod":
            parts = [ball((0, 0, 0), (28, 28, 110), 1200)]
        case "dimer":
            parts = [ball((0, 0, 36), (28, 30, 34), 800), ball((0, 10, -36), (30, 26, 34), 800)]
        case "ring":
            parts = turned(8, 66, (24, 24, 40), 0)
        case _:
            raise ValueError(kind)
    points = np.concatenate(parts)
    return np.asarray(points - points.mean(axis=0))


def _phantom(
    kind: str,
    pixel_size_angstrom: float,
    covered: float,
    signal_to_noise: float,
    rng: np.random.Generator,
    *,
    pink: bool,
) -> Image:
    """Return a micrograph of a phantom: 1024 pixels, or 1280 if the pixels are finer than 2 Å."""
    size_px = 1024 if pixel_size_angstrom >= 2 else 1280
    margin_px = 64
    wide_px = size_px + 2 * margin_px
    diameter_px = PHANTOM_ANGSTROM[kind] / pixel_size_angstrom
    many = max(8, int(covered * wide_px**2 / (np.pi / 4 * diameter_px**2)))
    places = np.zeros((0, 2))
    for place in rng.uniform(0, wide_px, (60 * many, 2)):
        if len(places) < many and (np.hypot(*(places - place).T) > 0.95 * diameter_px).all():
            places = np.vstack([places, place])
    turns = random_rotations(len(places), rng)[:, :2]
    atoms = np.einsum("nij,pj->npi", turns, _molecule(kind)) / pixel_size_angstrom
    atoms = (atoms + places[:, None]).reshape(-1, 2)
    plane, _, _ = np.histogram2d(atoms[:, 1], atoms[:, 0], bins=wide_px, range=[[0, wide_px]] * 2)
    plane = ndimage.gaussian_filter(plane, 5 / pixel_size_angstrom)
    defocus = float(rng.uniform(12_000, 24_000))
    optics = Optics(defocus_u_angstrom=defocus, defocus_v_angstrom=defocus)
    # The imaginary part of exp(iχ) is sin χ; a tenth of the contrast is amplitude contrast.
    chi = transfer((wide_px, wide_px), pixel_size_angstrom, optics)
    contrast = -(0.995 * chi.imag + 0.1 * chi.real)
    signal = fft.ifft2(fft.fft2(plane) * contrast).real[margin_px:-margin_px, margin_px:-margin_px]
    marks = np.zeros((size_px, size_px), dtype=bool)
    inner = np.rint(places - margin_px).astype(int)
    inner = inner[((inner >= 0) & (inner < size_px)).all(axis=1)]
    marks[inner[:, 1], inner[:, 0]] = True
    near = ndimage.distance_transform_edt(~marks) < diameter_px / 2
    noise = rng.standard_normal((size_px, size_px))
    if pink:
        y = np.fft.fftfreq(size_px, pixel_size_angstrom)[:, None]
        x = np.fft.rfftfreq(size_px, pixel_size_angstrom)[None, :]
        noise = fft.irfft2(fft.rfft2(noise) / np.sqrt(1 + 40 * np.hypot(y, x)), s=noise.shape)
        noise /= noise.std()
    return np.asarray(np.sqrt(signal_to_noise) / signal[near].std() * signal + noise, np.float32)

"""Micrographs with known particles: livepick's own simulations, and real and other ones if given.

Of a set of several micrographs, ``Sample.compared`` are picked by every program, and livepick's
trained model learns from the rest.
"""

import csv
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile

from comparison.livepick_command import LIVEPICK
from comparison.result import BY_LIVEPICK, BY_OTHERS, REAL
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.imaging.picks import Picks
from livepick.simulate.species import specimen
from real_sets import SETS, DataSet, read_truth, stem, write_micrograph

SIMULATED_PIXEL_ANGSTROM = 2.0
SIMULATED_SIDE_PX = 1024
SIMULATED_MICROGRAPHS = 10
SIMULATED_SEED = 16
SIMULATED = {
    "sim-apoferritin": ("apoferritin", 0.05),
    "sim-galactosidase": ("beta-galactosidase", 0.04),
}
"""Specimen and signal-to-noise ratio of livepick's simulations, with ice, carbon and aggregates."""

LEAST_FOR_TRAINING = 3
"""Number of micrographs that a training needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Micrographs of one specimen, as MRC files with dark particles, and the true positions."""

    name: str
    origin: str
    """As in ``SampleResult``."""

    micrographs: list[Path]
    truth: list[Picks]
    pixel_size_angstrom: float
    diameter_angstrom: float
    radius_angstrom: float
    """Largest distance of a correct pick from a true position."""

    most_compared: int

    @property
    def compared(self) -> list[int]:
        """Numbers of the micrographs that all programs pick: every other one, from the second."""
        single = len(self.micrographs) == 1
        return list(range(len(self.micrographs)))[0 if single else 1 :: 2][: self.most_compared]

    @property
    def learned(self) -> list[int]:
        """Numbers of the micrographs for the training; empty if they are too few for one."""
        rest = sorted(set(range(len(self.micrographs))) - set(self.compared))
        return rest if len(rest) >= LEAST_FOR_TRAINING else []


def sample_names(data: Path | None) -> list[str]:
    """Return the names of all samples, those in the data folder first."""
    others = [path.stem for path in _with_particles(data)] if data else []
    return [*(SETS if data else []), *others, *SIMULATED]


def make_sample(name: str, data: Path | None, place: Path, most_compared: int) -> Sample:
    """Return a sample; its micrographs are written to a folder, once."""
    place.mkdir(parents=True, exist_ok=True)
    if name in SIMULATED:
        return _simulated(name, place, most_compared)
    if data is None:
        raise ValueError(f"{name} is in a data folder")
    if name in SETS:
        return _real(SETS[name], data, place, most_compared)
    return _by_others(data / "simulated" / f"{name}.mrc", most_compared)


def _simulated(name: str, place: Path, most_compared: int) -> Sample:
    """Run livepick's simulator."""
    species, signal_to_noise = SIMULATED[name]
    micrographs, truth = place / "micrographs", place / "truth"
    if len(list(truth.glob("*_truth.star"))) < SIMULATED_MICROGRAPHS:
        command = [
            LIVEPICK, "simulate", micrographs, "--truth", truth, "--species", species,
            "--snr", signal_to_noise, "--seed", SIMULATED_SEED,
            "--size", SIMULATED_SIDE_PX, "--pixel-size", SIMULATED_PIXEL_ANGSTROM,
            "--micrographs", SIMULATED_MICROGRAPHS, "--every", "1ms", "--write", "rename",
        ]  # fmt: skip
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    files = sorted(micrographs.glob("*.mrc"))
    diameter = specimen(species).diameter_angstrom
    return Sample(
        name=name,
        origin=BY_LIVEPICK,
        micrographs=files,
        truth=[read_coordinates(truth / f"{stem(path)}_truth.star") for path in files],
        pixel_size_angstrom=SIMULATED_PIXEL_ANGSTROM,
        diameter_angstrom=diameter,
        radius_angstrom=diameter / 4,
        most_compared=most_compared,
    )


def _real(data: DataSet, root: Path, place: Path, most_compared: int) -> Sample:
    """Write the images of a real set as MRC files."""
    images = sorted(root.glob(data.images))
    files = [place / f"{stem(image)}.mrc" for image in images]
    for image, path in zip(images, files, strict=True):
        if not path.exists():
            write_micrograph(image, data, path)
    return Sample(
        name=data.name,
        origin=REAL,
        micrographs=files,
        truth=[read_truth(root / data.picks / f"{stem(image)}.csv") for image in images],
        pixel_size_angstrom=data.pixel_size_angstrom,
        diameter_angstrom=data.diameter_angstrom,
        radius_angstrom=data.radius_angstrom,
        most_compared=most_compared,
    )


def _by_others(path: Path, most_compared: int) -> Sample:
    """Return a single micrograph of another simulator."""
    with mrcfile.open(path, header_only=True) as mrc:
        pixel_size_angstrom = float(mrc.voxel_size.x)
    diameter = max(_diameters_angstrom(path))
    return Sample(
        name=path.stem,
        origin=BY_OTHERS,
        micrographs=[path],
        truth=[read_truth(_truth_of(path))],
        pixel_size_angstrom=pixel_size_angstrom,
        diameter_angstrom=diameter,
        radius_angstrom=diameter / 4,
        most_compared=most_compared,
    )


def _with_particles(data: Path) -> Iterator[Path]:
    for path in sorted((data / "simulated").glob("*.mrc")):
        if _diameters_angstrom(path):
            yield path


def _diameters_angstrom(path: Path) -> list[float]:
    with _truth_of(path).open() as file:
        return [float(row["diameter_A"]) for row in csv.DictReader(file)]


def _truth_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_truth.csv")

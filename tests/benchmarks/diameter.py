"""Measure the particle's diameter and contrast in micrographs whose particles are known.

    python tests/benchmarks/diameter.py [--sets NAME ...] [--micrographs N] [--data FOLDER]
        [--model BUNDLE] [--keep FOLDER]

For every set, the table has the diameter that is found in all its micrographs and in the first five
of them, and which numbers are contradicted after five: half the true diameter, 0.7 times, 1.5 times
and twice should be, those that differ by 15 % should not. The sets are those of ``ablation.py`` and
the simulated micrographs of the data folder. Of these there is one each: the verdict is about that
one, and numbers are compared as if there were five like it.

Sets without particles follow: thumbnails of empty, crystalline and contaminated areas, of an
assumed pixel size, and noise. Nothing should be found in them, or it should be called uncertain.

The negative of a micrograph has the same evidence with the contrasts exchanged, so that every set
tests both contrasts. Evidence is kept in a folder (``--keep``) for each model, so that rules of the
verdict can be compared quickly.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mrcfile
import numpy as np
from ablation import SIMULATIONS, Simulation, real_material, simulated_material
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from livepick.core.contracts.bundle import GRAPH
from livepick.core.contracts.particle_measurement import ParticleEvidence, ParticleJob
from livepick.models.general_model import SHIPPED
from livepick.particle.decide import contradiction, decide
from livepick.particle.measure import measure
from livepick.simulate.species import specimen
from real_sets import DEFAULT_DATA, SETS, DataSet

CONSOLE = Console(width=160)

SINGLE = {
    "apof_easy": 125.0,
    "groel_crowded": 150.0,
    "groel_tilt25": 150.0,
    "ribo_contam": 280.0,
    "spike_hard_00": 165.0,
    "empty_ice_contam": None,
}
"""Simulated micrographs of the data folder, with the diameter of their particles."""

EMPTY_THUMBNAILS = ("2Contam", "3Empty", "4Cryst", "5Empty")
"""Beginnings of the folders with thumbnails of areas without particles."""

THUMBNAIL_ANGSTROM = 8.0
"""Assumed pixel size of the thumbnails."""

WRONG = (0.5, 0.7, 1.5, 2.0)
"""Wrong numbers, as multiples of the true diameter, that should be contradicted."""

RIGHT = (0.85, 1.0, 1.15)
"""Numbers that should not be."""

FIRST = 5
"""Micrographs after which a wrong number should be contradicted."""


@dataclass(frozen=True, slots=True)
class Known:
    """A set of micrographs whose particles are known."""

    name: str
    true_angstrom: float | None
    """Diameter of the particles; None: there are none."""

    make: Callable[[], list[Path]]
    """Function that returns the micrographs, and makes them if need be."""


def main() -> int:
    """Print the table; return 1 if there is a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--micrographs", type=int, default=10)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--keep", type=Path, help="keep micrographs and evidence in this folder")
    given = parser.parse_args()
    table = Table(title="Diameter found, and numbers contradicted after five micrographs")
    for column in ("set", "true", "found", "ratio", "sure", "first 5", "contradicted", "CPU s"):
        table.add_column(column, justify="left" if column == "set" else "right")
    false_alarms = 0
    with tempfile.TemporaryDirectory(prefix="livepick-diameter-") as name:
        place = given.keep or Path(name)
        for known in all_sets(given.data, place):
            if given.sets and known.name not in given.sets:
                continue
            started = time.process_time()
            files = known.make()[: given.micrographs]
            evidence = [kept_evidence(path, given.model, place) for path in files]
            seconds = (time.process_time() - started) / len(evidence)
            cells, alarms = row(evidence, known.true_angstrom)
            false_alarms += alarms
            table.add_row(known.name, *cells, f"{seconds:.1f}")
            CONSOLE.print(known.name, *cells, style="dim")
    CONSOLE.print(table)
    return min(false_alarms, 1)


def all_sets(data: Path, place: Path) -> list[Known]:
    """Return all sets; those of the data folder are skipped with a message if it is missing."""
    sets = [
        Known(
            name,
            specimen(simulation.species).diameter_angstrom,
            partial(simulated_set, name, simulation, place / name),
        )
        for name, simulation in SIMULATIONS.items()
    ]
    sets += [
        Known(f"{kind} noise", None, partial(noise_set, place / "noise", kind))
        for kind in ("white", "pink")
    ]
    if not data.is_dir():
        CONSOLE.print(f"skipped: no real micrographs at {data}")
        return sets
    sets += [
        Known(name, real.diameter_angstrom, partial(real_set, real, data, place / name))
        for name, real in SETS.items()
    ]
    sets += [
        Known(name, true_angstrom, partial(one_micrograph, data / "simulated" / f"{name}.mrc"))
        for name, true_angstrom in SINGLE.items()
    ]
    sets += [
        Known(start, None, partial(thumbnails, data / "quality", start, place / start))
        for start in EMPTY_THUMBNAILS
    ]
    return sets


def simulated_set(name: str, simulation: Simulation, place: Path) -> list[Path]:
    """Return the micrographs of a simulated session."""
    return simulated_material(name, simulation, place).micrographs


def real_set(real: DataSet, data: Path, place: Path) -> list[Path]:
    """Return the micrographs of a real set."""
    return real_material(real, data, place).micrographs


def noise_set(place: Path, kind: str) -> list[Path]:
    """Return micrographs of noise."""
    return [noise_micrograph(place, kind, seed) for seed in range(FIRST)]


def one_micrograph(path: Path) -> list[Path]:
    """Return a set of one micrograph."""
    return [path]


def thumbnails(folder: Path, start: str, place: Path) -> list[Path]:
    """Return the thumbnails of a class as micrographs."""
    return [thumbnail(image, place) for image in sorted(folder.glob(f"{start}*/*.png"))]


def noise_micrograph(place: Path, kind: str, seed: int) -> Path:
    """Return the path of white noise, or of noise whose amplitude falls with the frequency."""
    noise = np.random.default_rng(seed).standard_normal((1024, 1024))
    if kind == "pink":
        y, x = np.fft.fftfreq(1024)[:, None], np.fft.rfftfreq(1024)[None]
        noise = np.fft.irfft2(np.fft.rfft2(noise) / np.maximum(np.hypot(y, x), 2 / 1024))
    return as_mrc(noise, place / f"{kind}{seed}.mrc", 3.0)


def thumbnail(image: Path, place: Path) -> Path:
    """Return the path of a thumbnail as a micrograph."""
    grey = np.asarray(Image.open(image).convert("F"))
    return as_mrc(grey, place / f"{image.stem}.mrc", THUMBNAIL_ANGSTROM)


def as_mrc(image: NDArray[Any], path: Path, pixel: float) -> Path:
    """Write an image with its pixel size, once; return its path."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path, image.astype(np.float32)) as mrc:
            mrc.voxel_size = pixel
    return path


def kept_evidence(path: Path, model: Path, place: Path) -> ParticleEvidence:
    """Return the evidence of a micrograph, measured once for each model."""
    digest = "discs"
    if model.is_dir():
        digest = hashlib.sha256((model / GRAPH).read_bytes()).hexdigest()[:12]
    kept = (
        place
        / "evidence"
        / digest
        / f"{path.parent.parent.name}-{path.parent.name}-{path.stem}.json"
    )
    if kept.exists():
        return ParticleEvidence.from_json(kept.read_text())
    evidence = measure(ParticleJob(path, bundle=model if model.is_dir() else None))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(evidence.to_json())
    return evidence


def row(evidence: list[ParticleEvidence], true_angstrom: float | None) -> tuple[list[str], int]:
    """Return the cells of a set, and the number of false alarms."""
    first = evidence[:FIRST] if len(evidence) > 1 else evidence * FIRST
    verdict, early = decide(evidence), decide(first)
    found, ratio = "nothing", "-"
    if verdict.best is not None:
        found = verdict.best.words
        if verdict.second is not None:
            found += f" or {verdict.second.words}"
        if true_angstrom is not None:
            ratio = f"{verdict.best.diameter_angstrom / true_angstrom:.2f}"
    cells = [
        "none" if true_angstrom is None else f"{true_angstrom:g}",
        found,
        ratio,
        f"{verdict.confidence:.2f}",
        "nothing" if early.best is None else early.best.words,
    ]
    if true_angstrom is None:
        is_wrong = contradiction(early, diameter_angstrom=150, contrast="dark") is not None
        return [*cells, "150 Å dark" if is_wrong else "nothing"], int(is_wrong)
    flagged = [
        times
        for times in (*WRONG, *RIGHT)
        if contradiction(early, diameter_angstrom=times * true_angstrom, contrast="dark")
    ]
    words = [f"{times:g}x" for times in sorted(flagged)]
    if contradiction(early, diameter_angstrom=true_angstrom, contrast="bright"):
        words.append("bright")
    return [*cells, ", ".join(words) or "none"], len(set(flagged) & set(RIGHT))


if __name__ == "__main__":
    sys.exit(main())

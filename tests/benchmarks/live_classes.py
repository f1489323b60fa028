"""Make class averages of picks with known truth, and compare the share in good classes with it.

    python tests/benchmarks/live_classes.py FOLDER [--diameter ÅNGSTRÖM] [--threshold SCORE] ...

FOLDER has micrographs (MRC) and their true positions: the files that ``livepick simulate`` writes
beside it (``FOLDER-truth``), or ``FOLDER/truth/NAME.csv`` with columns ``x_px`` and ``y_px``. The
general model picks them, and the program of the service sorts the picks. Printed are the fraction
of the sorted picks that are particles, the fraction in good classes, how many of the particles are
kept and how many of the others are left out, the views, and the CPU seconds. Files that are not
labelled completely have a lower fraction of particles than they say.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from livepick.config.sections import Particle
from livepick.core.contracts.class_averages import (
    MOST_PARTICLES,
    PARTICLES,
    PICTURE,
    PROGRAM,
    RESULT,
    ClassesOrder,
    ClassesResult,
    OrderedMicrograph,
)
from livepick.core.evaluation.matching import match
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.formats.micrograph import read_micrograph
from livepick.core.imaging.picks import Picks

CONSOLE = Console(width=120, highlight=False)
LIVEPICK = Path(sys.executable).with_name("livepick")
MATCHED_DIAMETERS = 0.5
"""Distance between a pick and the particle that it counts for, in diameters."""


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--diameter", type=float, required=True)
    parser.add_argument("--threshold", type=float, help="by default that of the general model")
    parser.add_argument("--only", default="*.mrc", help="glob of the micrographs")
    parser.add_argument("--picture", type=Path, help="file for the picture of the classes")
    given = parser.parse_args()
    files = sorted(given.folder.glob(given.only))
    with tempfile.TemporaryDirectory(prefix="livepick-classes-") as temporary:
        picks = _pick(files, Path(temporary), given.diameter, given.threshold)
        folder = Path(temporary) / "order"
        folder.mkdir()
        _order(files, picks, given.diameter).write(folder)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([sys.executable, "-m", PROGRAM, folder], check=True, capture_output=True)
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        result = ClassesResult.read(folder)
        if given.picture is not None:
            given.picture.write_bytes((folder / RESULT / PICTURE).read_bytes())
        with np.load(folder / RESULT / PARTICLES) as arrays:
            real = _real(files, picks, given.folder, given.diameter)
            is_real = np.array(
                [real[m][p] for m, p in zip(arrays["micrograph"], arrays["pick"], strict=True)]
            )
            good = np.asarray(arrays["good"], dtype=bool)
    CONSOLE.print(
        f"{given.folder.name} {given.only}: {result.particles} particles of"
        f" {result.micrographs} micrographs in {len(result.classes)} classes,"
        f" {result.good_classes} good; user CPU {seconds:.1f} s with the start"
    )
    CONSOLE.print(
        f"  are particles {is_real.mean():.1%}, in good classes {good.mean():.1%};"
        f" particles kept {good[is_real].mean() if is_real.any() else 0:.1%},"
        f" others left out {(~good)[~is_real].mean() if (~is_real).any() else 1:.1%}"
    )
    CONSOLE.print(f"  views: {result.views.model_dump()}")
    return 0


def _pick(
    files: list[Path], place: Path, diameter_angstrom: float, threshold: float | None
) -> list[Picks]:
    """Return the picks of the general model in each file."""
    words = ["--threshold", str(threshold)] if threshold is not None else []
    subprocess.run(
        [
            *(str(LIVEPICK), "pick", "general", *map(str, files)),
            *("--output", str(place / "picks")),
            *("--diameter", str(diameter_angstrom), "--device", "cpu", *words),
        ],
        check=False,
        capture_output=True,
    )
    made = [next((place / "picks").rglob(f"{file.stem}_autopick.star"), None) for file in files]
    picks = [Picks.empty() if one is None else read_coordinates(one) for one in made]
    share = min(1.0, MOST_PARTICLES / max(1, sum(map(len, picks))))
    return [
        some.where(np.linspace(0, len(some) - 1, int(share * len(some))).round().astype(int))
        for some in picks
    ]


def _order(files: list[Path], picks: list[Picks], diameter_angstrom: float) -> ClassesOrder:
    return ClassesOrder(
        session="benchmark",
        particle=Particle(diameter_angstrom=diameter_angstrom),
        model_version=0,
        first_id=1,
        last_id=len(files),
        micrographs=[
            OrderedMicrograph(
                path=file,
                pixel_size_angstrom=_pixel_size(file),
                picks=list(zip(some.x_px.tolist(), some.y_px.tolist(), strict=True)),
            )
            for file, some in zip(files, picks, strict=True)
        ],
    )


def _pixel_size(file: Path) -> float:
    return read_micrograph(file, pixel_size_angstrom=None).pixel_size_angstrom


def _real(
    files: list[Path], picks: list[Picks], folder: Path, diameter_angstrom: float
) -> list[NDArray[np.bool_]]:
    """Return which picks of each file are particles."""
    found = []
    for file, some in zip(files, picks, strict=True):
        truth = _truth(file, folder)
        radius_px = MATCHED_DIAMETERS * diameter_angstrom / _pixel_size(file)
        found.append(match(some, truth, radius_px=radius_px).hit)
    return found


def _truth(file: Path, folder: Path) -> Picks:
    table = folder / "truth" / f"{file.stem}.csv"
    if table.is_file():
        rows = np.genfromtxt(table, delimiter=",", names=True, dtype=None, encoding=None)
        x, y = (np.atleast_1d(rows[name]).astype(np.float32) for name in ("x_px", "y_px"))
        return Picks(x, y, np.ones_like(x))
    (star,) = folder.with_name(f"{folder.name}-truth").glob(f"{file.stem}*.star")
    return read_coordinates(star)


if __name__ == "__main__":
    sys.exit(main())

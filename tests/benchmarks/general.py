"""Compare the first pickers: the blob picker, the network alone, and both together.

    python tests/benchmarks/general.py [--bundle FOLDER] [--data FOLDER] [--sets NAME ...]
        [--pickers NAME ...] [--part all|even|odd] [--micrographs N] [--work FOLDER]

Every picker gets the pixel size and the diameter, and picks by the worker's own code. The first
table has the micrographs with known particles: average precision, best F1, and F1, precision,
recall and number of the picks that would be written (at the threshold on the bundle's card). The
second has micrographs without particles, or with hardly any, and the number of picks there: the
fewer, the better.

``blob`` is the blob picker, ``network`` the network of the general model alone, and ``general``
the picker of ``bootstrap.picks: general``, which has both. ``scratch`` is a model that the trainer
makes from one half of a set, starting with the blob picker, and that is judged on the other half,
and the reverse (minutes a set). ``--part`` uses every other micrograph only: choose on the even
ones, report on the odd ones. ``--micrographs`` is the largest number in a set.

Real sets are stored outside the repository (``--data``, or ``LIVEPICK_DATA``); missing sets are
named and skipped. ``--work`` keeps the micrographs for the next run.
"""

import argparse
import dataclasses
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mrcfile
import numpy as np
import PIL.Image
from ablation import (
    JUNK,
    SIMULATIONS,
    STEPS,
    Material,
    blob_seeds,
    real_material,
    score,
    simulated_material,
    train,
)
from numpy.typing import NDArray
from quality import SIMULATED_ANGSTROM, THUMBNAIL_ANGSTROM
from rich.console import Console

from factories import publish_blob
from livepick.config.sections import Particle
from livepick.core.contracts.bundle import GRAPH, publish
from livepick.core.contracts.job import Job
from livepick.core.evaluation.matching import Matches, figures, match, pool, precision_recall_f1
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.errors import ModelError
from livepick.models.general_model import SHIPPED, publish_general_picker, read_general_card
from livepick.picking.worker import pick
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Session
from real_sets import DEFAULT_DATA, SETS, read_truth

Image = NDArray[np.float32]

CONSOLE = Console(width=140)
SHARED = {
    "apof_easy": "apof_easy",
    "groel_crowded": "groel_crowded",
    "ribo_contam": "ribo_contam",
    "groel_tilt25": "groel_tilt25",
    "spike_hard": "spike_hard_00",
}
"""Single simulated micrographs of other engines, by the name of their set."""

SESSIONS = ("sim-apoferritin", "sim-proteasome", "sim-galactosidase")
DEFAULT_SETS = (*SETS, *SHARED, *SESSIONS)
MORE_SETS = tuple(name for name in SIMULATIONS if name not in SESSIONS)
PICKERS = ("blob", "network", "general", "scratch")
EMPTY_SIDE_PX, EMPTY_PIXEL_ANGSTROM, EMPTY_DIAMETER_ANGSTROM = 2048, 2.0, 150.0
"""Size of the noise and of the simulated fields without particles."""

EMPTY_THUMBNAILS = {"2": "contaminated", "3": "no ice", "4": "crystalline", "5": "empty ice"}
"""Classes of real thumbnails without particles that anybody would want, by the folder's number."""

THUMBNAIL_DIAMETER_ANGSTROM = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Empty:
    """A micrograph without particles."""

    name: str
    path: Path
    diameter_angstrom: float


@dataclass(slots=True)
class Row:
    """Result of one picker on one set."""

    every: list[Matches] = field(default_factory=list)
    """Matches of all candidates, for each micrograph."""
    written: list[Matches] = field(default_factory=list)
    """Matches of the picks that would be written."""

    def figures(self) -> dict[str, float]:
        """Return the figures of the table by name."""
        found = figures(self.every)
        precision, recall, f1 = precision_recall_f1(self.written, 0.0)
        return {
            "AP": found.average_precision,
            "best F1": found.best_f1,
            "F1": f1,
            "P": precision,
            "R": recall,
            "picks": float(len(pool(self.written).hit)),
            "particles": float(found.truths),
        }


# --- pickers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates of one picker in one micrograph."""

    picks: Picks
    written: Picks
    """Those that reach the picker's threshold."""
    area: PickArea


class FirstPickers:
    """The first pickers, each as a bundle that picks particles of any diameter.

    Parameters
    ----------
    names
        Pickers that are used.
    shipped
        Folder of the general model.
    scratch
        Folder for bundles.

    Raises
    ------
    ModelError
        The general model cannot be used.
    """

    def __init__(self, names: Sequence[str], shipped: Path, scratch: Path) -> None:
        self.names = [name for name in names if name != "scratch"]
        particle = Particle(diameter_angstrom=100)
        edge = particle.edge_fraction
        self._bundles: dict[str, Path] = {}
        for name in self.names:
            if name == "blob":
                self._bundles[name] = publish_blob(scratch, edge_fraction=edge)
            elif name == "general":
                self._bundles[name], _ = publish_general_picker(
                    scratch, particle, 1, shipped=shipped
                )
            else:
                card = dataclasses.replace(
                    read_general_card(shipped), version=2, edge_fraction=edge, weights_sha256=None
                )
                graph = (shipped / GRAPH).read_bytes()
                self._bundles[name] = publish(scratch, card, {GRAPH: graph})

    def pick(self, name: str, path: Path, diameter_angstrom: float) -> Found:
        """Return the candidates of a picker in a dark-particle micrograph, from its worker."""
        result = pick(
            Job(
                path=path,
                version=None,
                bundle=self._bundles[name],
                device="cpu",
                diameter_angstrom=diameter_angstrom,
                contrast="dark",
            )
        )
        if result.area is None:
            raise ValueError(f"{path}: a worker's result has an area")
        return Found(result.picks, result.picks.above(result.threshold), result.area)


def cross_fitted(material: Material, work: Path) -> Row:
    """Return the result of models trained on each half, on the other half."""
    _, seeds = blob_seeds(material, work)
    numbers = list(range(len(seeds)))
    row = Row()
    for half in (0, 1):
        folder = work / f"scratch-{half}"
        bundle = train(material, seeds[half::2], STEPS["second-round"], folder, 1)
        every, written = score(material, bundle, numbers[1 - half :: 2])
        row.every += every
        row.written += written
    return row


# --- micrographs ---------------------------------------------------------------------------------


def material_of(name: str, data: Path, place: Path, most: int) -> Material | None:
    """Return at most so many micrographs of a set; None, with a message, if they are not here."""
    if name in SIMULATIONS:
        fewer = min(SIMULATIONS[name].micrographs, most)
        return simulated_material(
            name, dataclasses.replace(SIMULATIONS[name], micrographs=fewer), place
        )
    if not data.is_dir():
        CONSOLE.print(f"{name}: skipped: no micrographs at {data}")
        return None
    if name in SETS:
        whole = real_material(SETS[name], data, place)
        return dataclasses.replace(
            whole, micrographs=whole.micrographs[:most], truth=whole.truth[:most]
        )
    path = data / "simulated" / f"{SHARED[name]}.mrc"
    with mrcfile.open(path, header_only=True) as mrc:
        pixel_size_angstrom = float(mrc.voxel_size.x)
    diameter = SIMULATED_ANGSTROM[name[:4]]
    return Material(
        name=name,
        micrographs=[path],
        truth=[read_truth(path.with_name(f"{SHARED[name]}_truth.csv"))],
        pixel_size_angstrom=pixel_size_angstrom,
        diameter_angstrom=diameter,
        radius_angstrom=diameter / 4,
    )


def part_of(material: Material, part: str) -> Material:
    """Return every other micrograph of a set; a single one belongs to both parts."""
    if part == "all" or len(material.micrographs) == 1:
        return material
    first = 0 if part == "even" else 1
    return dataclasses.replace(
        material, micrographs=material.micrographs[first::2], truth=material.truth[first::2]
    )


def empties(data: Path, place: Path) -> Iterator[Empty]:
    """Yield micrographs without particles, written into ``place``."""
    place.mkdir(parents=True, exist_ok=True)
    size, diameter = EMPTY_SIDE_PX, EMPTY_DIAMETER_ANGSTROM
    rng = np.random.default_rng(15)
    for exponent, name in ((0.0, "white noise"), (0.5, "pink noise"), (1.0, "red noise")):
        path = place / f"{name.replace(' ', '_')}.mrc"
        write_mrc(path, noise(rng, size, exponent), EMPTY_PIXEL_ANGSTROM)
        yield Empty(name=name, path=path, diameter_angstrom=diameter)
    for junk, name in (
        (dataclasses.replace(JUNK, crystal_probability=0, carbon_probability=0), "simulated ice"),
        (JUNK, "simulated ice, junk"),
    ):
        for index in range(3):
            path = place / f"{name.replace(', ', '_').replace(' ', '_')}_{index}.mrc"
            if not path.exists():
                session = Session(
                    shape_px=(size, size),
                    pixel_size_angstrom=EMPTY_PIXEL_ANGSTROM,
                    seed=515,
                    junk=dataclasses.replace(junk, empty_probability=1, aggregate_probability=0),
                )
                write_mrc(path, simulate_micrograph(session, index).image, EMPTY_PIXEL_ANGSTROM)
            yield Empty(name=f"{name} {index}", path=path, diameter_angstrom=diameter)
    if data.is_dir():
        yield from _real_empties(data, place)


def _real_empties(data: Path, place: Path) -> Iterator[Empty]:
    path = data / "simulated" / "empty_ice_contam.mrc"
    yield Empty(name=path.stem, path=path, diameter_angstrom=SIMULATED_ANGSTROM["empt"])
    for folder in sorted((data / "quality").glob("[2-5]*")):
        for image in sorted(folder.glob("*.png")):
            grey = np.asarray(PIL.Image.open(image).convert("L")).astype(np.float32)
            path = place / f"{image.stem}.mrc"
            write_mrc(path, grey, THUMBNAIL_ANGSTROM)
            name = f"{EMPTY_THUMBNAILS[folder.name[0]]}: {image.stem[:14]}"
            yield Empty(name=name, path=path, diameter_angstrom=THUMBNAIL_DIAMETER_ANGSTROM)
    path = data / "ice-crystals" / "Ucsf_stack_1142_DW.mrc"
    crystals = place / path.name
    with mrcfile.open(path) as mrc:
        write_mrc(crystals, np.array(mrc.data, dtype=np.float32), 4.0)
    yield Empty(name="ice crystals", path=crystals, diameter_angstrom=46 / 1.3 * 4.0)


def noise(rng: np.random.Generator, size: int, exponent: float) -> Image:
    """Return noise whose amplitude falls with frequency to the power of ``exponent``."""
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    image: Image = np.fft.irfft2(spectrum / frequency**exponent, (size, size)).astype(np.float32)
    return image


def write_mrc(path: Path, image: Image, pixel_size_angstrom: float) -> None:
    """Write a micrograph."""
    with mrcfile.new(path, image, overwrite=True) as mrc:
        mrc.voxel_size = pixel_size_angstrom


# --- the tables ----------------------------------------------------------------------------------


def main() -> int:
    """Print both tables; return 2 if there is no general model to judge."""
    given = _arguments()
    if given.bundle == SHIPPED and not SHIPPED.is_dir():
        CONSOLE.print("skipped: this livepick has no general model; name one with --bundle")
        return 0
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="livepick-general-") as temporary:
        work = given.work or Path(temporary)
        try:
            pickers = FirstPickers(given.pickers, given.bundle, Path(temporary) / "models")
        except ModelError as error:
            CONSOLE.print(f"{error}", soft_wrap=True)
            return 2
        results = {}
        CONSOLE.print("Micrographs with known particles (F1, P, R: of the picks written)")
        for name in given.sets:
            place = work / name / "micrographs"
            material = material_of(name, given.data, place, given.micrographs)
            if material is not None:
                part = part_of(material, given.part)
                results[name] = rows_of(part, pickers)
                if "scratch" in given.pickers and len(part.micrographs) > 1:
                    results[name]["scratch"] = cross_fitted(part, Path(temporary) / name)
                for picker, row in results[name].items():
                    _print_row(name, picker, row)
        _summary(results)
        if given.empty:
            _print_empty(empties(given.data, work / "empty"), pickers)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument(
        "--bundle", type=Path, default=SHIPPED, help="general model, by default the shipped one"
    )
    parser.add_argument(
        "--sets", nargs="*", choices=[*DEFAULT_SETS, *MORE_SETS], default=DEFAULT_SETS
    )
    parser.add_argument("--pickers", nargs="*", choices=PICKERS, default=PICKERS[:3])
    parser.add_argument("--part", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--micrographs", type=int, default=10, help="at most, of each set")
    parser.add_argument("--no-empty", dest="empty", action="store_false", help="first table only")
    parser.add_argument("--work", type=Path, help="keep the micrographs in this folder")
    return parser.parse_args()


def rows_of(material: Material, pickers: FirstPickers) -> dict[str, Row]:
    """Return the result of each first picker on a set."""
    rows = {name: Row() for name in pickers.names}
    radius_px = material.radius_angstrom / material.pixel_size_angstrom
    for name in pickers.names:
        for path, truth in zip(material.micrographs, material.truth, strict=True):
            found = pickers.pick(name, path, material.diameter_angstrom)
            for matches, picks in (
                (rows[name].every, found.picks),
                (rows[name].written, found.written),
            ):
                matches.append(match(picks, truth, radius_px=radius_px, area=found.area))
    return rows


def _print_row(name: str, picker: str, row: Row) -> None:
    found = row.figures()
    CONSOLE.print(
        f"{name:18} {picker:10}  AP {found['AP']:.3f}  best F1 {found['best F1']:.3f}"
        f"  F1 {found['F1']:.3f}  P {found['P']:.3f}  R {found['R']:.3f}"
        f"  {found['picks']:.0f} picks, {found['particles']:.0f} particles",
        highlight=False,
    )


def _summary(results: dict[str, dict[str, Row]]) -> None:
    """Print the mean of each picker over the sets, and where it is below the blob picker."""
    keys = ("AP", "best F1", "F1")
    for picker in dict.fromkeys(picker for rows in results.values() for picker in rows):
        found = {name: r[picker].figures() for name, r in results.items() if picker in r}
        text = "  ".join(f"{k} {statistics.fmean(f[k] for f in found.values()):.3f}" for k in keys)
        CONSOLE.print(f"{picker}: mean of {len(found)} sets: {text}", highlight=False)
        for key in keys:
            below = {
                name: difference
                for name, mine in found.items()
                if "blob" in results[name]
                and (difference := mine[key] - results[name]["blob"].figures()[key]) < 0
            }
            if picker != "blob":
                words = ", ".join(f"{name} {by:+.3f}" for name, by in below.items()) or "nowhere"
                CONSOLE.print(f"  {key} below the blob picker's: {words}", highlight=False)


def _print_empty(cases: Iterator[Empty], pickers: FirstPickers) -> None:
    CONSOLE.print(f"Picks where there is nothing to pick: {', '.join(pickers.names)}")
    totals = dict.fromkeys(pickers.names, 0)
    for case in cases:
        counts = {
            name: len(pickers.pick(name, case.path, case.diameter_angstrom).written)
            for name in pickers.names
        }
        for name, count in counts.items():
            totals[name] += count
        cells = "".join(f"{count:8}" for count in counts.values())
        CONSOLE.print(f"{case.name:32}{cells}", highlight=False)
    CONSOLE.print(f"{'all':32}" + "".join(f"{n:8}" for n in totals.values()), highlight=False)


if __name__ == "__main__":
    sys.exit(main())

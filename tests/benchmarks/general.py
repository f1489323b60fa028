"""Compare the first pickers: the blob picker, the general model, and both together.

    python tests/benchmarks/general.py [--bundle FOLDER] [--data FOLDER] [--sets NAME ...]
        [--pickers NAME ...] [--part all|even|odd] [--work FOLDER]

Every picker gets the pixel size and the diameter, and picks as a worker would. The first table has
the micrographs with known particles: average precision, best F1, and F1, precision, recall and
number of the picks that would be written (at the threshold on the bundle's card). The second has
micrographs without particles, or with hardly any, and the number of picks there: the fewer, the
better.

``union-mean`` and ``union-max`` are one graph with both pickers in it, whose score is the mean or
the larger of theirs. ``scratch`` is a model that the trainer makes from one half of a set, starting
with the blob picker, and that is judged on the other half, and the reverse (minutes a set).
``--part`` uses every other micrograph only: choose on one part, report on the other.

Real sets are stored outside the repository (``--data``, or ``LIVEPICK_DATA``); missing sets are
named and skipped. ``--work`` keeps the simulated micrographs for the next run.
"""

import argparse
import dataclasses
import functools
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mrcfile
import numpy as np
import onnx
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
from onnx import compose, helper, numpy_helper
from quality import SIMULATED_ANGSTROM, THUMBNAIL_ANGSTROM
from real_data import DEFAULT_DATA, SETS, read_truth
from rich.console import Console
from rich.table import Table

from livepick.config.sections import Particle
from livepick.core.contracts.bundle import GRAPH, publish, sha256
from livepick.core.contracts.job import Job
from livepick.core.evaluation.matching import Matches, figures, pool, precision_recall_f1
from livepick.errors import ModelError
from livepick.models.blob_picker import publish_blob_picker
from livepick.models.general_model import SHIPPED, publish_general_picker
from livepick.picking.worker import pick
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Session

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
PICKERS = ("blob", "general", "union-mean", "union-max", "scratch")
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
    cpu_seconds: float = 0.0

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


@functools.cache
def make_bundle(picker: str, diameter_angstrom: float, shipped: Path, folder: Path) -> Path:
    """Return a picker's bundle for a diameter."""
    particle = Particle(diameter_angstrom=diameter_angstrom)
    models = folder / f"{picker}-{diameter_angstrom:g}"
    if picker == "blob":
        return publish_blob_picker(models, particle, 0)[0]
    general, card = publish_general_picker(models, particle, 0, shipped=shipped)
    if picker == "general":
        return general
    blob, _ = publish_blob_picker(models, particle, 1)
    graph = union_graph((blob / GRAPH).read_bytes(), (general / GRAPH).read_bytes(), picker)
    return publish(
        models, dataclasses.replace(card, version=2, graph_sha256=sha256(graph)), {GRAPH: graph}
    )


def union_graph(blob: bytes, general: bytes, rule: str) -> bytes:
    """Return both pickers as one graph; its score is the mean or the larger of theirs."""
    parts = [
        compose.add_prefix(onnx.load_from_string(graph), prefix)
        for graph, prefix in ((blob, "b_"), (general, "g_"))
    ]
    image, score_out = parts[0].graph.input[0], parts[0].graph.output[0]
    constants = [c for part in parts for c in part.graph.initializer]
    nodes = [
        *(helper.make_node("Identity", ["image"], [part.graph.input[0].name]) for part in parts),
        *(node for part in parts for node in part.graph.node),
    ]
    scores = [part.graph.output[0].name for part in parts]
    if rule == "union-max":
        nodes.append(helper.make_node("Max", scores, ["score"]))
    else:
        constants.append(numpy_helper.from_array(np.array(0.5, dtype=np.float32), "half"))
        nodes.append(helper.make_node("Add", scores, ["sum"]))
        nodes.append(helper.make_node("Mul", ["sum", "half"], ["score"]))
    image.name, score_out.name = "image", "score"
    joint = helper.make_model(
        helper.make_graph(nodes, "livepick-union", [image], [score_out], constants),
        opset_imports=parts[0].opset_import,
        ir_version=parts[0].ir_version,
        producer_name="livepick",
    )
    onnx.checker.check_model(joint)
    return bytes(joint.SerializeToString())


def cross_fitted(material: Material, work: Path) -> list[tuple[Path, list[int]]]:
    """Return models trained on each half, with the numbers of the other half."""
    _, seeds = blob_seeds(material, work)
    numbers = list(range(len(seeds)))
    return [
        (
            train(material, seeds[half::2], STEPS["second-round"], work / f"scratch-{half}", 1),
            numbers[1 - half :: 2],
        )
        for half in (0, 1)
    ]


# --- micrographs ---------------------------------------------------------------------------------


def material_of(name: str, data: Path, place: Path) -> Material | None:
    """Return the micrographs of a set; None, with a message, if they are not here."""
    if name in SIMULATIONS:
        return simulated_material(name, SIMULATIONS[name], place)
    if not data.is_dir():
        CONSOLE.print(f"{name}: skipped: no micrographs at {data}")
        return None
    if name in SETS:
        return real_material(SETS[name], data, place)
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
            for picker in given.pickers:
                if picker != "scratch":
                    make_bundle(picker, 100.0, given.bundle, Path(temporary) / "trial")
        except ModelError as error:
            CONSOLE.print(f"{error}", soft_wrap=True)
            return 2
        results = {}
        for name in given.sets:
            material = material_of(name, given.data, work / name / "micrographs")
            if material is not None:
                part = part_of(material, given.part)
                results[name] = {
                    picker: _row(part, picker, given.bundle, Path(temporary) / name)
                    for picker in given.pickers
                }
                CONSOLE.print(f"{name}: done", style="dim")
        CONSOLE.print(_table(results))
        _summary(results)
        if given.empty:
            others = [picker for picker in given.pickers if picker != "scratch"]
            cases = empties(given.data, work / "empty")
            CONSOLE.print(_empty_table(cases, others, given.bundle, Path(temporary)))
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
    parser.add_argument("--pickers", nargs="*", choices=PICKERS, default=PICKERS[:2])
    parser.add_argument("--part", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--no-empty", dest="empty", action="store_false", help="first table only")
    parser.add_argument("--work", type=Path, help="keep the micrographs in this folder")
    return parser.parse_args()


def _row(material: Material, picker: str, shipped: Path, work: Path) -> Row:
    started = time.process_time()
    row = Row()
    if picker == "scratch":
        if len(material.micrographs) == 1:
            return row  # cannot be split
        bundles = cross_fitted(material, work)
    else:
        numbers = list(range(len(material.micrographs)))
        bundles = [(make_bundle(picker, material.diameter_angstrom, shipped, work), numbers)]
    for bundle, numbers in bundles:
        every, written = score(material, bundle, numbers)
        row.every += every
        row.written += written
    row.cpu_seconds = time.process_time() - started
    return row


def _table(results: dict[str, dict[str, Row]]) -> Table:
    table = Table(title="Micrographs with known particles (F1, P, R: of the picks written)")
    heads = ("set", "picker", "AP", "best F1", "F1", "P", "R", "picks", "particles", "CPU s")
    for head in heads:
        table.add_column(head, justify="left" if head in {"set", "picker"} else "right")
    for name, rows in results.items():
        for picker, row in rows.items():
            if not row.every:
                continue
            found = row.figures()
            cells = (f"{found[key]:.3f}" for key in ("AP", "best F1", "F1", "P", "R"))
            counts = (f"{found[key]:.0f}" for key in ("picks", "particles"))
            table.add_row(name, picker, *cells, *counts, f"{row.cpu_seconds:.0f}")
        table.add_section()
    return table


def _summary(results: dict[str, dict[str, Row]]) -> None:
    """Print the mean of each picker over the sets, and where it is below the blob picker."""
    pickers = {picker for rows in results.values() for picker, row in rows.items() if row.every}
    for picker in (p for p in PICKERS if p in pickers):
        found = {n: r[picker].figures() for n, r in results.items() if r[picker].every}
        means = [
            statistics.fmean(f[key] for f in found.values()) for key in ("AP", "best F1", "F1")
        ]
        text = "  ".join(
            f"{k} {m:.3f}" for k, m in zip(("AP", "best F1", "F1"), means, strict=True)
        )
        CONSOLE.print(f"{picker}: mean of {len(found)} sets: {text}", highlight=False)
        if picker == "blob" or "blob" not in pickers:
            continue
        for key in ("AP", "F1"):
            worse = {
                name: difference
                for name, figures_ in found.items()
                if (difference := figures_[key] - results[name]["blob"].figures()[key]) < 0
            }
            words = ", ".join(f"{name} {by:+.3f}" for name, by in worse.items()) or "nowhere"
            CONSOLE.print(f"  {key} below the blob picker's: {words}", highlight=False)


def _empty_table(
    cases: Iterator[Empty], pickers: Sequence[str], shipped: Path, work: Path
) -> Table:
    table = Table(title="Picks where there is nothing to pick")
    table.add_column("micrograph")
    for picker in pickers:
        table.add_column(picker, justify="right")
    totals = dict.fromkeys(pickers, 0)
    for case in cases:
        counts = []
        for picker in pickers:
            folder = work / "empty-bundles"
            bundle = make_bundle(picker, case.diameter_angstrom, shipped, folder)
            found = pick(Job(path=case.path, version=None, bundle=bundle))
            counts.append(len(found.picks.above(found.threshold)))
            totals[picker] += counts[-1]
        table.add_row(case.name, *map(str, counts))
    table.add_section()
    table.add_row("all", *(str(totals[picker]) for picker in pickers))
    return table


if __name__ == "__main__":
    sys.exit(main())

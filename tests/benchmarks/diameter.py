"""Measure the particle's diameter in micrographs whose particles are known.

    python tests/benchmarks/diameter.py [--sets NAME ...] [--micrographs N] [--data FOLDER]
        [--model BUNDLE] [--keep FOLDER]

For every set, the table has the diameter that is found in its micrographs and in the first five of
them, and which wrong numbers are contradicted after five. The sets are those of ``ablation.py`` and
the simulated micrographs of the data folder, each of which is a set of one micrograph. Evidence is
kept in a folder (``--keep``) for each model, so that rules of the verdict can be compared quickly.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from ablation import SIMULATIONS, real_material, simulated_material
from real_data import DEFAULT_DATA, SETS
from rich.console import Console
from rich.table import Table

from livepick.core.contracts.bundle import GRAPH
from livepick.core.contracts.particle_measurement import ParticleEvidence, ParticleJob
from livepick.models.general_model import SHIPPED
from livepick.particle.decide import contradiction, decide
from livepick.particle.measure import measure

CONSOLE = Console(width=140)

SINGLE = {
    "apof_easy": 125.0,
    "groel_crowded": 150.0,
    "groel_tilt25": 150.0,
    "ribo_contam": 280.0,
    "spike_hard_00": 165.0,
    "empty_ice_contam": None,
}
"""Simulated micrographs of the data folder, with the diameter of their particles."""

WRONG = (0.5, 0.7, 1.5, 2.0)
"""Wrong numbers, as multiples of the true diameter, that should be contradicted."""

RIGHT = (0.85, 1.0, 1.15)
"""Numbers that should not be."""

FIRST = 5
"""Micrographs after which a wrong number should be contradicted."""


def main() -> int:
    """Print the table; return the number of false alarms, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--micrographs", type=int, default=10)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--keep", type=Path, help="keep micrographs and evidence in this folder")
    given = parser.parse_args()
    table = Table(title="Diameter found, and wrong numbers contradicted")
    for column in ("set", "true", "found", "ratio", "first 5", "sure", "contradicted", "CPU s"):
        table.add_column(column, justify="left" if column == "set" else "right")
    false_alarms = 0
    with tempfile.TemporaryDirectory(prefix="livepick-diameter-") as name:
        place = given.keep or Path(name)
        for set_name, true_angstrom, files in sets(given.data, place):
            if given.sets and set_name not in given.sets:
                continue
            started = time.process_time()
            evidence = [
                kept_evidence(path, given.model, place) for path in files[: given.micrographs]
            ]
            seconds = (time.process_time() - started) / len(evidence)
            cells, alarms = row(evidence, true_angstrom)
            false_alarms += alarms
            table.add_row(set_name, *cells, f"{seconds:.1f}")
            CONSOLE.print(set_name, *cells, style="dim")
    CONSOLE.print(table)
    return min(false_alarms, 1)


def sets(data: Path, place: Path) -> Iterator[tuple[str, float | None, list[Path]]]:
    """Yield the name of each set, the diameter of its particles, and its micrographs."""
    for name, simulation in SIMULATIONS.items():
        material = simulated_material(name, simulation, place / name)
        yield name, material.diameter_angstrom, material.micrographs
    if not data.is_dir():
        CONSOLE.print(f"skipped: no real micrographs at {data}")
        return
    for name, real in SETS.items():
        material = real_material(real, data, place / name)
        yield name, material.diameter_angstrom, material.micrographs
    for name, diameter_angstrom in SINGLE.items():
        yield name, diameter_angstrom, [data / "simulated" / f"{name}.mrc"]


def kept_evidence(path: Path, model: Path, place: Path) -> ParticleEvidence:
    """Return the evidence of a micrograph, measured once for each model."""
    digest = "discs"
    if model.is_dir():
        digest = hashlib.sha256((model / GRAPH).read_bytes()).hexdigest()[:12]
    kept = place / "evidence" / digest / f"{path.parent.parent.name}-{path.stem}.json"
    if kept.exists():
        return ParticleEvidence.from_json(kept.read_text())
    evidence = measure(ParticleJob(path, bundle=model if model.is_dir() else None))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(evidence.to_json())
    return evidence


def row(evidence: list[ParticleEvidence], true_angstrom: float | None) -> tuple[list[str], int]:
    """Return the cells of a set, and the number of false alarms."""
    verdict, first = decide(evidence), decide(evidence[:FIRST])
    if verdict.best is None:
        return ["-" if true_angstrom is None else f"{true_angstrom:g}", "nothing", *"-----"[:4]], 0
    found = verdict.best.words
    if verdict.second is not None:
        found += f" or {verdict.second.words}"
    early = "-" if first.best is None else first.best.words
    if true_angstrom is None:
        return ["-", found, "-", early, f"{verdict.confidence:.2f}", "-"], 0
    flagged = [
        times
        for times in (*WRONG, *RIGHT)
        if contradiction(first, diameter_angstrom=times * true_angstrom, contrast="dark")
    ]
    if contradiction(first, diameter_angstrom=true_angstrom, contrast="bright"):
        flagged.append(-1.0)
    words = ", ".join("bright" if times < 0 else f"{times:g}x" for times in sorted(flagged))
    return [
        f"{true_angstrom:g}",
        found,
        f"{verdict.best.diameter_angstrom / true_angstrom:.2f}",
        early,
        f"{verdict.confidence:.2f}",
        words or "none",
    ], len(set(flagged) & set(RIGHT))


if __name__ == "__main__":
    sys.exit(main())

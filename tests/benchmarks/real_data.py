"""Run real micrographs through the real service, and score the picks against those of experts.

    python tests/benchmarks/real_data.py [--data FOLDER] [--sets NAME ...] [--keep FOLDER]

Each set is run twice. Half of its micrographs arrive first, and the trainer gets only these. The
other half arrives during the training and is scored. So every micrograph is scored once, by a model
that has not seen it. The service only knows the pixel size and particle diameter. Expert picks that
are too close to the edge for a model to pick count neither way. The data are stored outside the
repository (``--data``, or ``LIVEPICK_DATA``); if they are missing, the benchmark prints a message
and ends.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from livepick.core.contracts.bundle import read_card
from livepick.core.evaluation.matching import Matches, figures, match
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.imaging.preprocess import pick_area
from livepick.models.registry import Models
from real_sets import DEFAULT_DATA, SETS, DataSet, read_truth, stem, write_micrograph

CONSOLE = Console(width=120)
LIVEPICK = Path(sys.executable).with_name("livepick")
LIMIT_SECONDS = 1500

CONFIG = """\
session: {{name: "{name}"}}
watch: {{directories: [in], settle_seconds: 1, rescan_seconds: 2}}
micrograph: {{pixel_size_angstrom: {pixel_size_angstrom}}}
particle: {{diameter_angstrom: {diameter_angstrom}}}
bootstrap: {{micrographs: {bootstrap}}}
output: {{directory: out}}
state: {{directory: state}}
web: {{listen: "127.0.0.1:0"}}
"""


def main() -> int:
    """Run all sets; return 0 if every micrograph was picked by a trained model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument("--sets", nargs="*", choices=SETS, default=["10146-sums", "10017"])
    parser.add_argument("--folds", type=int, choices=(1, 2), default=2)
    parser.add_argument("--keep", type=Path, help="leave the sessions in this folder")
    given = parser.parse_args()
    if not given.data.is_dir():
        CONSOLE.print(f"skipped: no real micrographs at {given.data}")
        return 0
    table = Table(title="Micrographs that were not trained on, compared with expert picks")
    for column in ("set", "picker", "AP", "best F1", "P", "R", "P at count", "Å error", "picks"):
        table.add_column(column, justify="left" if column in {"set", "picker"} else "right")
    with _workplace(given.keep) as place:
        for name in given.sets:
            rows = _cross_fitted(SETS[name], given.data, place / name, given.folds)
            for picker, cells in rows.items():
                table.add_row(name, picker, *cells)
            table.add_section()
    CONSOLE.print(table)
    return 0


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="livepick-real-") as name:
            yield Path(name)


def _cross_fitted(data: DataSet, root: Path, place: Path, folds: int) -> dict[str, list[str]]:
    """Return a row of cells for each picker."""
    images = sorted(root.glob(data.images))
    matches: dict[str, list[Matches]] = {"blob": [], "trained": []}
    written = dict.fromkeys(matches, 0)
    for fold in range(folds):
        folder = place / f"fold{fold}"
        shutil.rmtree(folder, ignore_errors=True)
        first, unseen = images[fold::2], images[1 - fold :: 2]
        seconds = _session(data, folder, first, unseen)
        CONSOLE.print(f"{data.name}, fold {fold}: first model after {seconds:.0f} s", style="dim")
        models = folder / "state" / "models"
        promoted = Models(models).promoted()
        if promoted is None:
            raise SystemExit(f"{models} has no promoted model")
        for picker, bundle in {"blob": models / "0000", "trained": promoted.path}.items():
            candidates = folder / "candidates" / picker
            _livepick(
                "pick", bundle, "--threshold", "0", "--output", candidates,
                "--pixel-size", data.pixel_size_angstrom,
                *(folder / "in" / f"{stem(i)}.mrc" for i in unseen),
            )  # fmt: skip
            card = read_card(bundle)
            for image in unseen:
                picks = read_coordinates(candidates / f"{stem(image)}_autopick.star")
                truth = read_truth(root / data.picks / f"{stem(image)}.csv")
                radius_px = data.radius_angstrom / data.pixel_size_angstrom
                area = pick_area(
                    np.asarray(Image.open(image)),
                    edge_fraction=card.edge_fraction,
                    diameter_px=data.diameter_angstrom / data.pixel_size_angstrom,
                )
                matches[picker].append(match(picks, truth, radius_px=radius_px, area=area))
                written[picker] += len(picks.above(card.threshold))
    return {p: _cells(data, m, written[p]) for p, m in matches.items()}


def _cells(data: DataSet, matches: Sequence[Matches], written: int) -> list[str]:
    found = figures(matches)
    ratios = (
        found.average_precision,
        found.best_f1,
        found.precision,
        found.recall,
        found.precision_at_count,
    )
    error = found.localisation_mean_px * data.pixel_size_angstrom
    return [*(f"{ratio:.3f}" for ratio in ratios), f"{error:.1f}", f"{written}"]


def _session(data: DataSet, folder: Path, first: Sequence[Path], second: Sequence[Path]) -> float:
    """Run a session; return the seconds from its start to the trained model."""
    (folder / "in").mkdir(parents=True)
    config = folder / "session.yaml"
    config.write_text(
        CONFIG.format(
            name=data.name,
            pixel_size_angstrom=data.pixel_size_angstrom,
            diameter_angstrom=data.diameter_angstrom,
            bootstrap=len(first),
        )
    )
    _land(data, first, folder / "in")
    started = time.monotonic()
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen([LIVEPICK, "run", config], stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(config, service, lambda s: s["training"]["state"] != "collecting")
        _land(data, second, folder / "in")
        _wait(config, service, lambda s: (s["model"] or {}).get("kind") == "trained")
        seconds = time.monotonic() - started
        count = len(first) + len(second)
        _wait(config, service, lambda s: s["micrographs"]["picked"] == count)
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(20)
    return seconds


def _wait(config: Path, service: subprocess.Popen[bytes], ready: Any) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise SystemExit(f"the service ended with status {service.returncode}: {config}")
        answer = _livepick("status", config, "--json")
        status = json.loads(answer)
        if status["micrographs"]["failed"]:
            raise SystemExit(f"micrographs failed: {answer}")
        if ready(status):
            return
        time.sleep(3)
    raise SystemExit(f"nothing more happened in {LIMIT_SECONDS} s: {status}")


def _livepick(*words: object) -> str:
    done = subprocess.run(
        [str(LIVEPICK), *map(str, words)], check=True, capture_output=True, text=True
    )
    return done.stdout


def _land(data: DataSet, images: Sequence[Path], folder: Path) -> None:
    """Write compact images as the files that a microscope would write."""
    for image in images:
        write_micrograph(image, data, folder / f"{stem(image)}.mrc")


if __name__ == "__main__":
    sys.exit(main())

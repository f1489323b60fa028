"""``make demo``: a simulated session from the first micrograph to a trained picker.

A simulated microscope writes micrographs into a folder, with ice, carbon, contamination,
aggregates and an empty field among them. The real service watches the folder, picks with blobs,
trains on the first ten, and picks them all again. Then both pickers are held against the true
positions, on micrographs that the training never saw. Ends with status 1 if anything was not
picked, or if the trained picker is not the better one.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from livepick.config.yaml_loader import load_config
from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.core.evaluation.matching import Figures, Matches, figures, match, precision_recall_f1
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.imaging.pick_area import PickArea
from livepick.models.registry import MODELS, Models
from livepick.simulate.acquisition import NOTES
from livepick.simulate.species import SPECIES, specimen

CONSOLE = Console()
LIVEPICK = Path(sys.executable).with_name("livepick")
PIXEL_SIZE_ANGSTROM = 2.0
SEED = 10
"""Of a session with all kinds of trouble: carbon on six of 24, an empty field, 14 with ice."""

POLL_SECONDS = 2.0
SPEAK_SECONDS = 10.0
STOP_SECONDS = 10.0
"""The service promises to end within this."""

PICTURES = 4

CONFIG = """\
session:
  name: demo
watch:
  directories: [micrographs]
  settle_seconds: 1
  rescan_seconds: 2
particle:
  diameter_angstrom: {diameter:g}
bootstrap:
  micrographs: {bootstrap}
output:
  directory: output
state:
  directory: state
web:
  listen: 127.0.0.1:0
"""


class DemoError(Exception):
    """Something that the demo promises did not happen."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Where everything is, and how much of it."""

    place: Path
    micrographs: int
    bootstrap: int
    species: str
    signal_to_noise: float
    limit_seconds: float

    @property
    def config(self) -> Path:
        return self.place / "session.yaml"

    @property
    def state(self) -> Path:
        return self.place / "state"

    @property
    def diameter_angstrom(self) -> float:
        return specimen(self.species).diameter_angstrom

    @property
    def radius_px(self) -> float:
        """Half the particle's radius."""
        return self.diameter_angstrom / 4 / PIXEL_SIZE_ANGSTROM


def main() -> int:
    """Run the demo; return the exit status."""
    demo = _arguments()
    started = time.monotonic()
    _prepare(demo)
    try:
        with _started(demo, "service", [str(LIVEPICK), "run", str(demo.config)]) as service:
            address = _address(demo, service)
            say(f"The page of the session is http://{address}/ while this runs")
            with _started(demo, "microscope", _microscope(demo)) as microscope:
                _follow(demo, service, microscope, started)
            _show_metrics(address)
            _stop(service)
        _check_outputs(demo)
        better = _judge(demo)
    except DemoError as failure:
        CONSOLE.print(f"[bold red]The demo failed:[/] {failure}", highlight=False)
        _show_log(demo)
        return 1
    say(f"All of it took {time.monotonic() - started:.0f} s; it lies in {demo.place}")
    return 0 if better else 1


def say(text: str) -> None:
    """Print a plain sentence."""
    CONSOLE.print(text, highlight=False, soft_wrap=True)


def _arguments() -> Demo:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=Path("demo-output"), help="emptied first")
    parser.add_argument("--micrographs", type=int, default=24)
    parser.add_argument("--bootstrap", type=int, default=10)
    parser.add_argument("--species", choices=SPECIES, default="apoferritin")
    parser.add_argument("--snr", type=float, default=0.05)
    parser.add_argument("--limit-seconds", type=float, default=600)
    given = parser.parse_args()
    return Demo(
        given.place.resolve(),
        given.micrographs,
        given.bootstrap,
        given.species,
        given.snr,
        given.limit_seconds,
    )


def _prepare(demo: Demo) -> None:
    if demo.place.exists():
        if any(demo.place.iterdir()) and not demo.config.is_file():
            sys.exit(f"{demo.place} holds something else; name another --place, or empty it")
        shutil.rmtree(demo.place)
    (demo.place / "micrographs").mkdir(parents=True)
    demo.config.write_text(CONFIG.format(diameter=demo.diameter_angstrom, bootstrap=demo.bootstrap))


def _microscope(demo: Demo) -> list[str]:
    options = {
        "--truth": demo.place / "truth",
        "--micrographs": demo.micrographs,
        "--every": "2s",
        "--species": demo.species,
        "--snr": demo.signal_to_noise,
        "--pixel-size": PIXEL_SIZE_ANGSTROM,
        "--seed": SEED,
    }
    words = [str(word) for option in options.items() for word in option]
    return [str(LIVEPICK), "simulate", str(demo.place / "micrographs"), *words]


@contextmanager
def _started(demo: Demo, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside us with its output in a log; it does not outlive the block."""
    with (
        (demo.place / f"{name}.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


def _address(demo: Demo, service: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise DemoError(f"the service ended at its start with status {service.returncode}")
        file = demo.state / "web.address"
        if file.is_file():
            return file.read_text().strip()
        time.sleep(0.2)
    raise DemoError("the service did not start within 60 s")


def _status(demo: Demo) -> dict[str, Any]:
    answer = subprocess.run(
        [LIVEPICK, "status", demo.config, "--json"], capture_output=True, check=False, timeout=60
    )
    if answer.returncode:
        raise DemoError(f"livepick status: {answer.stderr.decode().strip()}")
    status: dict[str, Any] = json.loads(answer.stdout)
    return status


def _follow(
    demo: Demo,
    service: subprocess.Popen[bytes],
    microscope: subprocess.Popen[bytes],
    started: float,
) -> None:
    """Tell how it goes until all is picked by the trained model."""
    state, told = "", 0.0
    with CONSOLE.status("the session begins") as line:
        while True:
            status = _status(demo)
            now = _sentence(demo, status)
            stamp = f"{time.monotonic() - started:4.0f} s  "
            if CONSOLE.is_terminal:
                line.update(stamp + now)
            if status["training"]["state"] != state or time.monotonic() - told > SPEAK_SECONDS:
                say(stamp + now)
                state, told = status["training"]["state"], time.monotonic()
            if microscope.poll() not in {None, 0}:
                raise DemoError(f"the microscope ended with status {microscope.returncode}")
            if service.poll() is not None:
                raise DemoError(f"the service ended with status {service.returncode}")
            if status["training"]["state"] == "failed":
                raise DemoError("the training failed")
            if _complete(demo, status):
                return
            if time.monotonic() - started > demo.limit_seconds:
                raise DemoError(f"not all was picked after {demo.limit_seconds:.0f} s")
            time.sleep(POLL_SECONDS)


def _sentence(demo: Demo, status: dict[str, Any]) -> str:
    counts, model = status["micrographs"], status["model"]
    landed = sum(counts.values())
    by = f"{model['kind']} picker" if model else "no picker yet"
    words = f"{landed} of {demo.micrographs} micrographs in, {counts['picked']} picked ({by})"
    for name, phrase in (("stale", "due again"), ("failed", "failed")):
        words += f", {counts[name]} {phrase}" if counts[name] else ""
    words += f", {status['particles']} particles; {status['training']['state']}"
    run = demo.state / RUNS / f"{status['training']['version'] or 0:04d}"
    lines = ProgressReader(run).new()
    if status["training"]["state"] == "training" and lines and lines[-1].total:
        words += f", {lines[-1].stage} {lines[-1].done} of {lines[-1].total}"
    return words


def _complete(demo: Demo, status: dict[str, Any]) -> bool:
    counts, model = status["micrographs"], status["model"]
    if counts["failed"]:
        raise DemoError(f"micrographs failed: {status['failures']}")
    trained = model is not None and model["kind"] == "trained"
    return trained and counts["picked"] == demo.micrographs


def _show_metrics(address: str) -> None:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()

    def total(name: str) -> float:
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    count = total("livepick_end_to_end_latency_seconds_count")
    latency = total("livepick_end_to_end_latency_seconds_sum") / max(count, 1)
    busy = total("livepick_stage_duration_seconds_sum")
    if not count:
        raise DemoError("/metrics does not know of a single picked micrograph")
    say(
        f"/metrics: first picks {latency:.1f} s after a micrograph landed, on average;"
        f" {busy:.1f} s of work in all stages;"
        f" {total('livepick_particles_total'):.0f} picks written"
    )


def _stop(service: subprocess.Popen[bytes]) -> None:
    asked = time.monotonic()
    service.send_signal(signal.SIGTERM)
    try:
        status = service.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the service did not end {STOP_SECONDS:.0f} s after SIGTERM") from None
    if status:
        raise DemoError(f"the service ended on SIGTERM with status {status}")
    say(f"The service ended {time.monotonic() - asked:.1f} s after SIGTERM")


def _check_outputs(demo: Demo) -> None:
    inputs = {path.stem for path in (demo.place / "micrographs").glob("*.mrc")}
    outputs = {
        path.name.removesuffix("_autopick.star")
        for path in (demo.place / "output").rglob("*_autopick.star")
    }
    if inputs != outputs or len(inputs) != demo.micrographs:
        raise DemoError(f"no coordinates for {sorted(inputs - outputs)}")


def _judge(demo: Demo) -> bool:
    """Hold both pickers against the truth; return whether the trained one is better."""
    models = demo.state / MODELS
    promoted = Models(models).promoted()
    if promoted is None:
        raise DemoError(f"{models} has no promoted model")
    pickers = {"blob": models / "0000", "trained": promoted.path}
    files = sorted((demo.place / "micrographs").glob("*.mrc"))
    for name, bundle in pickers.items():
        output = demo.place / "candidates" / name
        command = ["pick", bundle, "--threshold", "0", "--output", output, *files]
        subprocess.run([str(LIVEPICK), *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    run = RunSpec.read(demo.state / RUNS / pickers["trained"].name)
    used = {Path(micrograph.path).stem for micrograph in run.micrographs}
    unseen = [path.stem for path in files if path.stem not in used]

    say(f"{len(used)} micrographs went into the training; {len(unseen)} are unseen by it")
    table = Table(title="Against the truth", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("micrographs", no_wrap=True)
    table.add_column("picker", no_wrap=True)
    for heading in ("AP", "F1", "precision", "recall", "Å error", "F1 written"):
        table.add_column(heading, justify="right", no_wrap=True)
    average_precision: dict[str, float] = {}  # on what the training never saw
    for title, stems in (
        (f"{len(unseen)} unseen", unseen),
        (f"all {len(files)}", [path.stem for path in files]),
    ):
        for name, bundle in pickers.items():
            matches = [_matches(demo, name, stem) for stem in stems]
            found = figures(matches)
            average_precision.setdefault(name, found.average_precision)
            written = precision_recall_f1(matches, read_card(bundle).threshold)[2]
            table.add_row(title, name, *_cells(found), f"{written:.3f}")
        table.add_section()
    CONSOLE.print(table)
    say(
        f"One-to-one within {demo.diameter_angstrom / 4:.0f} Å; precision, recall and error"
        " where F1 is best; all candidates count for AP; F1 written: at the model's own threshold"
    )
    _draw(demo, unseen, {name: read_card(path).threshold for name, path in pickers.items()})
    gain = average_precision["trained"] - average_precision["blob"]
    better = gain > 0
    verdict = "[bold green]better[/]" if better else "[bold red]not better[/]"
    CONSOLE.print(f"The trained picker is {verdict} than the blob picker (AP {gain:+.3f})")
    return better


def _matches(demo: Demo, picker: str, stem: str) -> Matches:
    picks = read_coordinates(demo.place / "candidates" / picker / f"{stem}_autopick.star")
    truth = read_coordinates(demo.place / "truth" / f"{stem}_truth.star")
    return match(picks, truth, radius_px=demo.radius_px, area=_area(demo, stem))


def _area(demo: Demo, stem: str) -> PickArea:
    """Return where both pickers may pick: they have the config's edge rule."""
    import mrcfile  # noqa: PLC0415 - needed at the end only

    with mrcfile.mmap(demo.place / "micrographs" / f"{stem}.mrc", mode="r") as mrc:
        height, width = mrc.data.shape
    particle = load_config(demo.config).particle
    edge_px = particle.edge_fraction * particle.diameter_angstrom / PIXEL_SIZE_ANGSTROM
    return PickArea.of_image((height, width), edge_px=edge_px)


def _cells(found: Figures) -> list[str]:
    ratios = (found.average_precision, found.best_f1, found.precision, found.recall)
    error = found.localisation_mean_px * PIXEL_SIZE_ANGSTROM
    return [*(f"{ratio:.3f}" for ratio in ratios), f"{error:.1f}"]


def _draw(demo: Demo, stems: list[str], thresholds: dict[str, float]) -> None:
    """Draw the picks of both pickers, and the truth, on the most troubled micrographs."""
    from matplotlib import use  # noqa: PLC0415 - seconds to load, and needed at the end only

    use("Agg")
    import mrcfile  # noqa: PLC0415
    from matplotlib import pyplot  # noqa: PLC0415
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415

    notes = [json.loads(line) for line in (demo.place / "truth" / NOTES).read_text().splitlines()]
    trouble = {
        Path(note["micrograph"]).stem: note["carbon"] + bool(note["crystals"]) + note["aggregates"]
        for note in notes
    }
    folder = demo.place / "pictures"
    folder.mkdir()
    for stem in sorted(stems, key=lambda stem: -trouble[stem])[:PICTURES]:
        image = gaussian_filter(mrcfile.read(demo.place / "micrographs" / f"{stem}.mrc"), 2)
        truth = read_coordinates(demo.place / "truth" / f"{stem}_truth.star")
        middle = np.median(image)  # of ice: carbon and crystals may be black
        reach = 7 * np.median(np.abs(image - middle))
        figure, axes = pyplot.subplots(1, 2, figsize=(16, 8.4), layout="constrained")
        for axis, (name, threshold) in zip(axes, thresholds.items(), strict=True):
            path = demo.place / "candidates" / name / f"{stem}_autopick.star"
            picks = read_coordinates(path).above(threshold)
            hit = match(picks, truth, radius_px=demo.radius_px).hit
            axis.imshow(image, cmap="gray", vmin=middle - reach, vmax=middle + reach)
            ring = {"s": 160, "facecolors": "none", "linewidths": 1.2}
            axis.scatter(truth.x_px, truth.y_px, edgecolors="gold", label="truth", **ring)
            for found, colour, label in ((hit, "lime", "right"), (~hit, "red", "wrong")):
                axis.scatter(picks.x_px[found], picks.y_px[found], 14, c=colour, label=label)
            axis.set_title(f"{stem}, {name}: {hit.sum()} right, {(~hit).sum()} wrong")
            axis.set_axis_off()
            axis.legend(loc="upper right")
        figure.savefig(folder / f"{stem}.png", dpi=80)
        pyplot.close(figure)
    say(f"Pictures with the picks drawn in: {folder}")


def _show_log(demo: Demo) -> None:
    logs = [demo.place / "service.log", demo.place / "microscope.log"]
    logs += sorted(demo.state.glob("runs/*/trainer.log"))
    for log in logs:
        if log.is_file():
            tail = log.read_text(errors="replace").splitlines()[-15:]
            say("\n".join([f"--- the end of {log}", *tail]))


if __name__ == "__main__":
    sys.exit(main())

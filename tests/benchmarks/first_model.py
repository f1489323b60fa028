"""Measure the time to the first model, from the tenth micrograph to the promoted bundle.

    python tests/benchmarks/first_model.py [--picks blob] [--start general] [--size 2048]

The real service gets ten simulated micrographs of 2048 x 2048 pixels of 2 Å. The last one arrives
when the others are picked, and the time is measured from its entry in the ledger. The benchmark
prints one line per stage of the training, with its wall seconds, the CPU seconds of the trainer and
the trainer's last message. Picking the tenth micrograph, starting the trainer and the trial of the
new model are stages too. The service and its child processes run on two cores. Target: six minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from small_session import counts

from livepick.config.training_sections import Bootstrap, Training
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.run import RUNS
from livepick.ledger.rows import Counts
from livepick.models.registry import MODELS, Models
from livepick.retraining.trainer_process import LOCK
from livepick.simulate.acquisition import Pace, Plan, acquire
from livepick.simulate.field import Session
from livepick.simulate.species import SPECIES, specimen
from running_program import running

CONSOLE = Console(width=120)
LIVEPICK = Path(sys.executable).with_name("livepick")
MICROGRAPHS = 10
CORES = 2
MOST_SECONDS = 360.0
LIMIT_SECONDS = 1500.0
POLL_SECONDS = 0.1
DRAFT = ".draft-"
"""Prefix of the folder of the stage that the trainer is working on."""

CONFIG = """\
session: {{name: first-model}}
watch: {{directories: [in], settle_seconds: 1, rescan_seconds: 2}}
particle: {{diameter_angstrom: {diameter:g}}}
bootstrap: {{micrographs: {micrographs}, picks: {picks}}}
training: {{start: {start}}}
picking: {{device: cpu}}
output: {{directory: out}}
state: {{directory: state}}
web: {{listen: "127.0.0.1:0"}}
"""


@dataclass(slots=True)
class Stage:
    """Time that one stage has taken so far."""

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    note: str = ""


def main() -> int:
    """Run the benchmark; return 1 if the first model comes too late."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--place", type=Path, help="run the session in this empty folder and keep it"
    )
    parser.add_argument("--species", choices=SPECIES, default="apoferritin")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--pixel-size", type=float, default=2.0)
    parser.add_argument("--snr", type=float, default=0.05)
    parser.add_argument("--picks", choices=("blob", "general"), default=Bootstrap().first_picker)
    parser.add_argument("--start", choices=("general", "scratch"), default=Training().start)
    given = parser.parse_args()
    session = Session(
        species=given.species,
        shape_px=(given.size, given.size),
        pixel_size_angstrom=given.pixel_size,
        signal_to_noise=given.snr,
        seed=10,
    )
    with _place(given.place) as place:
        CONSOLE.print(f"simulating {MICROGRAPHS} micrographs", style="dim")
        made = _simulate(session, place, picks=given.picks, start=given.start)
        _keep_to(CORES)
        load = os.getloadavg()[0]
        stages = _time(place, made)
    table = Table(title=f"{MICROGRAPHS} micrographs of {given.size} x {given.size}, {CORES} cores")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("CPU seconds", justify="right")
    table.add_column("result")
    for stage in stages:
        cells = (f"{stage.seconds:.1f}", f"{stage.cpu_seconds:.1f}", stage.note)
        table.add_row(stage.name, *cells)
    seconds = sum(stage.seconds for stage in stages)
    table.add_section()
    table.add_row("all", f"{seconds:.1f}", f"{sum(stage.cpu_seconds for stage in stages):.1f}", "")
    CONSOLE.print(table)
    kept = seconds <= MOST_SECONDS
    CONSOLE.print(
        f"{seconds:.0f} s from the tenth micrograph in the ledger to the promoted model"
        f" (limit {MOST_SECONDS:.0f} s; load of the machine before {load:.1f}):"
        f" {'kept' if kept else 'EXCEEDED'}"
    )
    return 0 if kept else 1


@contextmanager
def _place(wish: Path | None) -> Iterator[Path]:
    if wish is None:
        with tempfile.TemporaryDirectory(prefix="livepick-first-") as name:
            yield Path(name)
    else:
        wish.mkdir(parents=True, exist_ok=True)
        if any(wish.iterdir()):
            sys.exit(f"{wish} is not empty; name another --place")
        yield wish.resolve()


def _simulate(session: Session, place: Path, *, picks: str, start: str) -> list[Path]:
    made: list[Path] = []
    plan = Plan(
        session=session,
        output=place / "made",
        truth=place / "truth",
        micrographs=MICROGRAPHS,
        every_seconds=0,
        write_seconds=0,
    )
    acquire(plan, Pace(0), lambda path, _: made.append(path))
    (place / "in").mkdir()
    diameter = specimen(session.species).diameter_angstrom
    text = CONFIG.format(diameter=diameter, micrographs=MICROGRAPHS, picks=picks, start=start)
    (place / "session.yaml").write_text(text)
    return made


def _keep_to(cores: int) -> None:
    """Restrict this process and its child processes to a number of cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _time(place: Path, made: list[Path]) -> list[Stage]:
    """Run the session, and return its stages, starting with the tenth micrograph."""
    *before, tenth = made
    command = [LIVEPICK, "run", place / "session.yaml"]
    with running(place / "service.log", command) as service:
        for path in before:
            path.rename(place / "in" / path.name)
        _until(service, place, lambda found: found.picked == len(before))
        tenth.rename(place / "in" / tenth.name)
        _until(service, place, lambda found: found.total == len(made))
        return _follow(service, place)


def _until(service: subprocess.Popen[bytes], place: Path, ready: Callable[[Counts], bool]) -> None:
    """Wait until the counts in the ledger meet a condition."""
    give_up = time.monotonic() + LIMIT_SECONDS
    while not ready(counts(place)):
        if service.poll() is not None:
            raise SystemExit(f"the service ended: {(place / 'service.log').read_text()[-2000:]}")
        if time.monotonic() > give_up:
            raise SystemExit(f"nothing more happened in {LIMIT_SECONDS:.0f} s: {counts(place)}")
        time.sleep(POLL_SECONDS)


def _follow(service: subprocess.Popen[bytes], place: Path) -> list[Stage]:
    """Return the stages in order, until the first model is promoted."""
    models = Models(place / "state" / MODELS)
    newest = max(int(folder.name) for folder in models.directory.glob("[0-9]*"))
    run = place / "state" / RUNS / bundle_name(newest + 1)
    stages = [Stage("pick the tenth")]
    last, cpu = time.monotonic(), 0.0
    give_up = last + LIMIT_SECONDS
    while True:
        current = models.promoted()
        promoted = current is not None and current.path.name == run.name
        name = _stage(run)
        now, spent = time.monotonic(), _cpu_seconds(run)
        stages[-1].seconds += now - last
        stages[-1].cpu_seconds += max(0.0, (spent if spent is not None else cpu) - cpu)
        last, cpu = now, spent if spent is not None else cpu
        lines = ProgressReader(run).new()
        progress = lines[-1] if lines else None
        if progress is not None and progress.stage == stages[-1].name:
            stages[-1].note = progress.note
        if promoted:
            return stages
        if progress is not None and progress.stage == "failed":
            raise SystemExit(f"the training failed: {progress.note}")
        if service.poll() is not None or now > give_up:
            raise SystemExit(f"no model: {(place / 'service.log').read_text()[-2000:]}")
        if name is not None and name != stages[-1].name:
            stages.append(Stage(name))
        time.sleep(POLL_SECONDS)


def _stage(run: Path) -> str | None:
    """Return the current stage of a run; None between two stages, or before there is a run."""
    if not run.is_dir():
        return None
    drafts = [path.name.removeprefix(DRAFT) for path in run.glob(f"{DRAFT}*")]
    if drafts:
        return drafts[0]
    if (run / "publish").exists():
        return "try and promote"
    return None if (run / "prepare").exists() else "start the trainer"


def _cpu_seconds(run: Path) -> float | None:
    """Return the CPU seconds of the run's trainer so far; None if no trainer is running."""
    try:
        text = (run / LOCK).read_text().strip()
        if not text.isdigit():
            return None
        times = psutil.Process(int(text)).cpu_times()
    except (OSError, psutil.Error):
        return None
    return float(times.user + times.system + times.children_user + times.children_system)


if __name__ == "__main__":
    sys.exit(main())

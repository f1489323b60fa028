"""Measure how much a training or class averages slow down picking, in micrographs per minute.

    python tests/benchmarks/throughput.py [--beside classes] [--windows 3] [--seconds 20] ...

The real service picks with and without a training beside it, and its queue is always full. The
config is edited while the service runs: a bootstrap that is due starts a training, and one that is
not due ends it. So measurement windows without and with the trainer alternate on the same queue,
and other load on the machine affects both. (But the trainer runs at low priority: on a busy machine
it gets little CPU time and slows down picking little. Therefore measure on an idle machine.)
Windows with the trainer begin once it is in its epochs. The exit status is 1 if the medians differ
by more than half. With ``--beside classes``, class averages are made one after the other in every
second window, and the medians may differ by a tenth.

Worker and trainer share the cores. Make sure that there are two, or bind this process to two of
them (``taskset --cpu-list 0,1``).
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table
from small_session import counts

from livepick.simulate.acquisition import Pace, Plan, acquire
from livepick.simulate.field import Session as Simulation
from livepick.simulate.species import specimen

LIVEPICK = Path(sys.executable).with_name("livepick")
CONSOLE = Console(width=110, highlight=False)
LEAST_RATIO = {"trainer": 0.5, "classes": 0.9}
DRAWINGS = 6
"""Number of different micrographs; the queue contains hard links to them."""

AHEAD = 400
"""Number of micrographs that are kept waiting in the queue."""

NEVER, NOW = 5000, 5
"""Values of ``bootstrap.micrographs`` with which no training is due, and one is due."""

TRAINING = ("train", "retrain")

WAIT_SECONDS = 1200.0


class Service:
    """The service on a folder, with a queue that never becomes empty."""

    def __init__(self, folder: Path, size_px: int) -> None:
        self._folder = folder
        self._landed = 0
        self._log = folder / "log"
        simulation = Simulation(shape_px=(size_px, size_px), seed=3, signal_to_noise=0.3)
        plan = Plan(
            session=simulation,
            output=folder / "drawn",
            truth=folder / "truth",
            micrographs=DRAWINGS,
            every_seconds=0,
            write_seconds=0,
        )
        self._drawn: list[Path] = []
        acquire(plan, Pace(0), lambda path, _: self._drawn.append(path))
        self._diameter_angstrom = round(specimen(simulation.species).diameter_angstrom)
        (folder / "in").mkdir()
        self.edit(NEVER)
        self.fill()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([LIVEPICK, "run", folder / "session.yaml"], stderr=log)

    def edit(self, bootstrap_micrographs: int, *, classes: bool = False) -> None:
        """Replace the config in the same way as an editor."""
        settings = {
            "session": {"name": "throughput"},
            "watch": {"directories": ["in"], "settle_seconds": 0.2, "rescan_seconds": 2},
            "particle": {"diameter_angstrom": self._diameter_angstrom},
            "bootstrap": {"micrographs": bootstrap_micrographs},
            "training": {"epochs": 500, "auto_remedy": False},
            "picking": {"device": "cpu", "workers": 1, "repick": "none"},
            "class_averages": {"enabled": classes, "every_minutes": 0.001},
            "output": {"directory": "out"},
            "state": {"directory": "state"},
            "web": {"listen": "127.0.0.1:0"},
        }
        draft = self._folder / ".session.yaml"
        draft.write_text(yaml.safe_dump(settings))
        draft.rename(self._folder / "session.yaml")

    def fill(self) -> None:
        """Add micrographs until enough are waiting."""
        wanted = self.picked() + AHEAD
        while self._landed < wanted:
            drawn = self._drawn[self._landed % DRAWINGS]
            (self._folder / "in" / f"mic_{self._landed:05d}.mrc").hardlink_to(drawn)
            self._landed += 1

    def picked(self) -> int:
        """Return the number of micrographs that have picks."""
        return counts(self._folder).picked

    def stage(self) -> str:
        """Return the stage of the current training, from the metrics; empty if there is none."""
        address = (self._folder / "state" / "web.address").read_text().strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = re.search(r'^livepick_training_stage\{stage="(\w+)"\} 1', text, re.MULTILINE)
        return found[1] if found else ""

    def said(self) -> int:
        """Return the size of the trainers' progress files, in bytes."""
        files = (self._folder / "state" / "runs").glob("[0-9]*/progress.jsonl")
        return sum(progress.stat().st_size for progress in files)

    def train(self) -> None:
        """Start or continue a training, and wait until it is in its epochs."""
        before = self.said()
        self.edit(NOW)
        self.until("epochs", lambda: self.said() > before and self.stage() in TRAINING)

    def averages(self) -> bool:
        """Return True if class averages are being made."""
        folders = (self._folder / "state" / "classes").glob("[0-9]*")
        return any(not (folder / "result").is_dir() for folder in folders)

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true, and keep the queue full."""
        give_up = time.monotonic() + WAIT_SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"waited in vain for: {what}\n{self._log.read_text()[-3000:]}")
            self.fill()
            time.sleep(0.5)

    def rate(self, seconds: float) -> float:
        """Return the number of micrographs picked per minute in a window of time."""
        self.fill()
        before, began = self.picked(), time.monotonic()
        time.sleep(seconds)
        return (self.picked() - before) / (time.monotonic() - began) * 60


def main() -> int:
    """Run the benchmark; return 1 if a training slows down picking by more than half."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--beside", choices=("trainer", "classes"), default="trainer")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", type=int, default=2048, help="side of the micrographs, in pixels")
    given = parser.parse_args()
    alone: list[float] = []
    beside: list[float] = []
    table = Table(
        title=f"Micrographs of {given.size} x {given.size} px per minute, {_cores()} cores"
    )
    for column in ("alone", f"beside {given.beside}", "at the end", "load average"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory(prefix="livepick-throughput-") as name:
        service = Service(Path(name), given.size)
        try:
            service.until("picks", lambda: service.picked() > 2 * NOW)
            if given.beside == "trainer":
                service.train()
            for _ in range(given.windows):
                service.edit(NEVER)
                service.until(
                    "the end of it", lambda: not service.stage() and not service.averages()
                )
                alone.append(service.rate(given.seconds))
                if given.beside == "trainer":
                    service.train()
                else:
                    service.edit(NEVER, classes=True)
                    service.until("class averages", service.averages)
                beside.append(service.rate(given.seconds))
                load = f"{os.getloadavg()[0]:.1f}"
                doing = service.stage() or ("classes" if service.averages() else "-")
                table.add_row(f"{alone[-1]:.0f}", f"{beside[-1]:.0f}", doing, load)
        finally:
            service.process.terminate()
            service.process.wait(30)
    ratio = statistics.median(beside) / statistics.median(alone)
    CONSOLE.print(table)
    CONSOLE.print(
        f"medians {statistics.median(alone):.0f} and {statistics.median(beside):.0f}: beside"
        f" {given.beside} {ratio:.2f} of alone, {LEAST_RATIO[given.beside]} at least"
    )
    return 0 if ratio >= LEAST_RATIO[given.beside] else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    sys.exit(main())

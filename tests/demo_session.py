"""The demo's session: the service and the simulated microscope, started, followed and stopped."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from demo_progress import DemoError, ProgressWatch, is_complete, next_step, progress
from livepick.simulate.species import specimen
from running_program import running

CONSOLE = Console()
LIVEPICK = Path(sys.executable).with_name("livepick")
PIXEL_SIZE_ANGSTROM = 2.0
SEED = 10
"""Seed of a session with many faults: carbon on 6 of 24, an empty field, 14 with ice."""

POLL_SECONDS = 2.0
SPEAK_SECONDS = 10.0
STOP_SECONDS = 10.0
"""Longest time that the service may take to end."""

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


@dataclass(frozen=True, slots=True)
class Demo:
    """Folder and size of the session."""

    place: Path
    micrographs: int = 24
    bootstrap: int = 10
    species: str = "apoferritin"
    signal_to_noise: float = 0.05
    patience_seconds: float = 300
    """The demo fails if nothing moves for this long."""

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


def say(text: str) -> None:
    """Print a plain sentence."""
    CONSOLE.print(text, highlight=False, soft_wrap=True)


def prepare(demo: Demo) -> None:
    if demo.place.exists():
        if any(demo.place.iterdir()) and not demo.config.is_file():
            sys.exit(f"{demo.place} contains other files; name another --place, or empty it")
        shutil.rmtree(demo.place)
    (demo.place / "micrographs").mkdir(parents=True)
    demo.config.write_text(CONFIG.format(diameter=demo.diameter_angstrom, bootstrap=demo.bootstrap))


def microscope_command(demo: Demo) -> list[str]:
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


def started(
    demo: Demo, name: str, command: list[str]
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run a program with its output in a log, until the end of the block."""
    return running(demo.place / f"{name}.log", command, stop_seconds=STOP_SECONDS)


def read_address(demo: Demo, service: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise DemoError(f"the service ended at its start with status {service.returncode}")
        file = demo.state / "web.address"
        if file.is_file():
            return file.read_text().strip()
        time.sleep(0.2)
    raise DemoError("the service did not start within 60 s")


def follow(
    demo: Demo,
    service: subprocess.Popen[bytes],
    microscope: subprocess.Popen[bytes],
    begun: float,
) -> None:
    """Report progress until the trained model has picked all micrographs.

    Raises
    ------
    DemoError
        A program ended, something failed, or nothing moves any more.
    """
    state, told = "", 0.0
    watch = ProgressWatch(demo.patience_seconds)
    with CONSOLE.status("the session begins") as line:
        while True:
            status = _status(demo)
            _check_no_failure(status, service, microscope)
            if is_complete(status, demo.micrographs):
                return
            waits_for = next_step(status, demo.micrographs)
            watch.check(waits_for, progress(status))
            text = (
                f"{time.monotonic() - begun:4.0f} s  {_sentence(demo, status)};"
                f" waiting for {waits_for}, {watch.last_change()}"
            )
            if CONSOLE.is_terminal:
                line.update(text)
            if status["training"]["state"] != state or time.monotonic() - told > SPEAK_SECONDS:
                say(text)
                state, told = status["training"]["state"], time.monotonic()
            time.sleep(POLL_SECONDS)


def _status(demo: Demo) -> dict[str, Any]:
    answer = subprocess.run(
        [LIVEPICK, "status", demo.config, "--json"], capture_output=True, check=False, timeout=60
    )
    if answer.returncode:
        raise DemoError(f"livepick status: {answer.stderr.decode().strip()}")
    status: dict[str, Any] = json.loads(answer.stdout)
    return status


def _check_no_failure(
    status: dict[str, Any], service: subprocess.Popen[bytes], microscope: subprocess.Popen[bytes]
) -> None:
    if microscope.poll() not in {None, 0}:
        raise DemoError(f"the microscope ended with status {microscope.returncode}")
    if service.poll() is not None:
        raise DemoError(f"the service ended with status {service.returncode}")
    if status["training"]["state"] == "failed":
        raise DemoError("the training failed")
    if status["micrographs"]["failed"]:
        raise DemoError(f"micrographs failed: {status['failures']}")


def _sentence(demo: Demo, status: dict[str, Any]) -> str:
    counts, model = status["micrographs"], status["model"]
    by = f"{model['kind']} picker" if model else "no picker yet"
    landed = sum(counts.values())
    words = f"{landed} of {demo.micrographs} micrographs in, {counts['picked']} picked ({by})"
    if counts["stale"]:
        words += f", {counts['stale']} due again"
    return f"{words}, {status['particles']} particles"


def stop(service: subprocess.Popen[bytes]) -> None:
    asked = time.monotonic()
    service.send_signal(signal.SIGTERM)
    try:
        status = service.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the service did not end {STOP_SECONDS:.0f} s after SIGTERM") from None
    if status:
        raise DemoError(f"the service ended on SIGTERM with status {status}")
    say(f"The service ended {time.monotonic() - asked:.1f} s after SIGTERM")


def show_logs(demo: Demo) -> None:
    logs = [demo.place / "service.log", demo.place / "microscope.log"]
    logs += sorted(demo.state.glob("runs/*/trainer.log"))
    for log in logs:
        if log.is_file():
            tail = log.read_text(errors="replace").splitlines()[-15:]
            say("\n".join([f"--- the end of {log}", *tail]))

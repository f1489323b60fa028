"""Run a session through the real service, with all kinds of changes to its config.

    python tests/benchmarks/live_session.py [--every SECONDS] [--micrographs N] [--keep FOLDER]

A simulated microscope writes 60 micrographs, one every two seconds. The service bootstraps. The
config asks for generation 2 at micrograph 30; at 35 it has first a typo and then a wrong type, and
is then fixed. At 50 the model is rolled back. The benchmark prints the log of the service without
the lines of single micrographs, and the final state of every micrograph. The exit status is 1 if
a micrograph is lost, not picked or listed twice, if picking had a gap of more than ten seconds, or
if an expected event did not happen.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

LIVEPICK = Path(sys.executable).with_name("livepick")
CONSOLE = Console(width=160, highlight=False)
MOST_GAP_SECONDS = 10.0
WAIT_SECONDS = 900.0

SETTINGS: dict[str, dict[str, Any]] = {
    "session": {"name": "scripted"},
    "watch": {"directories": ["micrographs"], "settle_seconds": 0.5, "rescan_seconds": 1},
    "particle": {"diameter_angstrom": 122},
    "bootstrap": {"micrographs": 8},
    "training": {"epochs": 5, "threads": 1, "auto_remedy": False},
    "picking": {"device": "cpu", "workers": 1},
    "output": {"directory": "picks"},
    "state": {"directory": "state"},
    "web": {"listen": "127.0.0.1:0"},
}


class Session:
    """A session folder with its current config and the service that runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "session.yaml"
        self.log = folder / "service.log"
        self.settings = {name: dict(section) for name, section in SETTINGS.items()}
        (folder / "micrographs").mkdir(parents=True)

    def write(self, text: str | None = None) -> None:
        """Replace the config in the same way as an editor."""
        draft = self.config.with_suffix(".swp")
        draft.write_text(text or yaml.safe_dump(self.settings, sort_keys=False))
        draft.rename(self.config)

    def metric(self, name: str) -> float:
        """Return the value of a metric from ``/metrics``."""
        address = (self.folder / "state/web.address").read_text().strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else float("nan")

    def command(self, *words: str) -> str:
        """Run a command until it ends, and return its output."""
        done = subprocess.run([LIVEPICK, *words], capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip()

    def status(self) -> dict[str, Any]:
        """Return the output of ``livepick status --json``."""
        status: dict[str, Any] = json.loads(self.command("status", str(self.config), "--json"))
        return status

    def landed(self) -> int:
        """Return the number of micrographs that the service knows."""
        return int(self.metric("livepick_micrographs_discovered_total"))

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true."""
        give_up = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > give_up:
                raise SystemExit(f"waited in vain for: {what}\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)

    def logged(self, words: str) -> bool:
        """Return True if the words are in the log of the service."""
        return words in self.log.read_text()


def main() -> int:
    """Run the session; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", default="2s")
    parser.add_argument("--micrographs", type=int, default=60)
    parser.add_argument("--keep", type=Path, help="run in this folder and keep it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="livepick-session-") as temporary:
        session = Session((given.keep or Path(temporary)).resolve())
        session.write()
        with session.log.open("wb") as log:
            service = subprocess.Popen([LIVEPICK, "run", session.config], stderr=log)
        microscope: subprocess.Popen[bytes] | None = None
        try:
            session.until("start", lambda: session.logged(": ready"))
            microscope = subprocess.Popen(
                [
                    *(LIVEPICK, "simulate", session.folder / "micrographs", "--seed", "77"),
                    *("--micrographs", str(given.micrographs), "--every", given.every),
                    *("--truth", session.folder / "truth"),
                ],
                stdout=subprocess.DEVNULL,
            )
            _script(session, given.micrographs)
        finally:
            for process in (microscope, service):
                if process is not None and process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    process.wait(30)
        return _report(session, given.micrographs)


def _script(session: Session, micrographs: int) -> None:
    """Perform the events described in the module docstring."""
    half, bad, back = (micrographs * n // 60 for n in (30, 35, 50))
    session.until(f"micrograph {half}", lambda: session.landed() >= half)
    CONSOLE.print(f"micrograph {half}: training.generation: 2")
    session.settings["training"]["generation"] = 2
    session.write()
    session.until("reload", lambda: session.logged("training.generation from 1 to 2"))
    session.until(f"micrograph {bad}", lambda: session.landed() >= bad)
    good = session.config.read_text()
    for what, text in (
        ("a typo", good.replace("epochs:", "epoch:")),
        ("a wrong type", good.replace("diameter_angstrom: 122", "diameter_angstrom: wide")),
    ):
        CONSOLE.print(f"micrograph {session.landed()}: {what}")
        before = session.metric('livepick_config_reloads_total{result="failure"}')
        session.write(text)
        session.until(
            what,
            lambda before=before: (
                session.metric(  # type: ignore[misc]
                    'livepick_config_reloads_total{result="failure"}'
                )
                > before
            ),
        )
        if session.metric("livepick_config_last_reload_successful") != 0:
            raise SystemExit(f"{what} does not show in livepick_config_last_reload_successful")
    session.write(good)
    session.until(
        "the mended config",
        lambda: session.metric("livepick_config_last_reload_successful") == 1,
    )
    session.until(f"micrograph {back}", lambda: session.landed() >= back)
    session.until("a promotion", lambda: session.logged("promoted, threshold"))
    CONSOLE.print(f"micrograph {session.landed()}: livepick models rollback")
    CONSOLE.print(session.command("models", "rollback", str(session.config)))
    session.until("all landed", lambda: session.landed() == micrographs)
    session.until("the last run", lambda: session.status()["training"]["state"] != "training")
    session.until("all picked", lambda: _is_idle(session, micrographs))
    time.sleep(12)  # the list of the session is written every ten seconds
    CONSOLE.print(session.command("models", "list", str(session.config)))


def _is_idle(session: Session, micrographs: int) -> bool:
    return bool(session.status()["micrographs"]["picked"] == micrographs)


def _report(session: Session, micrographs: int) -> int:
    lines = session.log.read_text().splitlines()
    first: dict[str, datetime] = {}
    by_model: dict[str, int] = {}
    for line in lines:
        found = re.search(r"^(\S+ \S+?) .* (\S+): (\d+) particles \(model (\d+)\)", line)
        if found is None:
            CONSOLE.print(line, soft_wrap=True, markup=False)
            continue
        at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").astimezone()
        first.setdefault(found[2], at)
        by_model[found[4]] = by_model.get(found[4], 0) + 1
    written = {p.name: p.stat().st_mtime for p in (session.folder / "micrographs").glob("*.mrc")}
    waited = max(at.timestamp() - written[name] for name, at in first.items())
    at_last = sorted(at for at in first.values())
    gap = max((b - a).total_seconds() for a, b in pairwise(at_last))
    counts = session.status()["micrographs"]
    stars = sorted(p.name for p in (session.folder / "picks").rglob("*_autopick.star"))
    inputs = sorted(p.stem for p in (session.folder / "micrographs").glob("*.mrc"))
    whole = stars == [f"{name}_autopick.star" for name in inputs] and len(inputs) == micrographs
    listed = (session.folder / "picks/autopick.star").read_text().count("_autopick.star")
    CONSOLE.print(
        f"{len(inputs)} micrographs landed; {counts}; {len(stars)} coordinate files,"
        f" {listed} in the session's list; picks by model: {by_model};"
        f" longest from a whole file to its picks {waited:.1f} s,"
        f" longest gap between first picks {gap:.1f} s"
    )
    good = whole and listed == micrographs and counts["picked"] == micrographs
    return 0 if good and max(gap, waited) <= MOST_GAP_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())

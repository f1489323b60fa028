"""``make day``: a day of an instrument, with three sessions of which two overlap.

One service watches the instrument. Session *morning* collects; its process is killed (SIGKILL), and
is started again. Session *noon* begins while *morning* still collects, and gets the turn; the
service itself is killed, and is started again. Both end by themselves, with a report. Then
*evening* begins, is picked, and ends. A real Prometheus scrapes whatever the service names as a
target, with the shipped alerts, whose minutes are six seconds here.

It ends with status 1 if a micrograph was not picked, anything of a session is in the folders of
another, a session did not end with a report, or a critical alert fired. With ``--train`` each
session trains a model first, which takes some minutes.
"""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import psutil
import yaml
from rich.console import Console

from free_port import free_port
from livepick.errors import LedgerError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts

CONSOLE = Console()
LIVEPICK = Path(sys.executable).with_name("livepick")
SCALE = 10.0
"""A minute of the alerts is six seconds."""

SCALES = {"LivepickDown": 3.0, "LivepickUnhealthy": 3.0}
"""Scales of alerts whose time must be enough for a killed service to be there again."""

SIDE_PX, PIXEL_SIZE_ANGSTROM, DIAMETER_ANGSTROM = 384, 4.0, 160.0

SESSIONS = ("morning", "noon", "evening")


class DayError(Exception):
    """The day did not go as it should."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Size of a day."""

    micrographs: int = 6
    """Number of micrographs of each session."""
    trains: bool = False
    patience_seconds: float = 180.0
    """The day fails if something waits for longer."""
    idle_seconds: float = 20.0
    """A session ends this long after its last micrograph."""


class Day:
    """An instrument, its microscope, and what watches both.

    Parameters
    ----------
    place
        An empty folder.
    plan
        Size of the day.
    say
        Called with each step.
    """

    def __init__(self, place: Path, plan: Plan, say: Callable[[str], None] | None = None) -> None:
        self.place, self.plan = place, plan
        self.say = CONSOLE.print if say is None else say
        self.config = place / "krios1.yaml"
        self.data, self.state = place / "data", place / "state"
        self.log = place / "log"
        self.port = free_port()
        self.service: subprocess.Popen[bytes] | None = None
        self.fired: set[tuple[str, str]] = set()
        """Name and severity of each alert that has fired."""
        self.scraped: set[str] = set()
        """Addresses of the sessions that Prometheus has scraped."""
        self._prometheus: subprocess.Popen[bytes] | None = None
        self._prometheus_port = free_port()
        self.config.write_text(yaml.safe_dump(self._settings()))

    def _settings(self) -> dict[str, Any]:
        first = free_port()
        return {
            "sessions": {
                "pattern": str(self.data / "{session}" / "MotionCorr"),
                "state": str(self.state / "{session}"),
                "output": str(self.data / "{session}" / "livepick"),
                "end_after_hours": self.plan.idle_seconds / 3600,
                "quiet_minutes": 0.1,
                "rescan_seconds": 0.5,
                "ports": f"{first}-{min(first + 50, 65535)}",
            },
            "watch": {"settle_seconds": 0.2, "rescan_seconds": 0.5},
            "particle": {"diameter_angstrom": DIAMETER_ANGSTROM},
            "bootstrap": {"micrographs": 10 if self.plan.trains else 400, "picks": "blob"},
            "training": {"epochs": 8},
            "retrain": {"gate": "off"},
            "class_averages": {"enabled": False},
            "picking": {"device": "cpu", "workers": 1},
            "web": {"listen": f"127.0.0.1:{self.port}"},
        }

    # --- programs ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the service of the instrument."""
        with self.log.open("ab") as log:
            self.service = subprocess.Popen([LIVEPICK, "run", self.config], stderr=log)
        self.until(self._answers, "the overview answers")

    def _answers(self) -> bool:
        try:
            self.overview()
        except OSError:
            return False
        return True

    def watch_alerts(self, program: str, rules: Sequence[str]) -> None:
        """Start a Prometheus with rules, on the targets that the service names."""
        folder = self.place / "prometheus"
        folder.mkdir()
        for number, text in enumerate(rules):
            (folder / f"rules-{number}.yml").write_text(text)
        here = f"127.0.0.1:{self.port}"
        scrape = {
            "job_name": "livepick",
            "static_configs": [{"targets": [here], "labels": {"instrument": "krios1"}}],
            "http_sd_configs": [{"url": f"http://{here}/targets", "refresh_interval": "1s"}],
        }
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules-*.yml"],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with (folder / "log").open("wb") as log:
            self._prometheus = subprocess.Popen(
                [
                    program,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._prometheus_port}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )

    def end(self) -> None:
        """End all programs."""
        for process in (self.service, self._prometheus):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(70)

    def stop(self) -> None:
        """Stop the service, as systemd does."""
        assert self.service is not None
        self.service.terminate()
        status = self.service.wait(70)
        if status:
            raise DayError(f"the service ended with status {status}")

    # --- what is seen ------------------------------------------------------------------------

    def overview(self) -> dict[str, dict[str, Any]]:
        """Return the sessions of the overview by name. Raises OSError if it does not answer."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/sessions.json", timeout=60
        ) as answer:
            return {each["name"]: each for each in json.load(answer)["sessions"]}

    def state_of(self, name: str) -> str:
        """Return the state of a session in the overview; empty if it is not there."""
        try:
            return str(self.overview().get(name, {}).get("state", ""))
        except OSError:
            return ""

    def counts(self, name: str) -> Counts:
        """Return the micrographs of a session in its ledger, by state."""
        try:
            with Database.read_only(self.state / name / LEDGER) as database:
                return LedgerReader(database).counts()
        except LedgerError:
            return Counts()

    def _ask(self, path: str, **values: str) -> Any:
        query = urllib.parse.urlencode(values)
        url = f"http://127.0.0.1:{self._prometheus_port}/api/v1/{path}?{query}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]

    def _note_alerts(self) -> None:
        if self._prometheus is None:
            return
        try:
            alerts = self._ask("alerts")["alerts"]
            self.scraped |= set(self._session_targets(health="up"))
        except OSError:  # it starts
            return
        self.fired |= {
            (each["labels"]["alertname"], each["labels"].get("severity", ""))
            for each in alerts
            if each["state"] == "firing"
        }

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises DayError after the patience of the plan."""
        give_up = time.monotonic() + self.plan.patience_seconds
        while not condition():
            if self.service is not None and self.service.poll() is not None:
                raise DayError(f"the service ended before: {what}\n{self.log.read_text()}")
            if time.monotonic() > give_up:
                raise DayError(f"waited in vain for: {what}\n{self.log.read_text()}")
            self._note_alerts()
            time.sleep(0.2)
        self.say(what)

    # --- the microscope ----------------------------------------------------------------------

    def collect(self, name: str, first: int, count: int) -> None:
        """Let micrographs land, whose names say of which session they are."""
        folder = self.data / name / "MotionCorr"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            write_micrograph(folder / f"{name}_{number:03d}.mrc", seed=number)
            self._note_alerts()

    def kill_session(self, name: str) -> None:
        """Kill the process of a session."""
        assert self.service is not None
        for child in psutil.Process(self.service.pid).children():
            with contextlib.suppress(psutil.Error):  # it ends just now
                if f"{self.state / name}/" in " ".join(child.cmdline()):
                    child.send_signal(signal.SIGKILL)
                    self.say(f"the process of {name} was killed")
                    return
        raise DayError(f"{name} has no process")

    def kill_service(self) -> None:
        """Kill the service, and wait until its sessions have ended with it."""
        assert self.service is not None
        children = psutil.Process(self.service.pid).children(recursive=True)
        self.service.kill()
        self.service.wait()
        _, alive = psutil.wait_procs(children, timeout=60)
        if alive:
            raise DayError(f"{alive} outlive the service")
        self.say("the service was killed, and its sessions ended with it")

    # --- the day -----------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Run the whole day; return what is wrong at its end."""
        count = self.plan.micrographs
        self.start()
        self.collect("morning", 0, count - 2)
        self.until(lambda: self.counts("morning").picked > 0, "morning is found and picked")
        self.kill_session("morning")
        crash = "morning: ended unexpectedly"
        self.until(lambda: crash in self.log.read_text(), "the crash of morning is said")
        self.until(lambda: self.state_of("morning") == "picking", "morning picks again")
        self.collect("noon", 0, count - 2)
        self.collect("morning", count - 2, 2)  # they overlap
        self.until(lambda: self.counts("noon").picked > 0, "noon has the turn")
        self.until(lambda: self.state_of("morning") != "picking", "morning waits meanwhile")
        self.kill_service()
        self.start()
        self.collect("noon", count - 2, 2)
        for name in ("noon", "morning"):
            self.until(lambda name=name: self._is_picked(name), f"{name} is picked completely")  # type: ignore[misc]
        for name in ("noon", "morning"):
            self.until(lambda name=name: self.state_of(name) == "over", f"{name} ended by itself")  # type: ignore[misc]
        self.collect("evening", 0, count)
        self.until(lambda: self._is_picked("evening"), "evening is picked completely")
        self.until(lambda: self.state_of("evening") == "over", "evening ended by itself")
        self.until(lambda: not self._session_targets(), "no session is a target any more")
        self.stop()
        self.start()
        self.until(self._all_are_over, "after a restart of the service, all are still over")
        return self.faults()

    def _all_are_over(self) -> bool:
        if self.service is not None and psutil.Process(self.service.pid).children():
            raise DayError("a session that is over was started again")
        return [each["state"] for each in self.overview().values()] == ["over"] * len(SESSIONS)

    def _is_picked(self, name: str) -> bool:
        return self.counts(name).picked == self.plan.micrographs

    def _session_targets(self, health: str = "") -> list[str]:
        """Return the addresses of the sessions that Prometheus scrapes now."""
        if self._prometheus is None:
            return []
        return [
            each["labels"]["instance"]
            for each in self._ask("targets")["activeTargets"]
            if not each["labels"]["instance"].endswith(f":{self.port}")
            and health in ("", each["health"])
        ]

    def faults(self) -> list[str]:
        """Return what is wrong with the folders of the sessions, and the critical alerts."""
        wrong = [f"critical alert {name}" for name, level in self.fired if level == "critical"]
        if self._prometheus is not None and len(self.scraped) < len(SESSIONS):
            wrong.append(f"Prometheus has scraped {self.scraped} only")
        for name in SESSIONS:
            wrong += self._faults_of(name)
        return wrong

    def _faults_of(self, name: str) -> list[str]:
        wrong = []
        counts = self.counts(name)
        if counts.picked != self.plan.micrographs or counts.total != self.plan.micrographs:
            wrong.append(f"{name}: {counts}")
        with Database.read_only(self.state / name / LEDGER) as database:
            reader = LedgerReader(database)
            if [str(root) for root in reader.roots()] != [str(self.data / name / "MotionCorr")]:
                wrong.append(f"{name} has the folders {reader.roots()}")
            if self.plan.trains and not any(run.state == "promoted" for run in reader.runs()):
                wrong.append(f"{name} has no trained model: {[run.state for run in reader.runs()]}")
        others = [each for each in SESSIONS if each != name]
        for folder in (self.data / name, self.state / name):
            wrong += [
                f"{path} is in the folder of {name}"
                for path in folder.rglob("*")
                if any(path.name.startswith(f"{other}_") for other in others)
            ]
        end = self.state / name / "session_end.json"
        values = json.loads(end.read_text()) if end.is_file() else {}
        if values.get("reason") != "idle" or not Path(values.get("report") or "/").is_file():
            wrong.append(f"{name} has no end with a report: {values}")
        elif name not in Path(values["report"]).read_text():
            wrong.append(f"the report of {name} is not about it")
        return wrong


def write_micrograph(path: Path, *, seed: int) -> None:
    """Write dark discs in noise, and rename the file to its name."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    radius = DIAMETER_ANGSTROM / PIXEL_SIZE_ANGSTROM / 2
    image = random.normal(0, 1, (SIDE_PX, SIDE_PX)).astype(np.float32)
    for i in range(50, 350, 75):
        for j in range(50, 350, 75):
            at = np.array((i, j)) + random.uniform(-8, 8, 2)
            image -= (1.5 / (1 + np.exp(np.hypot(y - at[0], x - at[1]) - radius))).astype(
                np.float32
            )
    draft = path.with_suffix(".part")
    with mrcfile.new(draft, image, overwrite=True) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
    draft.rename(path)


def alert_rules() -> list[str]:
    """Return the shipped alert rules, with shorter times, as one text for each scale."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
    from observability.alert import rules  # noqa: PLC0415
    from observability.alerts import ALERTS  # noqa: PLC0415

    scales = {alert.name: SCALES.get(alert.name, SCALE) for alert in ALERTS}
    return [
        rules([alert for alert in ALERTS if scales[alert.name] == each], scale=each)
        for each in sorted(set(scales.values()))
    ]


def _plan(micrographs: int, *, trains: bool) -> Plan:
    """Return the size of a day. A session that trains must not end while another has the turn."""
    if not trains:
        return Plan(micrographs, patience_seconds=300)
    return Plan(micrographs, trains=True, patience_seconds=1800, idle_seconds=200)


def main() -> int:
    """Run a day; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--micrographs", type=int, default=14, help="of each session")
    parser.add_argument("--train", action="store_true", help="each session trains a model")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="livepick-day-"))
    day = Day(place, _plan(given.micrographs, trains=given.train))
    prometheus = shutil.which("prometheus")
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all programs end with this one
    try:
        if prometheus is None:
            CONSOLE.print("Prometheus is not installed: no alert is watched")
        else:
            day.watch_alerts(prometheus, alert_rules())
        wrong = day.run()
    except DayError as error:
        wrong = [str(error)]
    finally:
        day.end()
    CONSOLE.print(f"alerts that fired: {sorted(day.fired) or 'none'}")
    CONSOLE.print(*wrong or ["nothing is wrong"], sep="\n")
    CONSOLE.print(f"{time.monotonic() - begun:.0f} s")
    if given.keep or wrong:
        CONSOLE.print(f"the files are in {place}")
    else:
        shutil.rmtree(place)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

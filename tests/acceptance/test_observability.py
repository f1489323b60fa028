"""A real daemon on a simulated acquisition, watched by a real Prometheus.

Each alert is fired by its real cause and cleared by its remedy, with minutes as half seconds; every
query of the dashboards and every part of the rules is answered, and not emptily.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from cluster import DASK
from disc_micrographs import (
    CENTRES_PX,
    DIAMETER_ANGSTROM,
    PIXEL_SIZE_ANGSTROM,
    write_disc_micrograph,
)
from monitoring import Prometheus
from session import impatient, is_worker, livepick
from test_config_edits import edit

from factories import make_card
from free_port import free_port
from livepick.config.schema import Config
from livepick.core.contracts.bundle import GRAPH, publish
from livepick.core.contracts.held_out_labels import HELD_OUT, HeldOutLabels, LabelledMicrograph
from livepick.core.evaluation.drift_test import REFERENCE, WINDOW
from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.host.gpus import nvml
from livepick.instrument.metrics import InstrumentMetrics
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.writer import LedgerWriter
from livepick.models.blob_picker import BLOB_THRESHOLD
from livepick.models.registry import MODELS
from observability.alert import condition
from observability.alerts import ALERTS
from observability.documentation import exposed
from particle_evidence import make_evidence

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")
BINDFS = shutil.which("bindfs")
HAS_GPU = Path("/dev/nvidiactl").exists()
DEPLOY = Path(__file__).parents[2] / "deploy"

pytestmark = [
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is missing (Debian's prometheus)"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

SCALE = 100
"""A minute is 0.6 s, a quarter of an hour 9 s."""

EMPTY = {
    "livepick_training_ended_timestamp_seconds": "no training has ended",
    "livepick_class_good_particle_fraction": "these sessions make no class averages",
    "livepick_class_largest_view_fraction": "these sessions make no class averages",
}
"""Metrics that have no curve in a short session, and why."""

OF_GPUS = {family.name for family in exposed() if family.name.startswith("livepick_gpu_")}
"""Metrics that have no series without an NVIDIA driver and the library that asks it."""

OF_INSTRUMENTS = {family.name for family in InstrumentMetrics().registry.collect()} - {
    family.name for family in exposed()
}
"""Metrics of the service of an instrument, which no session has."""

ABSENT = {"livepick_cluster_nodes"} | (set() if HAS_GPU and nvml() is not None else OF_GPUS)
ABSENT |= OF_INSTRUMENTS
"""Metrics of a cluster, of GPUs and of instruments that have no series in a session here."""


@pytest.fixture
def watch(tmp_path):
    """Return a function that watches an address by a Prometheus, which ends with the test."""
    with contextlib.ExitStack() as ending:

        def start(target, scale=SCALE, **options):
            folder = tmp_path / "prometheus"
            prometheus = Prometheus(PROMETHEUS, folder, target=target, scale=scale, **options)
            ending.callback(prometheus.close)
            return prometheus

        yield start


class Microscope:
    """Delivers micrographs, good or bad ones, until it is paused."""

    bad = False

    def __init__(self, session, every_seconds):
        self.session = session
        self.every_seconds = every_seconds
        self.number = 0
        self.at_work = threading.Event()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def deliver(self, count):
        """Deliver this many at once."""
        self.session.drop(count, first=self.number + 1, bad=self.bad)
        self.number += count

    def _run(self):
        while not self.over.wait(self.every_seconds):
            if self.at_work.is_set():
                self.deliver(1)

    def __enter__(self):
        self.at_work.set()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


CTFFIND = """\
# Output from CTFFind version 4.1.14, run on 2025-12-28 18:56:33
# Pixel size: 2.0 Angstroms ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ;\
 amplitude contrast: 0.07
"""


class MicroscopeWithCtf(Microscope):
    """Delivers micrographs, each with the text that CTFFIND writes beside it."""

    def deliver(self, count):
        super().deliver(count)
        for number in range(self.number - count + 1, self.number + 1):
            row = f"1.0 {12_000 + number} 11500.0 45.0 0.0 0.2 4.5\n"
            (self.session.landing / f"mic_{number:04d}.txt").write_text(CTFFIND + row)


class BadFiles(Microscope):
    """Delivers a broken file every now and then."""

    def __init__(self, session):
        super().__init__(session, every_seconds=0.4)

    def deliver(self, count):
        """Write files that are not micrographs."""
        for _ in range(count):
            self.number += 1
            path = self.session.landing / f"bad_{self.number}.mrc"
            path.write_bytes(b"not a micrograph" * 1000)


def a_worker(session):
    """Wait until there is a worker, and return it."""
    found = []
    session.until(lambda: found.extend(session.workers()) or found, "a worker")
    return found[0]


def kill_workers(session, prometheus, alert):
    """Kill a worker after the other, each once the one before has been replaced and picks.

    It ends with the alert, however long a worker takes to start.
    """
    while alert not in prometheus.firing():
        victim = a_worker(session)
        victim.kill()
        session.until(lambda gone=victim: not is_worker(gone), "its end")
        before = session.picked()
        session.until(
            lambda n=before: session.picked() > n or alert in prometheus.firing(),
            "picks of the next worker",
        )


def fill(disk):
    """Write until there is no room left; return what to remove."""
    filler = disk / "movies"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**20))
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


@contextlib.contextmanager
def locked(state):
    """Keep the ledger from writing, as another program may that has it open."""
    with contextlib.closing(sqlite3.connect(state / LEDGER, isolation_level=None)) as other:
        other.execute("pragma busy_timeout = 60000")
        other.execute("begin immediate")
        yield


@contextlib.contextmanager
def taken_away(folder):
    """Remove a folder for a while, like a share that is no longer mounted."""
    away = folder.with_name("away")
    folder.rename(away)
    yield
    away.rename(folder)


def flood(folder):
    """Make more file events than the kernel's queue takes."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit // 2 + 100):
        path = folder / f"{number}.flood"
        path.touch()
        path.unlink()


def test_every_query_is_answered(make_session, watch):
    """Panels, variables, annotations and rules have data, and every metric is documented."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address}, picking={"device": "prefer-gpu", "workers": 1})
    session.start()
    prometheus = watch(address)
    with MicroscopeWithCtf(session, 0.5):
        waiting = dict(queries())
        give_up = time.monotonic() + 480
        for number in itertools.count():
            (session.landing / f"bad_{number}.mrc").write_bytes(b"not a micrograph" * 1000)
            for what, expr in list(waiting.items()):
                if prometheus.has_figures(expr):
                    del waiting[what]
            if not waiting:
                break
            assert time.monotonic() < give_up, "\n".join(map(str, waiting.items()))
    metrics = session.get("/metrics")
    exported = set(re.findall(r"^# TYPE (livepick_\w+)", metrics, re.MULTILINE))
    readme = (DEPLOY / "README.md").read_text()
    documented = set(re.findall(r"^\| `(livepick_\w+)`", readme, re.MULTILINE))
    assert exported == {name for name in documented if "_instrument_" not in name}
    labels = {
        name: set(re.findall(r'(\w+)="', given))
        for name, given in re.findall(r"^(livepick_\w+)\{(.*)\} ", metrics, re.MULTILINE)
    }
    for family in exposed():
        for sample in family.samples:
            wanted = set() if sample.name in ABSENT else set(sample.labels)
            assert labels.get(sample.name, set()) == wanted
    if PROMTOOL is not None:
        lint = subprocess.run(
            [PROMTOOL, "check", "metrics"], input=metrics.encode(), capture_output=True, check=False
        )
        assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")


LASTING = {"LivepickOnCpu", "LivepickSessionProbablyOver"}
"""Alerts that fire as long as such micrographs are picked on such a machine."""


def with_label(query):
    """Return the series that ``label_values(METRIC, LABEL)`` finds values in."""
    metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
    return f'count by ({label}) ({metric}) and count by ({label}) ({{{label}!=""}})'


def queries():
    """Yield where each query is, and the query as Grafana would send it, all being selected."""
    fills = {"$__rate_interval": "5s", "$job": ".+", "$instance": ".+"}
    fills |= {"$instrument": ".*", "$session": ".*"}
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        asked = [
            (f"{path.stem}: {panel['title']} {target['refId']}", target["expr"])
            for part in board["panels"]
            for panel in (part, *part.get("panels", ()))
            for target in panel.get("targets", ())
        ]
        asked += [
            (f"{path.stem}: {mark['name']}", mark["expr"]) for mark in board["annotations"]["list"]
        ]
        asked += [
            (f"{path.stem}: ${variable['name']}", with_label(variable["query"]["query"]))
            for variable in board["templating"]["list"]
            if variable["type"] == "query"
        ]
        for what, expr in asked:
            if any(metric in expr for metric in EMPTY.keys() | ABSENT):
                continue
            for name, value in fills.items():
                expr = expr.replace(name, value)  # noqa: PLW2901 - filled in step by step
            yield what, expr
    # An alert is empty while all is well, but none of its parts may be.
    for alert in ALERTS:
        for part in re.findall(r"livepick_\w+(?:\{[^{}]*\})?|up\{[^{}]*\}", condition(alert)):
            if not any(metric in part for metric in ABSENT):
                yield f"{alert.name}: {part}", part


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 400 megabytes of its own, which are not full yet."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = MOUNT is not None and os.geteuid() == 0 and not subprocess.run(
        [MOUNT, "-t", "tmpfs", "-o", "size=400m", "livepick-test", place],
        capture_output=True, check=False,
    ).returncode  # fmt: skip
    if not mounted:
        pytest.skip("needs root and a tmpfs: a disk that may be filled")
    yield place
    subprocess.run([UMOUNT, "-l", place], check=True)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU, so the CPU is not forced on it")
def test_alerts_fire_on_their_real_cause_and_their_remedy_clears_them(
    make_session, watch, small_disk
):
    """They fire one after the other, and some at once, in one session that continues."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(
        web={"listen": address},
        picking={"device": "prefer-gpu", "workers": 1},
        output={"directory": str(small_disk)},
    )
    session.start(PATH=with_nvidia_smi(session.folder))
    prometheus = watch(address, own_disks=["output"], slower={"LivepickWorkersDie": SCALE / 5})
    until = prometheus.until
    with Microscope(session, 0.6) as microscope:
        session.until(lambda: session.picked() > 2, "some picked")
        seen = "count_over_time(livepick_watch_overflows_total[1m]) > 1"
        session.until(lambda: prometheus.has_figures(seen), "figures before the burst")

        # A broken GPU, bad files and bad micrographs, a burst of events, a typo in the config.
        microscope.bad = True
        bad = BadFiles(session)
        session.process.send_signal(signal.SIGSTOP)
        flood(session.landing)
        session.process.send_signal(signal.SIGCONT)
        edit(session, picking={"treshold": 1.0})
        with bad:
            until(fire=["LivepickOnCpu", "LivepickMicrographsFail", "LivepickManyBad",
                        "LivepickEventsLost", "LivepickConfigRefused"])  # fmt: skip
        microscope.bad = False

        # The config is right again, but its threshold too high; and workers are killed.
        for path in session.landing.glob("bad_*"):
            path.unlink()
        del session.settings["picking"]["treshold"]
        edit(session, picking={"threshold": 1.0})
        kill_workers(session, prometheus, "LivepickWorkersDie")
        until(
            fire=["LivepickWorkersDie", "LivepickNothingFound", "LivepickManyEmpty"],
            silent=["LivepickConfigRefused"],
        )
        edit(session, picking={"threshold": "auto"})

        # Picking halts, and the disk fills.
        stopped = a_worker(session)
        stopped.suspend()
        filler = fill(small_disk)
        microscope.deliver(20)
        until(fire=["LivepickPickingStopped", "LivepickFallingBehind", "LivepickQueueGrows",
                    "LivepickDiskFull", "LivepickDiskAlmostFull",
                    "LivepickDiskFillsSoon"])  # fmt: skip
        with contextlib.suppress(psutil.NoSuchProcess):  # it has been replaced meanwhile
            stopped.resume()
        until(fire=["LivepickOutputRefused"])

        # Room again, but the microscope halts, and then the folder vanishes.
        filler.unlink()
        microscope.at_work.clear()
        until(fire=["LivepickAcquisitionStalled"], silent=["LivepickOutputRefused"])
        deliver_what_is_left_out(session, prometheus)
        with taken_away(session.landing):
            until(fire=["LivepickWatchRootGone"])
        until(silent=["LivepickWatchRootGone"])
        microscope.at_work.set()
        others = [alert.name for alert in ALERTS if alert.name not in LASTING]
        until(silent=others)

        come_back_without_gpu(session, prometheus)
        until(silent=[*others, "LivepickOnCpu"])


def come_back_without_gpu(session, prometheus):
    """Kill the service, and start it on a machine without a GPU."""
    session.process.kill()
    session.process.wait()
    prometheus.until(fire=["LivepickDown"])
    session.start()
    prometheus.until(silent=["LivepickDown"])
    up_for_long = 'min_over_time(up{job="livepick"}[4s]) == 1'  # more than OnCpu takes to fire
    session.until(lambda: prometheus.has_figures(up_for_long), "scrapes", seconds=300)
    assert "LivepickOnCpu" not in prometheus.firing()


def deliver_what_is_left_out(session, prometheus):
    """Deliver files that livepick leaves out, here empty ones, until the alert on them."""
    give_up = time.monotonic() + 120
    for number in itertools.count():
        (session.landing / f"late_{number}.mrc").touch()
        if "LivepickNothingTaken" in prometheus.firing():
            break
        assert time.monotonic() < give_up, session.get("/metrics")
        time.sleep(0.3)
    for path in session.landing.glob("late_*"):
        path.unlink()


def with_nvidia_smi(folder):
    """Return a search path with an ``nvidia-smi``, as on a machine whose driver is broken."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (programs / "nvidia-smi").chmod(0o755)
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


FAST = 1000
"""A scale at which two hours without a micrograph are seconds."""


def test_a_session_that_is_stopped_or_over_calls_nobody(make_session, watch):
    """A stall ends by itself; an end and a stop on purpose are silent, and a kill is not."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address})
    session.start()
    slower = {"LivepickDown": SCALE}
    prometheus = watch(address, scale=FAST, slower=slower)
    session.drop(3)
    session.until(lambda: session.picked() == 3, "picks")
    prometheus.until(fire=["LivepickSessionProbablyOver"], silent=["LivepickAcquisitionStalled"])

    assert livepick("end", session.config).returncode == 0
    ended = "livepick_session_ended == 1"
    session.until(lambda: prometheus.has_figures(ended), "the end")
    prometheus.until(silent=[alert.name for alert in ALERTS])
    (link,) = [
        each["metric"]["page_url"]
        for each in prometheus.ask("query", query="livepick_session_info")["result"]
    ]
    assert "localhost" not in link
    assert "127.0.0.1" not in link
    assert link.endswith(f":{address.partition(':')[2]}/")

    assert session.stop() == 0
    down_for_long = 'max_over_time(up{job="livepick"}[5s]) == 0'  # more than LivepickDown waits
    give_up = time.monotonic() + 120
    while not prometheus.has_figures(down_for_long):
        assert time.monotonic() < give_up
        time.sleep(0.3)
    assert prometheus.firing() == set()

    session.start()
    session.until(lambda: prometheus.has_figures('up{job="livepick"} == 1'), "scrapes")
    session.process.kill()
    session.process.wait()
    prometheus.until(fire=["LivepickDown"])
    page_urls = {each["annotations"]["page_url"] for each in prometheus.ask("alerts")["alerts"]}
    assert page_urls == {link}


def until_beats(session, count):
    """Wait until the main thread has begun this many times to set the gauges."""
    for _ in range(count):
        since = time.monotonic()
        session.until(
            lambda since=since: time.monotonic() - since > seconds_since_beat(session) + 0.1,
            "a beat",
        )


def seconds_since_beat(session):
    """Return the time since the main thread has begun to set the gauges."""
    return json.loads(session.get("/healthz"))["seconds_since"]["supervisor"]


def test_old_data_are_picked_and_are_no_session_that_may_stall(make_session):
    """The session begins when one more lands, and continues after a restart."""
    session = make_session()
    session.drop(3)
    session.start()
    session.until(lambda: session.picked() == 3, "their picks")
    until_beats(session, 2)
    assert session.figure("session_active") == 0
    assert session.figure("last_micrograph_seen_timestamp_seconds") == 0

    session.drop(1, first=4)
    session.until(lambda: session.figure("session_active") == 1, "a session")
    seen = session.figure("last_micrograph_seen_timestamp_seconds")
    assert session.stop() == 0
    session.start()
    session.until(lambda: session.figure("session_active") == 1, "the session again")
    assert session.figure("last_micrograph_seen_timestamp_seconds") == seen
    assert session.stop() == 0


def test_a_ledger_that_takes_no_writes_is_told(make_session, watch):
    """Without this alert only the stalled acquisition would be reported."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address})
    session.start(program=impatient({"picking.dispatch.LEDGER_RETRY_SECONDS": 5}))
    prometheus = watch(address)
    with Microscope(session, 0.6):
        session.until(lambda: session.picked() > 0, "some picked")
        with locked(session.state):
            prometheus.until(fire=["LivepickStateRefused"])
        prometheus.until(silent=["LivepickStateRefused"])
    assert session.stop() == 0


def test_a_program_for_picks_that_fails_is_told(make_session, watch, tmp_path):
    """Until it works again; picking goes on all the while."""
    address = f"127.0.0.1:{free_port()}"
    works = tmp_path / "works"
    session = make_session(
        web={"listen": address},
        output={"directory": "out", "on_picked": ["/usr/bin/test", "-e", str(works)]},
    )
    session.start()
    prometheus = watch(address)
    with Microscope(session, 0.6):
        prometheus.until(fire=["LivepickOnPickedFails"])
        works.touch()
        picked = session.picked()
        prometheus.until(silent=["LivepickOnPickedFails"])
        session.until(lambda: session.picked() > picked, "more picked")
    assert session.stop() == 0


@contextlib.contextmanager
def mounted(place):
    """Mount a folder of a server, and yield the server; while it is stopped the folder hangs."""
    behind, mount = place.with_name(f"{place.name}-behind"), place
    behind.mkdir()
    mount.mkdir()
    with subprocess.Popen([BINDFS, "-f", behind, mount]) as server:
        try:
            while not mount.is_mount():
                time.sleep(0.05)
            yield server
        finally:
            server.send_signal(signal.SIGCONT)
            subprocess.run([UMOUNT, "-l", mount], check=False)
            server.terminate()


needs_a_server = pytest.mark.skipif(
    BINDFS is None or UMOUNT is None or not os.access("/dev/fuse", os.W_OK),
    reason="needs bindfs and /dev/fuse: a file system that may hang",
)


@needs_a_server
def test_a_file_system_that_hangs_is_told(make_session, watch, tmp_path):
    """The listing hangs, and continues when the server does."""
    address = f"127.0.0.1:{free_port()}"
    mount = tmp_path / "mount"
    with mounted(mount) as server:
        session = make_session(
            web={"listen": address},
            watch={"directories": [str(mount)], "rescan_seconds": 0.2, "settle_seconds": 0.2},
        )
        session.start()
        prometheus = watch(address)
        session.until(lambda: prometheus.firing() == set(), "a first look")
        server.send_signal(signal.SIGSTOP)
        prometheus.until(fire=["LivepickScanOverdue"])
        server.send_signal(signal.SIGCONT)
        prometheus.until(silent=["LivepickScanOverdue"])


@needs_a_server
def test_a_part_that_hangs_is_told(make_session, watch, tmp_path):
    """The output folder's server hangs in the middle of a write; here 15 s of that are a fault.

    Nothing else moves then: the picks cannot be written, and the main thread waits for the size of
    that disk. ``/metrics`` answers all the same. When the server is back all goes on.
    """
    address = f"127.0.0.1:{free_port()}"
    mount = tmp_path / "mount"
    with mounted(mount) as server:
        session = make_session(web={"listen": address}, output={"directory": str(mount)})
        session.start(
            program=impatient(
                {"monitoring.health.DISPATCH_SECONDS": 15, "monitoring.health.BEAT_SECONDS": 15}
            )
        )
        prometheus = watch(address)
        session.drop(1)
        session.until(lambda: session.picked() == 1, "picks on the mounted folder")
        assert session.figure("healthy") == 1
        server.send_signal(signal.SIGSTOP)
        session.drop(1, first=2)
        prometheus.until(fire=["LivepickUnhealthy"], seconds=150)
        server.send_signal(signal.SIGCONT)
        prometheus.until(silent=["LivepickUnhealthy"])
        session.until(lambda: session.picked() == 2, "the second one's picks")


def put_model(session, version, *, generation, graph, held_out=()):
    """Put a model into the session as a training of this generation would have left it."""
    settings = session.settings | {"training": {"generation": generation}}
    config = Config.model_validate(settings)
    diameter_angstrom = config.particle.diameter_angstrom
    card = make_card(
        graph,
        config=config,
        version=version,
        threshold=BLOB_THRESHOLD,
        min_distance_angstrom=diameter_angstrom / 2,
    )
    files = {GRAPH: graph}
    if held_out:
        discs = [(float(x), float(y)) for y, x in CENTRES_PX]
        labels = HeldOutLabels(
            by="classes",
            radius_angstrom=diameter_angstrom / 4,
            micrographs=[
                LabelledMicrograph(
                    path=path,
                    pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
                    particles=discs,
                    doubtful=[],
                )
                for path in held_out
            ],
        )
        files[HELD_OUT] = labels.model_dump_json().encode()
    publish(session.state / MODELS, card, files)


def test_other_micrographs_and_a_worse_model_are_told(make_session, watch):
    """A grid square with a quarter of the particles, then a better one; a model that finds nothing.

    A graph that a blob picker has, too, stands for the networks, which would take minutes to train:
    a right one for that in use, and one for tiny particles for what the next training has left. All
    that is done with them is what is done with networks: drift, gate, promotion by command.
    """
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address})
    put_model(session, 1, generation=1, graph=blob_graph(DIAMETER_PX))
    ran = livepick("models", "promote", session.config, "1", "--note", "of the last session")
    assert ran.returncode == 0, ran.stderr
    session.start()
    prometheus = watch(address)
    names = session.drop(REFERENCE)
    session.until(lambda: session.picked() == REFERENCE, "the reference")
    session.drop(WINDOW, first=101, discs=4)
    prometheus.until(fire=["LivepickDrift"], seconds=150)
    session.drop(WINDOW, first=201)
    prometheus.until(silent=["LivepickDrift"], seconds=150)

    held_out = [session.landing / f"{name}.mrc" for name in names[:3]]
    tiny = blob_graph(DIAMETER_PX / 4)
    put_model(session, 3, generation=2, graph=tiny, held_out=held_out)  # 2 is a blob picker
    ran = livepick("retrain", session.config, "--note", "to see what the gate says")
    assert ran.returncode == 0, ran.stderr
    prometheus.until(fire=["LivepickModelKeptAside"])
    model = session.status()["model"]
    assert (model["version"], model["kind"]) == (1, "trained")
    ran = livepick("models", "promote", session.config, "3", "--note", "on trial")
    assert ran.returncode == 0, ran.stderr
    prometheus.until(silent=["LivepickModelKeptAside"])
    assert session.stop() == 0


def test_a_training_that_fails_is_told_until_another_is_under_way(make_session, watch):
    """Its torch is broken; then torch is fixed, and a training requested."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(
        web={"listen": address}, bootstrap={"micrographs": 6, "minimum_picks": 50}
    )
    broken = session.folder / "broken" / "torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libcudart.so: no such file')")
    path = os.pathsep.join(filter(None, [str(broken.parent), os.environ.get("PYTHONPATH")]))
    session.start(PYTHONPATH=path)
    prometheus = watch(address)
    session.drop(7)
    prometheus.until(fire=["LivepickTrainingFailed", "LivepickNoModel"], seconds=150)
    assert session.stop() == 0
    shutil.rmtree(broken)
    session.start()
    assert session.figure('training_ended_timestamp_seconds{result="failed"}') > 0
    ran = livepick("retrain", session.config, "--note", "torch is whole again")
    assert ran.returncode == 0, ran.stderr
    session.until(lambda: "run 0002: training on" in session.log.read_text(), "another training")
    prometheus.until(silent=["LivepickTrainingFailed", "LivepickNoModel"])
    assert session.stop() == 0


BUGGY = (
    sys.executable,
    "-c",
    """\
import sys
from livepick.cli import main
from livepick.ingest import folder
read = folder.read_header
def fail_on_one(path, **options):
    if path.name == "odd.mrc":
        raise KeyError("a bug that one file meets")
    return read(path, **options)
folder.read_header = fail_on_one
sys.exit(main())
""",
)
"""``livepick`` with a bug that only one file meets."""


def test_a_bug_that_one_file_meets_is_told(make_session, watch):
    """The others are picked; the alert ends an hour after the last such error: here, 12 s."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address})
    session.start(program=BUGGY)
    prometheus = watch(address, scale=3 * SCALE)
    seen = "count_over_time(livepick_unexpected_errors_total[1m]) > 1"
    session.until(lambda: prometheus.has_figures(seen), "figures before the error")
    (session.landing / "odd.mrc").write_bytes(b"not a micrograph" * 1000)
    prometheus.until(fire=["LivepickUnexpectedErrors"])
    session.until(lambda: "odd.mrc" in str(session.status()["problems"]), "the status says so")
    session.drop(1)
    session.until(lambda: session.picked() == 1, "picks of another file")
    prometheus.until(silent=["LivepickUnexpectedErrors"])
    assert session.stop() == 0


def test_files_in_the_way_and_files_that_cannot_be_read_are_told(make_session, watch):
    """A coordinates file of somebody else, and a link to a share that is not mounted."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address}, watch={"follow_symlinks": True})
    session.output.mkdir()
    foreign = session.output / "mic_0001_autopick.star"
    foreign.write_text("by hand")
    share = session.folder / "share"
    (session.landing / "elsewhere.mrc").symlink_to(share / "elsewhere.mrc")
    session.start()
    prometheus = watch(address)
    session.drop(1)
    prometheus.until(fire=["LivepickOutputObstructed", "LivepickFilesUnreadable"])
    assert foreign.read_text() == "by hand"

    foreign.unlink()
    share.mkdir()
    write_disc_micrograph(share / "elsewhere.mrc", seed=2)
    prometheus.until(silent=["LivepickOutputObstructed", "LivepickFilesUnreadable"])
    session.until(lambda: session.picked() == 2, "picks of both")
    session.until(lambda: foreign.exists() and foreign.read_text() != "by hand", "its picks")
    assert session.stop() == 0


def test_a_ledger_that_was_rebuilt_is_told(make_session, watch):
    """It was removed while the service was stopped. The alert ends by itself, after hours."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address})
    session.start()
    prometheus = watch(address)
    session.drop(2)
    session.until(lambda: session.picked() == 2, "picks")
    rebuilt = "livepick_ledger_rebuilt_timestamp_seconds"
    session.until(lambda: prometheus.has_figures(f"{rebuilt} == 0"), "figures before")
    assert "LivepickLedgerRebuilt" not in prometheus.firing()
    assert session.stop() == 0
    (session.state / LEDGER).unlink()
    session.start()
    prometheus.until(fire=["LivepickLedgerRebuilt"])
    session.until(lambda: session.picked() == 2, "the picks again")
    assert session.stop() == 0


def test_a_damaged_model_is_told_until_it_is_restored(make_session, watch):
    """Half of the current model's graph is lost under way; then it is restored from a copy."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address})
    put_model(session, 1, generation=1, graph=blob_graph(DIAMETER_PX))
    ran = livepick("models", "promote", session.config, "1", "--note", "of the last session")
    assert ran.returncode == 0, ran.stderr
    session.start()
    prometheus = watch(address)
    session.until(lambda: prometheus.has_figures("livepick_model_usable == 1"), "figures before")
    graph = session.state / MODELS / "0001" / GRAPH
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])
    prometheus.until(fire=["LivepickModelDamaged"])
    session.until(lambda: session.status()["model"]["version"] != 1, "another model")
    session.drop(1)
    session.until(lambda: session.picked() == 1, "picks of another model")

    graph.write_bytes(whole)
    prometheus.until(silent=["LivepickModelDamaged"])
    assert session.stop() == 0


def tell_of_the_particle(session, evidence):
    """Record what micrographs say about the particle, while no service runs."""
    with Database.writable(session.state / LEDGER) as database:
        ledger = LedgerWriter(database)
        for row in ledger.reader.first_landed(100):
            ledger.session.particle_seen(row.id, row.content, evidence.to_json(), "")


def test_a_particle_that_is_contradicted_or_in_doubt_is_told(make_session, watch):
    """The micrographs are measured before; an edit of the diameter answers both."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(web={"listen": address}, bootstrap={"micrographs": 5})
    session.start()
    session.drop(5)
    session.until(lambda: session.picked() == 5, "picks")
    assert session.stop() == 0
    tell_of_the_particle(session, make_evidence(350))
    session.start()
    prometheus = watch(address)
    prometheus.until(fire=["LivepickParticleContradicted"])
    session.settings["particle"] = {"diameter_angstrom": 350}
    session.save()
    prometheus.until(silent=["LivepickParticleContradicted"])
    assert session.stop() == 0

    tell_of_the_particle(session, make_evidence(120, second_angstrom=300))
    session.settings["particle"] = {"diameter_angstrom": "auto"}
    session.save()
    session.start()
    prometheus.until(fire=["LivepickParticleInDoubt"])
    session.settings["particle"] = {"diameter_angstrom": 120}
    session.save()
    prometheus.until(silent=["LivepickParticleInDoubt"])
    assert session.stop() == 0


def test_a_cluster_that_is_missing_and_a_worker_that_does_not_fit_are_told(
    make_session, make_cluster, watch
):
    """The service starts before the scheduler, and a plain Dask worker is refused."""
    pytest.importorskip("distributed")
    address, cluster = f"127.0.0.1:{free_port()}", make_cluster()
    session = cluster.serve(make_session(web={"listen": address}))
    session.start()
    session.drop(1)
    prometheus = watch(address)
    prometheus.until(fire=["LivepickClusterLost"])
    session.until(lambda: "is not connected" in str(session.status()["problems"]), "it is said")
    cluster.start_scheduler()
    cluster.start_worker()
    options = ["--no-dashboard", "--no-nanny", "--nthreads=1", "--local-directory", session.folder]
    plain = cluster.start(DASK, "worker", cluster.address, *options, log=cluster.worker_log)
    session.until(lambda: session.picked() == 1, "picks")
    prometheus.until(fire=["LivepickNodeSetAside"], silent=["LivepickClusterLost"])
    session.until(lambda: "plain Dask worker" in str(session.status()["problems"]), "it is said")

    cluster.kill(plain, signal.SIGTERM)
    prometheus.until(silent=["LivepickNodeSetAside"])
    assert session.stop() == 0


def test_a_ctf_that_does_not_fit_is_told_until_fits_are_off(make_session, watch):
    """The pixel size of the config is wrong, and there are no Thon rings in these micrographs.

    With their own pixels, which are too large for a fit, nothing is told.
    """
    address = f"127.0.0.1:{free_port()}"
    session = make_session(
        web={"listen": address},
        particle={"diameter_angstrom": 80},
        micrograph={"pixel_size_angstrom": PIXEL_SIZE_ANGSTROM / 2, "trust": "config"},
    )
    session.start()
    prometheus = watch(address)
    with Microscope(session, 0.6) as microscope:
        microscope.deliver(10)
        prometheus.until(fire=["LivepickCtfNotTrusted"])
        session.until(lambda: "CTF fit does not hold" in session.get("/"), "the page says so")
        edit(session, micrograph={"ctf": "off"})
        prometheus.until(silent=["LivepickCtfNotTrusted"])
    assert session.stop() == 0


@pytest.mark.timeout(700)
def test_class_averages_without_particles_are_told(make_session, watch):
    """With half the diameter, picks are pieces of particles. The page says the same."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(
        web={"listen": address},
        particle={"diameter_angstrom": DIAMETER_ANGSTROM / 2},
        class_averages={"enabled": True, "every_minutes": 0.01},
    )
    session.start()
    session.drop(40)
    prometheus = watch(address)
    prometheus.until(fire=["LivepickFewGoodClasses"], seconds=500)
    told = "are in class averages that show a particle"
    session.until(lambda: told in str(session.status()["problems"]), "the status says so")
    assert session.stop() == 0


@pytest.mark.timeout(900)
def test_class_averages_of_noise_are_told(make_session, watch):
    """With a threshold of 0, 97 of 100 picks are noise, and have averages with a shape, too."""
    address = f"127.0.0.1:{free_port()}"
    session = make_session(
        web={"listen": address},
        particle={"diameter_angstrom": 155},
        bootstrap={"picks": "general"},
        picking={"threshold": 0.0},
        micrograph={"ctf": "off"},
        class_averages={"enabled": True, "every_minutes": 0.01},
    )
    micrographs = session.folder / "made"
    written = livepick(
        *("simulate", micrographs, "--micrographs", 14, "--every", "1ms", "--write-seconds", 0),
        *("--species", "proteasome", "--clean", "--particles-per-micrograph", 3, "--snr", 0.06),
    )
    assert written.returncode == 0, written.stderr
    session.start()
    for path in sorted(micrographs.glob("*.mrc")):
        path.rename(session.landing / path.name)
    prometheus = watch(address)
    prometheus.until(fire=["LivepickFewGoodClasses"], seconds=600)
    averages = session.status()["class_averages"]
    assert averages["particles"] >= 1000
    assert averages["good_fraction"] < 0.15
    assert averages["noise_fraction"] > 0.7
    told = "cannot be told from averages of noise. If many picks lie where no particle is, raise"
    session.until(lambda: told in session.get("/"), "the page says so")
    report = session.folder / "report.html"
    assert livepick("report", session.config, "--output", report).returncode == 0
    assert told in report.read_text()
    assert session.stop() == 0


def test_every_alert_is_fired_for_real():
    """A new alert needs a test in this file, or in that of instruments, that causes it."""
    files = (Path(__file__), Path(__file__).with_name("test_instrument_alerts.py"))
    fired = [name for file in files for name in re.findall(r'"(Livepick\w+)"', file.read_text())]

    assert set(fired) == {alert.name for alert in ALERTS}

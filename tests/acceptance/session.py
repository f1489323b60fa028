"""A session for acceptance tests: a folder with a config, and the service on it."""

import contextlib
import functools
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from unittest import mock

import psutil
import yaml
from disc_micrographs import write_disc_micrograph

from livepick.cli import main
from livepick.errors import LedgerError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts
from livepick.particle.own_process import NICENESS
from livepick.web.client import service_status

LIVEPICK = Path(sys.executable).with_name("livepick")

QUICK_LISTS = {
    "picking.output_sync.LIST_SECONDS": 0.5,
    "picking.output_sync.TABLE_SECONDS": 1.0,
    "picking.background_write.SHARE": 1e6,
    "picking.output_losses.PAUSE_SHARE": 1e6,
}
"""Constants for ``impatient``: lists and tables without the intervals of up to a minute."""


class Session:
    """A folder with a config, and the service on it."""

    def __init__(self, folder, **sections):
        self.folder = folder
        self.landing = folder / "in"
        self.landing.mkdir()
        self.output = folder / "out"
        self.state = folder / "state"
        self.settings = {
            "session": {"name": "test"},
            "watch": {
                "directories": ["in"],
                "settle_seconds": 0.2,
                "rescan_seconds": 0.5,
            },
            "particle": {"diameter_angstrom": 160},
            "bootstrap": {"micrographs": 1000, "picks": "blob"},
            # Each takes a core for some time; test_class_averages_service.py switches them on.
            "class_averages": {"enabled": False},
            "picking": {"device": "cpu", "workers": 1},
            "output": {"directory": "out"},
            "state": {"directory": "state"},
            "web": {"listen": "127.0.0.1:0"},
        }
        for name, section in sections.items():
            self.settings[name] = self.settings.get(name, {}) | section
        self.config = folder / "session.yaml"
        self.log = folder / "log"
        self.process = None
        self.save()

    def save(self):
        """Write the config."""
        self.config.write_text(yaml.safe_dump(self.settings))

    def start(self, *, wait=True, program=(LIVEPICK,), options=(), **environment):
        """Start the service, and wait until it is ready."""
        with self.log.open("ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                [*program, "run", *options, self.config], stderr=log, env=os.environ | environment
            )
        if wait:
            self.until(lambda: b": ready" in self.log.read_bytes()[before:], "start")

    def stop(self):
        """Stop the service as systemd does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def end(self):
        """Kill the service if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def until(self, condition, what, *, seconds=120):
        """Wait for a condition while the service runs."""
        give_up = time.monotonic() + seconds
        while not condition():
            log = self.log.read_text()
            assert self.process.poll() is None, f"the service ended before: {what}\n{log}"
            assert time.monotonic() < give_up, f"waited in vain for: {what}\n{log}"
            time.sleep(0.1)

    def drop(self, count, *, first=1, **content):
        """Let micrographs land, and return their names."""
        names = [f"mic_{number:04d}" for number in range(first, first + count)]
        for number, name in enumerate(names, first):
            write_disc_micrograph(self.landing / f"{name}.mrc", seed=number, **content)
        return names

    def status(self):
        """Return the JSON of ``livepick status``, called in this process: that saves its start.

        It waits longer for the service than the command does: a busy machine answers late.
        """
        patient = functools.partial(service_status, timeout_seconds=60)
        with (
            mock.patch("livepick.commands.status.service_status", patient),
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            main(["status", str(self.config), "--json"])
        return json.loads(said.getvalue())

    def problems(self):
        """Return the problems of ``status``, without that of the disk that all tests share."""
        return [
            each
            for each in self.status()["problems"]
            if not each["sentence"].startswith("The disk with the ")
        ]

    def counts(self):
        """Return the number of micrographs in each state; all 0 without a ledger."""
        try:
            database = Database.read_only(self.state / LEDGER)
        except LedgerError:
            return Counts()
        with database:
            return LedgerReader(database).counts()

    def rows(self):
        """Return the micrographs in the ledger, by their path below the watched folder."""
        with Database.read_only(self.state / LEDGER) as database:
            return {str(row.relative): row for row in LedgerReader(database).recent(-1)}

    def picked(self):
        """Return the number of picked micrographs."""
        return self.counts().picked

    def listed(self):
        """Return the text of RELION's list in the output folder; empty if there is none yet."""
        try:
            return (self.output / "autopick.star").read_text()
        except FileNotFoundError:
            return ""

    def is_over(self):
        """Return True if the service that follows the end of the session says that it is over."""
        try:
            return self.figure("session_ended") == 1
        except (OSError, ValueError):
            return False

    def has_trained_model(self):
        """Return True if a trained model picks, according to ``/metrics``."""
        return 'livepick_model_info{kind="trained"' in self.get("/metrics")

    @property
    def address(self):
        """Host and port of the page."""
        return (self.state / "web.address").read_text().strip()

    def get(self, path):
        """Return the answer of the service to an HTTP request."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return answer.read().decode()

    def figure(self, series):
        """Return the value of a series of ``/metrics``, as ``queue_depth{stage="queued"}``.

        Some series are there only once they are set. Until then it is NaN, which equals nothing.
        """
        start = f"livepick_{series} "
        lines = [x for x in self.get("/metrics").splitlines() if x.startswith(start)]
        return float(lines[0].removeprefix(start)) if lines else math.nan

    def workers(self):
        """Return the worker processes of the service."""
        return [each for each in psutil.Process(self.process.pid).children() if is_worker(each)]

    def star(self, name):
        """Return the rows of a micrograph's coordinates file."""
        lines = (self.output / f"{name}_autopick.star").read_text().splitlines()
        return [line.split() for line in lines if line[:1] == " "]


def impatient(constants):
    """Return ``livepick`` as a program with other constants, so that tests wait less.

    Their names are as ``"picking.worker_pool.STOPPED_SECONDS"``.
    """
    code = f"""\
import importlib, sys
from livepick.cli import main
for name, value in {constants!r}.items():
    module, _, constant = name.rpartition(".")
    module = importlib.import_module("livepick." + module)
    assert hasattr(module, constant), name
    setattr(module, constant, value)
sys.exit(main())
"""
    return sys.executable, "-c", code


def is_worker(process):
    """Return True if a process is alive and is a worker of a service.

    The processes that measure the particle have a lower priority.
    """
    try:
        low = min(psutil.Process().nice() + NICENESS, 19)
        return "spawn_main" in " ".join(process.cmdline()) and process.nice() < low
    except psutil.Error:
        return False


def livepick(*arguments):
    """Run a command to its end."""
    return subprocess.run(
        [LIVEPICK, *map(str, arguments)], capture_output=True, text=True, check=False
    )

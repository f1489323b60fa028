"""A Dask cluster for acceptance tests: a scheduler and ``livepick worker``, on this machine."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from session import LIVEPICK

__all__ = ["Cluster", "checksums", "free_port"]

DASK = Path(sys.executable).with_name("dask")


class Cluster:
    """A scheduler and its workers, in their own log file; all of them end with the test.

    Parameters
    ----------
    folder
        Where the log and the scheduler file are.
    scheduler_on
        Machine of the scheduler; None: this one.
    """

    def __init__(self, folder, *, scheduler_on=None):
        self.folder = folder
        self.log = folder / "cluster.log"
        self.log.touch()
        self.scheduler_file = folder / "scheduler.json"
        self.scheduler = None
        self._scheduler_on = scheduler_on
        self._host = scheduler_on.address if scheduler_on else "0.0.0.0"  # noqa: S104
        self._port = free_port()
        self._started = []

    @property
    def address(self):
        """Address of the scheduler, the same one at each start."""
        host = self._scheduler_on.address if self._scheduler_on else "127.0.0.1"
        return f"tcp://{host}:{self._port}"

    def address_from(self, machine):
        """Return the address of a scheduler on this machine, as another machine reaches it."""
        return f"tcp://{machine.ours}:{self._port}"

    def serve(self, session, **engine):
        """Let a session pick on this cluster, and return it."""
        where = engine or {"scheduler": self.address}
        session.settings["engine"] = {"kind": "dask", "insecure": True} | where
        del session.settings["picking"]["workers"]  # of this machine
        session.save()
        return session

    def start_scheduler(self, *, wait=True):
        """Start the scheduler, always at the same address."""
        options = [f"--host={self._host}", f"--port={self._port}", "--no-dashboard"]
        options += ["--scheduler-file", self.scheduler_file]
        before = self.log.stat().st_size
        self.scheduler = self._start([DASK, "scheduler", *options], on=self._scheduler_on)
        if wait:
            self.until(lambda: "Scheduler at" in self._since(before), "the scheduler's start")

    def start_worker(self, *options, on=None, program=(LIVEPICK,), wait=True, **environment):
        """Start a worker, and return its process."""
        address = self.address if on is None or self._scheduler_on else self.address_from(on)
        before = self.log.stat().st_size
        words = [*program, "worker", "--device=cpu", "--workers=1", "--insecure"]
        worker = self._start([*words, "--scheduler", address, *options], on=on, **environment)
        if wait:
            self.until(lambda: "joined" in self._since(before), "a worker's start")
        return worker

    def _start(self, words, *, on, **environment):
        prefix = on.prefix if on is not None else []
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*prefix, *map(str, words)],
                stdout=log,
                stderr=log,
                env=os.environ | environment,
            )
        self._started.append(process)
        return process

    def _since(self, before):
        return self.log.read_bytes()[before:].decode()

    def until(self, condition, what, *, seconds=60):
        """Wait for a condition."""
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, f"waited in vain for: {what}\n{self.log.read_text()}"
            time.sleep(0.05)

    def kill(self, process, number=signal.SIGKILL):
        """Kill one of the processes alone, as a fault does; what it started must see to itself."""
        process.send_signal(number)
        process.wait(timeout=60)

    def end(self):
        """Kill everything that was started, and what that has started."""
        for process in self._started:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                process.wait()
                for child in family:
                    if child.is_running():
                        child.kill()


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def checksums(session):
    """Return a digest of each file of picks and of each list of a session.

    The place of the session and the order of the lines, which is that of the landing, do not count.
    """
    place = str(session.folder)
    found = {}
    for path in session.output.rglob("*"):
        name = path.relative_to(session.output)
        if path.is_file() and name.parts[0] != ".livepick":
            lines = sorted(path.read_text().replace(place, "").splitlines())
            found[str(name)] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found

"""A Dask cluster for acceptance tests: a scheduler and ``livepick worker``, on this machine."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from session import LIVEPICK

from free_port import free_port

__all__ = ["DASK", "Cluster", "checksums"]

DASK = Path(sys.executable).with_name("dask")


class Cluster:
    """A scheduler and its workers, each with a log; all of them end with the test.

    Parameters
    ----------
    folder
        Where the logs and the scheduler file are.
    scheduler_on
        Machine of the scheduler; None: this one.
    by_file
        True: programs find the scheduler by its file; it is only reached from this machine, and its
        port is another one at each start. False: it has the same address at each start.
    tls
        Certificates of all programs; None: connections without TLS.
    """

    def __init__(self, folder, *, scheduler_on=None, by_file=False, tls=None):
        self.folder = folder
        self.scheduler_log = folder / "scheduler.log"
        self.worker_log = folder / "worker.log"
        self.scheduler_log.touch()
        self.worker_log.touch()
        self.scheduler_file = folder / "scheduler.json"
        self.scheduler = None
        self.workers = []
        """Processes of the workers that were started."""
        self._scheduler_on = scheduler_on
        self._by_file = by_file
        self._tls = tls
        self._protocol = "tcp" if tls is None else "tls"
        self._port = 0 if by_file else free_port()
        self._started = []

    @property
    def address(self):
        """Address of the scheduler, the same one at each start."""
        host = self._scheduler_on.address if self._scheduler_on else "127.0.0.1"
        return f"{self._protocol}://{host}:{self._port}"

    def address_from(self, machine):
        """Return the address of a scheduler on this machine, as another machine reaches it."""
        return f"{self._protocol}://{machine.ours}:{self._port}"

    def serve(self, session, **engine):
        """Let a session pick on this cluster, and return it."""
        if self._by_file:
            where = {"scheduler_file": str(self.scheduler_file)}
        else:
            where = {"scheduler": self.address, "insecure": True}
        session.settings["engine"] = {"kind": "dask"} | where | engine
        del session.settings["picking"]["workers"]  # of this machine
        session.save()
        return session

    def start_scheduler(self, *, wait=True):
        """Start the scheduler."""
        if self._by_file:
            host = "127.0.0.1"
        else:
            host = self._scheduler_on.address if self._scheduler_on else "0.0.0.0"  # noqa: S104
        words = [f"--host={self._protocol}://{host}", f"--port={self._port}"]
        words += ["--scheduler-file", self.scheduler_file]
        words += ["--no-dashboard", "--dashboard-address=127.0.0.1:0"]
        if self._tls is not None:
            words += ["--tls-ca-file", self._tls.ca]
            words += ["--tls-cert", self._tls.certificate, "--tls-key", self._tls.key]
        log = self.scheduler_log
        before = log.stat().st_size
        self.scheduler = self.start(DASK, "scheduler", *words, log=log, on=self._scheduler_on)
        if wait:
            self.until(lambda: "Scheduler at" in _since(log, before), "the scheduler's start")

    def start_worker(self, *options, on=None, program=(LIVEPICK,), wait=True, **environment):
        """Start a worker, and return its process."""
        words = [*program, "worker", "--device=cpu", "--workers=1", *options]
        if self._by_file:
            words += ["--scheduler-file", self.scheduler_file]
        else:
            reached = on is None or self._scheduler_on
            address = self.address if reached else self.address_from(on)
            words += ["--scheduler", address, "--insecure"]
        if self._tls is not None:
            words += ["--tls-ca", self._tls.ca]
            words += ["--tls-certificate", self._tls.certificate, "--tls-key", self._tls.key]
        log = self.worker_log
        before = log.stat().st_size
        worker = self.start(*words, log=log, on=on, **environment)
        self.workers.append(worker)
        if wait:
            self.until(lambda: "joined" in _since(log, before), "a worker's start")
        return worker

    def start(self, *words, log, on=None, **environment):
        """Start a program of the cluster, and return its process."""
        prefix = on.prefix if on is not None else []
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*prefix, *map(str, words)],
                stdout=file,
                stderr=file,
                env=os.environ | environment,
            )
        self._started.append(process)
        return process

    def until(self, condition, what, *, seconds=120):
        """Wait for a condition."""
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up:
                logs = self.scheduler_log.read_text() + self.worker_log.read_text()
                raise AssertionError(f"waited in vain for: {what}\n{logs}")
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
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()


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


def _since(log, before):
    return log.read_bytes()[before:].decode()

"""The trainer of a run on a worker of the cluster, or here if no worker takes it.

The run's folder is on the file system that both machines share, so everything that makes a run
survive is as it is here: its finished stages, its progress file, its log and its lock.

* **Never two.** The trainer holds the lock of the folder, wherever it runs. As long as the lock is
  taken, no other is started, also if the worker does not answer. Before it starts a trainer, a
  worker checks that it sees the locks of the service's machine (``HeavyOrder.guard``), and refuses
  if it does not, as on a file system that is mounted with local locks. So there is no trainer on
  such a machine, and the run is trained elsewhere.
* **Adopted.** The worker keeps its trainer if the service is killed, and a new service that asks
  about the folder in time follows it. A worker that is not asked for ``LEASE_SECONDS`` ends its
  trainer (``livepick.picking.cluster.heavy_on_node``).
* **Resumed.** If the worker is lost, the lock is free once its trainer has ended; the run then
  continues from its finished stages, on any worker.
* **Here.** If no worker has taken the run for two minutes, and the trainer is installed on this
  machine, it is trained here. If it is not installed, the run waits for a worker.

The workers are asked about the folder, by the thread that polls. It is not a task of the cluster's
scheduler, because the scheduler forgets the tasks of a service that is gone, and cannot end a task.
"""

import logging
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from livepick.core.contracts.heavy_job import HeavyOrder, HeavyReport
from livepick.core.contracts.trainer import (
    Activity,
    Ended,
    StartTrainer,
    Trainer,
    job_name,
)
from livepick.host.trainer_packages import missing_packages
from livepick.retraining.trainer_place import TrainerPlace, write_place
from livepick.retraining.trainer_process import TrainerProcess, lock_host

__all__ = ["HeavyNodes", "TrainerOnNode", "start_on_nodes"]

ASK_SECONDS = 2.0
"""Time between two questions to the workers."""

WAIT_SECONDS = 120.0
"""Time in which a worker must take a run, before it is trained here."""

REFUSED_SECONDS = 60.0
"""Time before a worker that refused a run is tried again."""

END_SECONDS = 12.0
"""Longest wait for the end of a trainer that a worker was told to end."""

SILENT = "its worker does not answer, but its trainer has not ended"

_log = logging.getLogger(__name__)


class HeavyNodes(Protocol):
    """The workers of a cluster that take heavy jobs. The calls wait for a few seconds at most."""

    def ask(self, folder: Path) -> Mapping[str, HeavyReport]:
        """Return the report of each worker that answers about a folder, by its address.

        Asking also tells the worker that the service is there.
        """

    def start(self, address: str, order: HeavyOrder) -> HeavyReport | None:
        """Let a worker start a job; None if it does not answer."""

    def end(self, folder: Path, *, kill: bool) -> None:
        """Tell all workers to end their job on a folder."""


def start_on_nodes(nodes: HeavyNodes, guard: Path) -> StartTrainer:
    """Return the function that starts or adopts trainers on workers of a cluster.

    Parameters
    ----------
    nodes
        The workers.
    guard
        File in the state folder that the service keeps locked.
    """

    def start(folder: Path, command: tuple[str, ...] = (), *, threads: int = 1) -> Trainer:
        order = HeavyOrder(folder, uuid.uuid4().hex, threads, guard, command)
        return TrainerOnNode(order, nodes)

    return start


class TrainerOnNode:
    """A trainer that a worker runs or will run; it is adopted if one runs it already.

    Parameters
    ----------
    order
        Program to run, and its folder.
    nodes
        The workers.
    here
        Function that starts or adopts a trainer on this machine.
    """

    def __init__(
        self,
        order: HeavyOrder,
        nodes: HeavyNodes,
        *,
        here: StartTrainer = TrainerProcess.start_or_adopt,
    ) -> None:
        self._order = order
        self._nodes = nodes
        self._here = here
        self._folder = order.folder
        self._local: Trainer | None = None
        self._attempt = ""  # of the trainer that a worker runs for us
        self._report: HeavyReport | None = None
        self._ended: Ended | None = None
        self._away_host = ""  # holds the lock of a trainer that no worker knows of
        self._refused: dict[str, tuple[float, str]] = {}
        self._place: TrainerPlace | None = None
        self._since = time.monotonic()
        self._ask_at = float("-inf")
        self.poll()

    def poll(self) -> Ended | None:
        """Ask the workers if it is time; return how the trainer ended, or None."""
        if self._local is not None:
            return self._local.poll()
        if self._ended is None and time.monotonic() >= self._ask_at:
            reports = self._nodes.ask(self._folder)
            if self._attempt:
                self._follow(reports)
            else:
                self._seek(reports)
            self._ask_at = time.monotonic() + ASK_SECONDS
        return self._ended

    def activity(self) -> Activity | None:
        """Return what the trainer does; None if its worker does not answer."""
        if self._local is not None:
            return self._local.activity()
        if not self._attempt:
            return Activity(is_stopped=False, cpu_seconds=0.0, has_begun=False)
        report = self._report
        return None if report is None else Activity(report.is_stopped, report.cpu_seconds)

    def end(self) -> None:
        """Terminate the trainer, whose finished stages are kept."""
        if self._local is not None:
            self._local.end()
        else:
            self._end_there(kill=False)

    def kill(self) -> None:
        """Kill the trainer, also if it is stopped."""
        if self._local is not None:
            self._local.kill()
        else:
            self._end_there(kill=True)

    # --- a trainer that a worker runs -----------------------------------------------------------

    def _follow(self, reports: Mapping[str, HeavyReport]) -> None:
        """Take note of what the worker says, or of its silence."""
        # A worker that has joined again has another address.
        ours = ((a, r) for a, r in reports.items() if r.attempt == self._attempt)
        address, report = next(ours, ("", None))
        self._report = report
        host = self._place.host if self._place is not None else ""
        if report is None:
            if not TrainerProcess.is_running(self._folder):
                self._end_as(_gone(host))
            else:
                self._say(host, SILENT)
            return
        if report.state == "refused":
            self._refuse(address, report)
            self._attempt = ""
        elif report.state == "ended":
            lost = f"the worker on {report.host} ended it: {report.reason}" if report.reason else ""
            self._end_as(Ended(report.exit_status, report.host, lost))
        else:
            self._say(report.host)

    def _end_as(self, ended: Ended) -> None:
        self._ended = ended
        write_place(self._folder, None)

    def _end_there(self, *, kill: bool) -> None:
        """Tell the workers to end the trainer, and wait until it has ended."""
        if self._ended is None and (self._attempt or self._away_host):
            self._nodes.end(self._folder, kill=kill)
            give_up = time.monotonic() + END_SECONDS
            while self._still_runs():
                if time.monotonic() > give_up:
                    _log.error(
                        "%s: its worker does not end the process; it ends by itself within"
                        " five minutes, unless the machine is stopped",
                        job_name(self._folder),
                    )
                    break
                time.sleep(0.1)
        write_place(self._folder, None)

    def _still_runs(self) -> bool:
        reports = self._nodes.ask(self._folder).values()
        at_work = any(r.state in ("starting", "running") for r in reports)
        return at_work or TrainerProcess.is_running(self._folder)

    # --- a trainer that nobody runs for us yet --------------------------------------------------

    def _seek(self, reports: Mapping[str, HeavyReport]) -> None:
        """Adopt the trainer that runs, or let a worker start one."""
        name = job_name(self._folder)
        for report in reports.values():
            if report.state in ("starting", "running"):
                _log.info(
                    "%s: adopting its process, which is still running on %s", name, report.host
                )
                self._join(report)
                return
        if TrainerProcess.is_running(self._folder):
            host = lock_host(self._folder)
            if not host:  # of a service of this machine that was killed
                self._train_here()
                return
            self._away_host = host
            self._say(host, SILENT)
            return
        if self._away_host:
            self._end_as(_end_of(reports, self._away_host))
            return
        self._start(reports)

    def _start(self, reports: Mapping[str, HeavyReport]) -> None:
        """Give the run to the first worker that takes it; train here if none does for long."""
        now = time.monotonic()
        for address, report in reports.items():
            since, _ = self._refused.get(address, (float("-inf"), ""))
            if report.state == "busy" or now - since < REFUSED_SECONDS:
                continue
            answer = self._nodes.start(address, self._order)
            if answer is None:
                continue
            if answer.state in ("starting", "running"):
                _log.info("%s: runs on %s", job_name(self._folder), answer.host)
                self._join(answer)
                return
            if answer.state == "refused":
                self._refuse(address, answer)
        waits = self._why_none(reports)
        if now - self._since < WAIT_SECONDS:
            self._say("", waits)
        elif missing := missing_packages():
            self._say("", f"{waits}, and it cannot be trained here without {', '.join(missing)}")
        else:
            _log.warning("%s: runs on the service's machine: %s", job_name(self._folder), waits)
            self._train_here()

    def _join(self, report: HeavyReport) -> None:
        self._attempt = report.attempt
        self._report = report
        self._say(report.host)

    def _refuse(self, address: str, report: HeavyReport) -> None:
        reason = f"{report.host} refuses it: {report.reason}"
        if self._refused.get(address, (0.0, ""))[1] != reason:
            _log.warning("%s: %s", job_name(self._folder), reason)
        self._refused[address] = (time.monotonic(), reason)

    def _why_none(self, reports: Mapping[str, HeavyReport]) -> str:
        if not reports:
            return "no worker of the cluster takes heavy jobs (livepick worker --heavy)"
        reasons = [reason for address, (_, reason) in self._refused.items() if address in reports]
        busy = sorted({r.host for r in reports.values() if r.state == "busy"})
        if busy:
            reasons.append(f"{', '.join(busy)} works for another run")
        return "; ".join(reasons) or "no worker has taken it yet"

    def _train_here(self) -> None:
        write_place(self._folder, None)
        order = self._order
        self._local = self._here(self._folder, order.command, threads=order.threads)

    def _say(self, host: str, waits: str = "") -> None:
        """Record for the status where the trainer works, or what it waits for."""
        place = TrainerPlace(host=host, waits=waits)
        if place != self._place:
            if waits:
                _log.info("%s: %s%s", job_name(self._folder), f"{host}: " if host else "", waits)
            self._place = place
            write_place(self._folder, place)


def _gone(host: str) -> Ended:
    return Ended(None, host, f"the worker on {host} is gone")


def _end_of(reports: Mapping[str, HeavyReport], host: str) -> Ended:
    """Return how a trainer of a host has ended that nobody followed."""
    there = (r for r in reports.values() if r.host == host and r.state == "ended" and not r.reason)
    report = next(there, None)
    if report is None:
        return _gone(host)
    return Ended(report.exit_status, host)

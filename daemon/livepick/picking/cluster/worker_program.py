"""The program of ``livepick worker``: one Dask worker, which passes its tasks to local processes.

The Dask worker has a thread for each process and one for questions, and only waits in them: a job
that crashes, hangs or takes too much memory ends a process, and never this program. There is no
nanny, because there is nothing that it could do better.

Dask's worker ends when the connection to its scheduler does. This program then waits for the
scheduler, which may have another address by then, and joins again with a new one.

This is one file because a worker waits, joins, works and leaves in any order.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dask.config
from distributed import Status, Worker, WorkerPlugin

from livepick.config.engine_section import ClusterTls, scheduler_host
from livepick.core.contracts.job import CPU
from livepick.core.contracts.node import HEAVY, NEXT_FILE, PICK, REPORT
from livepick.host.loopback import is_loopback
from livepick.picking.cluster.heavy_on_node import HeavyWork, offer_heavy
from livepick.picking.cluster.node import (
    abandon_jobs,
    close_node,
    node_fault,
    node_report,
    open_node,
    read_ahead_on_node,
)
from livepick.picking.cluster.scheduler import (
    AwayError,
    SchedulerPlace,
    refuse_versions,
    versions_there,
)
from livepick.picking.cluster.security import cluster_security, refuse_open
from livepick.picking.cluster.worker_checks import Offer
from livepick.picking.gpu_pins import VISIBLE

__all__ = ["Joining", "check_joining", "run_worker_program"]

START_SECONDS = 60.0
"""Time within which a scheduler that has just answered takes a worker."""

RETRY_SECONDS = 2.0
"""Time between two tries to reach a scheduler."""

REPEAT_SECONDS = 60.0
"""Time between two log lines about a scheduler that does not answer."""

FINISH_SECONDS = 20.0
"""Time that running jobs get to finish before the worker leaves; the others are handed back. With
the goodbye it is shorter than the time between SIGTERM and SIGKILL in Slurm (KillWait, 30 s)."""

GOODBYE_SECONDS = 5.0
"""Time that the scheduler gets to take the worker off its list."""

POLL_SECONDS = 0.2

CONFIG = {
    # A connection that is dead, as after a power cut, is noticed within this time.
    "distributed.comm.timeouts.tcp": "30s",
    "distributed.comm.timeouts.connect": "10s",
    # The threads only wait, so a profile of them would show nothing, a hundred times a second.
    "distributed.worker.profile.enabled": False,
}
"""Settings of Dask for this process; the others are as in the files of its user."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Joining:
    """Options with which a worker joins a cluster."""

    place: SchedulerPlace
    tls: ClusterTls | None = None
    insecure: bool = False
    """True to accept a scheduler that others can reach without encryption."""
    name: str | None = None
    """Begin of the worker's name in the cluster; None: the name of the host."""
    port: str | None = None
    """Port to listen on, or a range such as ``40000:40099``. None: any free one."""
    lifetime_seconds: float | None = None
    """Time after which it leaves by itself."""
    stagger_seconds: float = 0.0
    """Most by which the lifetime is shortened, at random, so that not all leave together."""


def check_joining(joining: Joining) -> None:
    """Check the options that need no look at the machine.

    Raises
    ------
    ConfigError
        The scheduler's address or the TLS files cannot be used.
    """
    cluster_security(joining.tls)
    if joining.place.address is not None:
        _refuse_open(joining, joining.place.address)


def _refuse_open(joining: Joining, address: str) -> None:
    refuse_open(address, joining.tls, insecure=joining.insecure, accept="--insecure")


def run_worker_program(offer: Offer, joining: Joining, heavy: HeavyWork | None = None) -> None:
    """Work for a cluster until SIGTERM, SIGINT or the end of the lifetime.

    Parameters
    ----------
    offer
        Offer of this machine.
    joining
        Options with which it joins.
    heavy
        Runs the heavy jobs, if they are offered.

    Raises
    ------
    ConfigError
        The scheduler's address or the TLS files cannot be used.
    EngineError
        The scheduler has other versions or other certificates, or no process can be started here.
    """
    _log_through_root()
    if offer.provider == CPU:  # not even for a session with picking.device: prefer-gpu
        os.environ[VISIBLE] = "-1"
    open_node(
        offer.workers,
        offer.limits,
        devices=offer.devices or None,
        cuda=offer.cuda,
        requires_gpu=offer.provider != CPU,
        heavy=offer.heavy,
    )
    offer_heavy(heavy)
    try:
        with dask.config.set(CONFIG):
            asyncio.run(_Program(offer, joining, heavy).run())
    finally:
        if heavy is not None:
            heavy.leave()
        close_node()


def _log_through_root() -> None:
    """Have Dask write its errors to the log of this program; it has handlers of its own.

    Its warnings are of jobs that were cancelled, and of what this program says in its own words.
    """
    for name in ("distributed", "distributed.client", "tornado", "tornado.application"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.ERROR)
    for name in ("worker", "core", "batched", "utils"):
        logging.getLogger(f"distributed.{name}").addFilter(_is_not_of_the_connection)


def _is_not_of_the_connection(record: logging.LogRecord) -> bool:
    """Return False for the tracebacks of a lost connection, which this program names itself.

    False as well for the scheduler's word that a worker is to leave, if it has just left.
    """
    if str(record.msg).startswith("Invalid Worker.status transition"):
        return False
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, OSError)  # Dask's and TimeoutError are of it


class _QuickWorker(Worker):
    """A Dask worker that does not wait for its threads at its end: their jobs are elsewhere."""

    async def close(  # type: ignore[override]  # as in Worker
        self,
        timeout: float = GOODBYE_SECONDS,
        executor_wait: bool = False,  # noqa: ARG002, FBT001, FBT002 - as in Worker
        nanny: bool = False,  # noqa: FBT001, FBT002 - as in Worker
        reason: str = "worker-close",
    ) -> str | None:
        return await super().close(timeout, executor_wait=False, nanny=nanny, reason=reason)


class _WaitingTasks(WorkerPlugin):
    """Names the files of the tasks that wait in a Dask worker, to be read ahead."""

    def setup(self, worker: Worker) -> None:
        self._state = worker.state

    def transition(self, key: Any, start: Any, finish: Any, **_: Any) -> None:  # noqa: ARG002 - as in WorkerPlugin
        """Take note of a task that has arrived, unless it starts at once."""
        if finish != "constrained":
            return
        task = self._state.tasks[key]
        path = (task.annotations or {}).get(NEXT_FILE)
        if path is not None and task in self._state.constrained:
            read_ahead_on_node(Path(os.fsdecode(path)))


class _Program:
    """The event loop's part: join, wait, join again, leave."""

    def __init__(self, offer: Offer, joining: Joining, heavy: HeavyWork | None) -> None:
        self._offer = offer
        self._joining = joining
        self._heavy = heavy
        self._security = cluster_security(joining.tls)
        self._leaving = asyncio.Event()
        self._why_leaving = ""
        self._joins = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave, f"{number.name} received")
        if self._joining.lifetime_seconds is not None:
            shorter = random.uniform(0, self._joining.stagger_seconds)  # noqa: S311 - no secret
            lifetime = max(0.0, self._joining.lifetime_seconds - shorter)
            loop.call_later(lifetime, self._leave, "end of the lifetime")
        while not self._leaving.is_set():
            address = await self._wait_for_scheduler()
            if address is not None:
                await self._work_for(address)
        _log.info("worker: ends: %s", self._why_leaving)

    def _leave(self, why: str) -> None:
        if not self._leaving.is_set():
            self._why_leaving = why
            self._leaving.set()
            if self._heavy is not None:  # it would not finish in time; its stages are kept
                self._heavy.leave(timeout_seconds=0.0)

    async def _wait_for_scheduler(self) -> str | None:
        """Return the address of a scheduler that answers; None if the program is leaving first."""
        said, said_at = "", 0.0
        while not self._leaving.is_set():
            try:
                return await self._unless_leaving(self._scheduler_address())
            except AwayError as error:
                now = time.monotonic()
                if error.what != said or now - said_at >= REPEAT_SECONDS:
                    _log.warning("worker: waits for the scheduler: %s", error)
                    said, said_at = error.what, now
                await self._pause(RETRY_SECONDS)
        return None

    async def _scheduler_address(self) -> str:
        """Return the address of a scheduler that may be used, and that has the same versions."""
        address = await asyncio.to_thread(self._joining.place.read)
        _refuse_open(self._joining, address)
        refuse_versions(address, await versions_there(address, self._security))
        return address

    async def _work_for(self, address: str) -> None:
        """Join a scheduler, and return when the connection to it has ended."""
        worker = self._new_worker(address)
        try:
            await self._unless_leaving(worker.start())  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError) as error:  # lost again, before it had joined
            _log.warning("worker: could not join %s: %s", address, error.__cause__ or error)
            await self._pause(RETRY_SECONDS)
            return
        if worker.status not in (Status.running, Status.paused):
            return
        _log.info("worker: joined %s as %s, listening at %s", address, worker.name, worker.address)
        while worker.status in (Status.running, Status.paused):
            if (fault := node_fault()) is not None:
                self._leave("no process can be started here")
                await self._part(worker, 0.0)
                raise fault
            if self._leaving.is_set():
                await self._part(worker)
                return
            await self._pause(POLL_SECONDS)
        await worker.finished()  # type: ignore[no-untyped-call]
        if not self._leaving.is_set():
            _log.warning("worker: lost the scheduler %s; waits for it, and joins again", address)
            if dropped := abandon_jobs():
                _log.warning("worker: %d jobs of it that had not begun are dropped", dropped)

    def _new_worker(self, address: str) -> Worker:
        self._joins += 1  # the scheduler may still know the name of the last time
        resources = {PICK: float(self._offer.workers)}
        if self._offer.heavy:
            resources[HEAVY] = 1.0
        host = scheduler_host(address)
        return _QuickWorker(
            address,
            # By default Dask listens on all addresses, which without TLS is for everyone.
            host=(f"[{host}]" if ":" in host else host) if is_loopback(host) else None,
            nthreads=self._offer.workers + 1,  # one for questions, while all processes are busy
            name=f"{self._joining.name or socket.gethostname()}-{os.getpid()}-{self._joins}",
            port=self._joining.port,
            resources=resources,
            metrics={REPORT: lambda _: node_report().as_values()},
            security=self._security,
            # Results are small; the processes have their own limits.
            memory_limit=0,
            death_timeout=START_SECONDS,
            dashboard_address="127.0.0.1:0",
            plugins=(_WaitingTasks(),),
        )

    async def _part(self, worker: Worker, seconds: float = FINISH_SECONDS) -> None:
        """Let running jobs finish for a time, hand the others back, and leave the cluster."""
        worker.status = Status.paused  # no new jobs
        executing = worker.state.executing
        _log.info("worker: leaving (%s); %d running", self._why_leaving, len(executing))
        # Results leave the memory of the worker when the service has fetched them.
        while (executing or worker.data) and worker.status == Status.paused and seconds > 0:
            seconds -= POLL_SECONDS
            await asyncio.sleep(POLL_SECONDS)
        if executing:
            _log.warning("worker: %d jobs handed back", len(executing))
        try:
            await asyncio.wait_for(worker.close_gracefully(reason="leaving"), GOODBYE_SECONDS)
        except (OSError, TimeoutError) as error:
            _log.warning("worker: the scheduler did not answer: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(worker.close(reason="leaving"), GOODBYE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Wait; only a short time if the program is leaving."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)

    async def _unless_leaving(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of a call; None if it was cancelled, as the program is leaving."""
        call = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._leaving.wait())
        await asyncio.wait((call, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if call.done():
            return call.result()
        call.cancel()
        return None

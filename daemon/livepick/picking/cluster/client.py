"""The service's side of a Dask cluster: an executor whose jobs run on the nodes that fit.

One thread with an event loop holds the connection and all state; other threads only put jobs in,
and read what the thread publishes. It chooses the node of each job itself, at most two jobs for
each process of a node, so it always knows who has what; Dask carries the jobs, notices when a
worker leaves, and orders the jobs of several services on one node by priority.

A job whose node or scheduler is lost starts again on another node. It comes back once: a try that
has been given up is never heard. If no node fits for a while, waiting jobs come back with
``EngineError``, and the dispatch loop queues their micrographs again.

This is one file because every way in which a job can come back is seen here.
"""

import asyncio
import contextlib
import logging
import pickle
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from livepick.config.engine_section import EngineSettings
from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.contracts.job import CUDA, WorkerDiedError
from livepick.core.contracts.node import PICK, HelloRequest, TaskLimits
from livepick.errors import (
    ChangedFileError,
    EngineError,
    LivepickError,
    MemoryLimitError,
    TimeLimitError,
    VanishedFileError,
)
from livepick.picking.cluster.connection import Connection, LostError, result_of, why_lost
from livepick.picking.cluster.node import run_on_node
from livepick.picking.cluster.node_questions import ask_node
from livepick.picking.cluster.nodes import (
    JOBS_PER_SLOT,
    MOST_LOST,
    Failure,
    Node,
    Nodes,
    NodeState,
    Try,
    WorkerInfo,
    failure_of,
)
from livepick.picking.job_limits import JobLimits, Limits
from livepick.picking.limited_executor import LimitedExecutor
from livepick.picking.worker_process import Outcome

__all__ = ["ClusterExecutor"]

LOOK_SECONDS = 2.0
"""Time between two questions to the scheduler about its workers."""

RETRY_SECONDS = 2.0
"""Time between two tries to connect."""

UNEXPECTED_SECONDS = 30.0
"""Time before it connects again after an error that nobody expected."""

WAIT_SECONDS = 60.0
"""Jobs come back with ``EngineError`` after no node has fitted for so long."""

GRACE_SECONDS = 60.0
"""A node has lost a job that is not back for so long after its time limit."""

STOP_SECONDS = 4.0
"""Time to take leave of the scheduler at a stop."""

SEE_SECONDS = 10.0
"""Time limit of a look at a file that a node does not see."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Job:
    name: str
    path: Path | None
    work: Callable[..., Any]
    args: tuple[Any, ...]
    limits: TaskLimits
    future: Future[Any] = field(default_factory=Future)
    tries: list[Try] = field(default_factory=list)
    waiting_since: float = field(default_factory=time.monotonic)


class ClusterExecutor(LimitedExecutor):
    """The nodes of a Dask cluster.

    Parameters
    ----------
    engine
        Where the scheduler is.
    request
        Returns what to ask a node that has joined.
    limits
        Limits of jobs; the number of workers in it does not count.
    session
        Name of the session, which the scheduler shows.

    Raises
    ------
    ConfigError
        A file of ``engine.tls`` cannot be used.
    """

    def __init__(
        self,
        engine: EngineSettings,
        request: Callable[[], HelloRequest],
        limits: JobLimits,
        *,
        session: str,
    ) -> None:
        self._connection = Connection(engine, f"livepick-{session}")
        self._request = request
        self._limits = limits
        self._nodes = Nodes()
        self._incoming: deque[_Job] = deque()
        self._waiting: deque[_Job] = deque()
        self._tries: dict[asyncio.Task[None], tuple[_Job, Node]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._unfit_since = time.monotonic()
        self._deaths = 0
        self._retries: Counter[str] = Counter()
        self.view = ClusterView(str(self._connection.place), fault="not connected yet")
        """The cluster as it is now; a new value each time, so any thread may read it."""
        self._ending = False
        self._started, self._answered = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()
        self._started.wait()

    # ---- calls from any thread -----------------------------------------------------------------

    def submit_within(
        self, limits: Limits, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Give a job to a node; see ``LimitedExecutor``."""
        if kwargs:
            raise TypeError("jobs of a cluster have no keyword arguments")
        if self._ending:
            raise EngineError(
                "the workers have been stopped", "The service is stopping; start it again."
            )
        path = getattr(args[0], "path", None) if args else None
        name = str(path or getattr(fn, "__name__", "a job"))
        own_bytes = self._limits.memory_limit_bytes
        within = TaskLimits(limits.seconds, own_bytes, alone=limits.alone)
        job = _Job(name, path if isinstance(path, Path) else None, fn, args, within)
        self._incoming.append(job)
        with contextlib.suppress(RuntimeError):  # the thread has just ended
            self._loop.call_soon_threadsafe(self._start_jobs)
        return job.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - as in Executor
        """Cancel all jobs, and leave the cluster; its nodes stay."""
        self._ending = True
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)
        if wait and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS + 1)

    def wait_for_answer(self, seconds: float) -> None:
        """Wait until the scheduler has answered, or the first try to connect has failed."""
        self._answered.wait(seconds)

    def call(self, ask: Callable[[Any], Awaitable[T]], seconds: float) -> T:
        """Run a coroutine with the connection, and return its result; not for the own thread.

        Raises
        ------
        EngineError
            The scheduler is not connected.
        TimeoutError
            It took longer than ``seconds``.
        """

        async def run() -> T:
            if not self._is_connected:
                raise self.fault or EngineError("the cluster is lost", "It is tried again.")
            return await asyncio.wait_for(ask(self._connection.client), seconds)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(seconds + 1)

    @property
    def capacity(self) -> int:
        """Number of jobs that keeps the accepted nodes busy; 0 if there is none."""
        return JOBS_PER_SLOT * self.view.slots

    @property
    def limits(self) -> JobLimits:
        """Limits of jobs, with the number of processes that read files now."""
        limits = self._limits
        return JobLimits(
            max(self.view.slots, 1), limits.time_limit_seconds, limits.memory_limit_bytes
        )

    @property
    def deaths(self) -> int:
        """Number of processes of the nodes that died during our jobs."""
        return self._deaths

    @property
    def fault(self) -> EngineError | None:
        """Reason why no job can run now; None if a node fits, or has just been asked."""
        view = self.view
        is_new = time.monotonic() - self._unfit_since < WAIT_SECONDS
        if view.slots or (view.count("asked") and is_new):
            return None
        if not view.is_connected:
            return EngineError(
                f"the Dask scheduler ({view.scheduler}) is not connected: {view.fault}",
                f"{view.remedy or 'Start it, or correct engine.scheduler.'} Picking goes on by"
                " itself.",
            )
        if not view.nodes:
            return EngineError(
                f"the Dask scheduler ({view.scheduler}) has no workers",
                "Start livepick worker on the machines that pick. Picking goes on by itself.",
            )
        node = max(view.nodes, key=lambda node: bool(node.reason))
        why = f"{node.reason}. {node.remedy}" if node.reason else "it has not answered yet."
        return EngineError(
            f"none of the {len(view.nodes)} workers of the cluster fits", f"{node.host}: {why}"
        )

    @property
    def devices_aside(self) -> tuple[DeviceAside, ...]:
        """GPUs of the nodes that have failed, and get no jobs for a while."""
        return tuple(
            DeviceAside(f"{gpu.name} of the worker {node.name}", gpu.reason)
            for node in self.view.nodes
            for gpu in node.gpus_aside
        )

    # ---- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self._started.set()
            jobs = [job for job, _ in self._tries.values()]
            for job in [*jobs, *self._waiting, *self._incoming]:
                if not job.future.cancel() and not job.future.done():
                    job.future.set_exception(WorkerDiedError("outside", "the service is stopping"))

    async def _main(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._started.set()
        while not self._ending:
            try:
                await self._stay_connected()
            except (OSError, LivepickError) as error:
                self._disconnected(why_lost(error), getattr(error, "remedy", ""))
                await self._pause(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - or nobody would ever connect again
                _log.exception("cluster: unexpected error")
                self._disconnected(f"unexpected error: {error!r}")
                await self._pause(UNEXPECTED_SECONDS)

    async def _stay_connected(self) -> None:
        """Connect to the scheduler, and return when it is lost, or the service stops."""
        try:
            await self._connection.open()
            await self._serve()
        finally:
            with contextlib.suppress(TimeoutError, OSError):
                await self._connection.close()

    async def _serve(self) -> None:
        """Run jobs until the scheduler is lost, or the service stops."""
        _log.info("cluster: connected to %s", self._connection.address)
        why = "it does not answer"
        while not self._ending:
            try:
                if await self._connection.has_moved():
                    why = "there is another one"
                    break
                workers = await self._connection.workers()
            except LivepickError:
                pass  # its file is gone or being written, and it is still there
            except (OSError, TimeoutError, asyncio.CancelledError):
                break
            else:
                self._take(workers)
            if not self._connection.is_open:
                break
            await self._pause(LOOK_SECONDS)
        if not self._ending:
            self._disconnected(why)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        if not self._ending:
            self._wake.clear()
        self._give_back()

    @property
    def _is_connected(self) -> bool:
        return self.view.is_connected and self._connection.is_open

    def _take(self, workers: list[WorkerInfo]) -> None:
        """Take what the scheduler says about its workers."""
        now = time.monotonic()
        for node in self._nodes.update(workers, now):
            how = "no heartbeat" if node.is_silent else "it left"
            _log.warning("cluster: %s: %s; its jobs start again", _title(node), how)
            self._drop_tries(node)
        for node in self._nodes.all():
            if node.info.is_leaving:  # it begins none of those that wait there
                self._drop_tries(node, keep=node.info.slots)
        for node in self._nodes.due(now):
            asking = self._loop.create_task(self._ask(node))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        self._publish()
        self._start_jobs()

    def _disconnected(self, why: str, remedy: str = "") -> None:
        if self.view.is_connected:
            _log.warning("cluster: the scheduler %s is lost: %s", self.view.scheduler, why)
        for asking in self._asking:
            asking.cancel()
        for node in self._nodes.clear():
            self._drop_tries(node)
        self.view = ClusterView(
            self.view.scheduler, fault=why, remedy=remedy, retries=dict(self._retries)
        )
        self._answered.set()

    def _publish(self) -> None:
        nodes = tuple(_view(node) for node in self._nodes.all())
        providers = {node.provider for node in self._nodes.accepted() if node.provider}
        provider = "" if not providers else min(providers, key=lambda each: each == CUDA)
        self.view = ClusterView(
            self.view.scheduler,
            is_connected=True,
            provider=provider,
            nodes=nodes,
            retries=dict(self._retries),
        )
        self._answered.set()

    # ---- nodes ---------------------------------------------------------------------------------

    async def _ask(self, node: Node) -> None:
        """Ask a node whether it fits, and accept or refuse it."""
        before = node.state
        answer = await ask_node(self._connection, node.info, self._request)
        now = time.monotonic()
        if isinstance(answer, str):
            self._nodes.refuse(node, answer, now)
        else:
            self._nodes.answered(node, *answer, now)
        if node.state == "accepted":
            _log.info("cluster: %s: accepted, %d at a time", _title(node), node.info.slots)
        elif before == "asked":
            _log.warning("cluster: %s: refused: %s", _title(node), node.reason)
        self._publish()
        self._start_jobs()

    # ---- jobs ----------------------------------------------------------------------------------

    def _start_jobs(self) -> None:
        """Give waiting jobs to nodes that have room."""
        while self._incoming:
            self._waiting.append(self._incoming.popleft())
        while self._waiting and self._is_connected:
            node = self._nodes.choose(self._waiting[0].tries)
            if node is None:
                return
            job = self._waiting.popleft()
            if not (job.future.running() or job.future.set_running_or_notify_cancel()):
                continue
            node.jobs += 1
            task = self._loop.create_task(self._try(job, node))
            self._tries[task] = (job, node)

    async def _try(self, job: _Job, node: Node) -> None:
        """Run a job on a node, and deliver what comes back, or try it elsewhere."""
        try:
            data = await self._on_node(job, node)
        except asyncio.CancelledError:
            if self._ending:
                return
            self._lost(job, node, hangs=False)
        except LostError as lost:
            self._lost(job, node, hangs=lost.hangs)
        except Exception as error:  # noqa: BLE001 - the node could not run the job
            text = error.what if isinstance(error, LivepickError) else repr(error)
            is_final = isinstance(error, EngineError | ImportError)
            await self._failed(job, node, Failure("node", "node", text, is_final), error)
        else:
            await self._came_back(job, node, data)
        finally:
            node.jobs -= 1
            self._tries.pop(asyncio.current_task(), None)  # type: ignore[arg-type]
            if not self._ending:
                self._start_jobs()

    async def _on_node(self, job: _Job, node: Node) -> bytes:
        """Run a job on a node, and return its pickled outcome."""
        began_at = time.monotonic()
        asked = self._connection.start(
            node.address,
            run_on_node,
            job.work,
            job.args,
            job.limits,
            path=job.path,
            resources={PICK: 1},
            # Among equals the oldest is first, also of two sessions within a tenth of a second.
            priority=-node.jobs,
            fifo_timeout=0,
        )
        result = asyncio.ensure_future(result_of(asked))
        try:
            while not result.done():
                since = max(node.progress_at, began_at)
                give_up = since + job.limits.seconds + GRACE_SECONDS
                left_seconds = give_up - time.monotonic()
                if left_seconds <= 0:
                    raise LostError(hangs=True)
                await asyncio.wait({result}, timeout=left_seconds)
            data: bytes = result.result()
        finally:
            result.cancel()
            asked.release()
        node.progress_at = time.monotonic()
        return data

    async def _came_back(self, job: _Job, node: Node, data: bytes) -> None:
        try:
            outcome: Outcome = pickle.loads(data)  # noqa: S301 - of our own node
        except Exception as error:  # noqa: BLE001 - whatever the node has sent
            await self._failed(job, node, Failure("node", "node", repr(error)), error)
            return
        if not outcome.is_error:
            self._nodes.succeeded(job.name, node, job.tries, time.monotonic())
            job.future.set_result(outcome.value)
            return
        raised = outcome.value
        if isinstance(raised, WorkerDiedError | TimeLimitError | MemoryLimitError):
            self._deaths += 1
        failure = await _failure_of(raised, job)
        if not isinstance(raised, LivepickError) and outcome.traceback:
            raised.add_note(f"On {_title(node)}:\n{outcome.traceback}")
        await self._failed(job, node, failure, raised)

    async def _failed(self, job: _Job, node: Node, failure: Failure, error: BaseException) -> None:
        """Try a job on another node if its failure may be that of the node, or deliver it."""
        was = node.state
        again = self._nodes.failed(job.name, node, job.tries, failure, time.monotonic())
        if was == "accepted" and node.state == "set_aside":
            _log.error("cluster: %s: set aside: %s", _title(node), node.reason)
            self._publish()
        if again:
            _log.warning("%s: tried on another node than %s: %s", job.name, _title(node), error)
            self._again(job, node, failure.kind, failure.text)
        elif failure.whose == "node":
            job.future.set_exception(
                EngineError(
                    f"no node can run the job: {failure.text}", "See the nodes of the cluster."
                )
            )
        else:
            job.future.set_exception(error)

    def _lost(self, job: _Job, node: Node, *, hangs: bool) -> None:
        """Start a job again that was lost with its node, or with the scheduler."""
        if not self._is_connected or node.info.is_leaving:  # nothing is at fault
            job.waiting_since = time.monotonic()
            self._waiting.appendleft(job)
            if not self._is_connected:
                self._wake.set()
            return
        if hangs:
            self._nodes.hangs(job.name, node, time.monotonic())
        if sum(each.kind == "lost" for each in job.tries) + 1 >= MOST_LOST:
            how = f"{MOST_LOST} nodes of the cluster were lost while they had it"
            job.future.set_exception(WorkerDiedError("outside", how))
        else:
            self._again(job, node, "lost")

    def _again(self, job: _Job, node: Node, kind: str, text: str = "") -> None:
        job.tries.append(Try(node.address, node.info.host, kind, text))
        self._retries[kind] += 1
        job.waiting_since = time.monotonic()
        self._waiting.appendleft(job)

    def _drop_tries(self, node: Node, *, keep: int = 0) -> None:
        """Give up the tries on a node that is lost; the oldest ones may be kept."""
        tries = [task for task, (_, of) in self._tries.items() if of is node]
        for task in tries[keep:]:
            task.cancel()

    def _give_back(self) -> None:
        """Give waiting jobs back if no node has fitted for a while."""
        now = time.monotonic()
        if self._nodes.slots:
            self._unfit_since = now
        fault = self.fault
        if fault is None or now - self._unfit_since < WAIT_SECONDS:
            return
        while self._incoming:
            self._waiting.append(self._incoming.popleft())
        for job in [job for job in self._waiting if now - job.waiting_since >= WAIT_SECONDS]:
            self._waiting.remove(job)
            if job.future.running() or job.future.set_running_or_notify_cancel():
                job.future.set_exception(fault)


async def _failure_of(error: BaseException, job: _Job) -> Failure:
    """Return whose fault an error may be; a file that a node does not see, the service looks at."""
    status = None
    if job.path is not None and isinstance(error, VanishedFileError | ChangedFileError):
        with contextlib.suppress(OSError, TimeoutError):
            status = await asyncio.wait_for(asyncio.to_thread(job.path.stat), SEE_SECONDS)
    version = getattr(job.args[0], "version", None) if job.args else None
    is_unchanged = status is not None and version is not None and version.describes(status)
    return failure_of(error, file_is_there=status is not None, is_unchanged=is_unchanged)


def _view(node: Node) -> NodeView:
    info = node.info
    state: Literal["silent", "leaving"] | NodeState
    state, reason = node.state, node.reason
    if node.is_silent:
        state, reason = "silent", "it sends no heartbeat. See whether it runs, and its network."
    if info.is_leaving:
        state = "leaving"
    what, _, remedy = reason.partition(". ")
    return NodeView(
        address=info.address,
        name=info.name,
        host=info.host,
        state=state,
        slots=info.slots,
        jobs=node.jobs,
        reason=what.rstrip("."),
        remedy=remedy,
        heavy=node.heavy,
        version=info.report.version,
        memory_bytes=info.report.memory_bytes,
        gpus_aside=info.report.gpus_aside,
    )


def _title(node: Node) -> str:
    """Return the name of a node for people."""
    name = node.info.name
    return node.info.host if name == node.address else f"{name} ({node.info.host})"

"""A node of a cluster: the functions that the service calls on it.

A node is one Dask worker that holds a local ``WorkerPool``, so a job on a cluster has the time
limit, the memory limit and the errors of a job on this machine. ``livepick worker`` opens the node
before it joins the scheduler. Each task is a call of ``run_on_node``, ``version`` or ``hello`` in a
thread of the Dask worker, which waits for the pool.

The error of a job comes back as a value. So if a task of Dask fails, the node is at fault: it could
not run the job at all.

``version`` takes no arguments and returns a text, in every version of livepick: it is asked first,
since values of another version may not even be readable.
"""

import contextlib
import dataclasses
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import livepick
from livepick.config.engine_section import CudaSettings
from livepick.config.sections import Device
from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.job import CPU, Job
from livepick.core.contracts.node import (
    FileSample,
    HelloRequest,
    NodeCard,
    NodeReport,
    TaskLimits,
)
from livepick.errors import EngineError, LivepickError, MemoryLimitError, ProviderError
from livepick.host.memory import recent_total_bytes
from livepick.models.general_model import SHIPPED
from livepick.picking.cluster.folder_samples import sample_files
from livepick.picking.engine import THREAD_SETTINGS
from livepick.picking.gpu_pins import pins
from livepick.picking.job_limits import JobLimits, Limits
from livepick.picking.tasks import canary, probe
from livepick.picking.worker_pool import WorkerPool
from livepick.picking.worker_process import Outcome

__all__ = [
    "abandon_jobs",
    "close_node",
    "has_entries",
    "hello",
    "node_fault",
    "node_report",
    "open_node",
    "read_ahead_on_node",
    "run_on_node",
    "version",
]

HELLO_SECONDS = 240.0
"""Time limit of the answer to ``hello``; loading CUDA from a slow disk can take minutes."""

BUNDLE_SECONDS = 60.0
"""Time in which a new model must appear: a network file system remembers that it was not there."""

BUNDLE_LOOK_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class _Node:
    """The pool of this process, and what it offers."""

    pool: WorkerPool
    requires_gpu: bool
    heavy: bool
    lock: threading.Lock = field(default_factory=threading.Lock)
    fault: EngineError | None = None
    """Set when processes do not start."""
    jobs: set[Future[Any]] = field(default_factory=set)
    """Jobs that run or wait."""
    connections: int = 0
    """Number of schedulers that have been lost."""
    seen: dict[Path, str] = field(default_factory=dict)
    """Checksums of the graphs of the models that have been seen."""


_nodes: list[_Node] = []
"""The only node of this process; in a list, so that it can be replaced in place."""


def open_node(
    workers: int,
    limits: JobLimits | None = None,
    *,
    devices: tuple[int, ...] | None = None,
    cuda: CudaSettings | None = None,
    requires_gpu: bool = False,
    heavy: bool = False,
) -> None:
    """Make this process a node; to be called before it joins the scheduler.

    Parameters
    ----------
    workers
        Number of processes that pick.
    limits
        Limits of jobs; None: the defaults for this machine.
    devices
        GPUs to use, to which the processes are bound in turn; None: not chosen.
    cuda
        Use of the GPUs. None: the defaults.
    requires_gpu
        True if the node offers GPUs: should one be lost, its jobs fail instead of being picked on
        the CPU, for a session with ``picking.device: prefer-gpu`` too.
    heavy
        True if the node offers to train.

    Raises
    ------
    ProviderError
        The batch job has given this machine fewer GPUs than ``devices`` counts.
    """
    close_node()
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    limits = limits or JobLimits(workers)
    pool = WorkerPool(workers, limits, devices=pins(devices or ()), cuda=cuda)
    _nodes.append(_Node(pool, requires_gpu, heavy))


def close_node() -> None:
    """Kill the processes of the node immediately, whatever they are doing."""
    for node in _nodes:
        node.pool.shutdown()
    _nodes.clear()


def node_fault() -> EngineError | None:
    """Return why the node can run nothing, such as processes that do not start; None if it can."""
    return _nodes[0].fault if _nodes else None


def abandon_jobs() -> int:
    """Cancel the jobs that have not begun, and return their number; for any thread.

    Called when the scheduler is lost: nobody would get their results, and the service gives the
    same jobs to a node again. Those that run are finished, and their results are dropped.
    """
    if not _nodes:
        return 0
    node = _nodes[0]
    with node.lock:
        node.connections += 1
        return sum(job.cancel() for job in node.jobs)


def node_report() -> NodeReport:
    """Return the report of the node; for any thread."""
    aside = _nodes[0].pool.devices_aside if _nodes else ()
    return NodeReport(version(), recent_total_bytes(), aside)


def _node() -> _Node:
    if not _nodes:
        raise EngineError(
            "this Dask worker is not a node of livepick",
            "Start the workers with livepick worker, not with dask worker.",
        )
    return _nodes[0]


def version() -> str:
    """Return the version of livepick on the node."""
    return livepick.__version__


def read_ahead_on_node(path: Path) -> None:
    """Read a file while other jobs run, as a job with it waits for a process of the node."""
    if _nodes:
        _nodes[0].pool.read_ahead(path)


def run_on_node(work: Callable[..., Any], args: tuple[Any, ...], limits: TaskLimits) -> bytes:
    """Run a job in a process of the node, and return its pickled ``Outcome``.

    Parameters
    ----------
    work, args
        Function of ``livepick.picking.tasks`` or another importable one, and its arguments.
    limits
        Limits of the job.

    Raises
    ------
    EngineError
        The node cannot run the job: it is not one, its processes do not start, or it does not see
        the model.
    """
    node = _node()
    job = args[0] if args else None
    if isinstance(job, Job):
        args = (dataclasses.replace(job, device=_device(node, job.device)), *args[1:])
    bundle = job if work in (probe, canary) else getattr(job, "bundle", None)
    connection = node.connections
    _await_bundle(node, bundle, getattr(job, "graph_sha256", None))
    with node.lock:
        if node.connections != connection:
            raise EngineError(
                "the scheduler of this job is lost", "The job starts again by itself."
            )
        own_bytes = node.pool.limits.limits(alone=limits.alone and not node.jobs).memory_bytes
        memory_bytes = min(own_bytes, limits.memory_bytes or own_bytes)
        future = node.pool.submit_within(Limits(limits.seconds, memory_bytes), work, *args)
        node.jobs.add(future)
    try:
        outcome = Outcome(future.result())
    except EngineError as error:
        node.fault = error
        raise
    except MemoryLimitError as error:
        raised = error if memory_bytes < own_bytes else _at_own_limit(error)
        outcome = Outcome(raised, is_error=True)
    except BaseException as error:  # noqa: BLE001 - of the job: the service decides
        text, error.__traceback__ = str(error.__cause__ or ""), None
        outcome = Outcome(error, is_error=True, traceback=text)
    finally:
        with node.lock:
            node.jobs.discard(future)
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


def _at_own_limit(error: MemoryLimitError) -> MemoryLimitError:
    """Return the error of a job that has reached the limit of this node, not of its session."""
    return MemoryLimitError(
        f"{error.what} (that of livepick worker on {socket.gethostname()})",
        "If that machine has the memory, raise --memory-limit-gib of livepick worker there or lower"
        " its --workers.",
    )


def _device(node: _Node, device: Device) -> Device:
    """Return the device to pick on, for a session that prefers one."""
    return "require-gpu" if node.requires_gpu and device == "prefer-gpu" else device


def _await_bundle(node: _Node, bundle: Path | None, graph_sha256: str | None) -> None:
    """Wait for a model that this node has not seen; without a checksum, for any at its place."""
    if bundle is None or (bundle in node.seen and graph_sha256 in (None, node.seen[bundle])):
        return
    give_up = time.monotonic() + BUNDLE_SECONDS
    while True:
        with contextlib.suppress(LivepickError):
            node.seen[bundle] = read_card(bundle).graph_sha256
        if bundle in node.seen and graph_sha256 in (None, node.seen[bundle]):
            return
        if time.monotonic() > give_up and graph_sha256 is None:
            return  # the job says what is wrong with the model
        if time.monotonic() > give_up:
            found = "is not there" if bundle not in node.seen else "is another one"
            raise EngineError(
                f"{socket.gethostname()}: the model {bundle} {found}",
                "Mount the state folder of the service on this node, at the same path.",
            )
        time.sleep(BUNDLE_LOOK_SECONDS)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Part of the session that a process of the node sees."""

    token: str | None
    missing_roots: tuple[Path, ...]
    empty_roots: tuple[Path, ...]
    samples: tuple[FileSample, ...]
    graph_sha256: str | None


def hello(request: HelloRequest) -> NodeCard:
    """Return what the node is, what it sees of the session, and on what it runs the model.

    A process of the pool looks, so that a file system that hangs stops neither the node nor the
    thread.

    Raises
    ------
    EngineError
        This Dask worker is not a node, or its processes do not start.
    """
    node = _node()
    seen, provider, fault = _Seen(None, (), (), (), None), None, ""
    limits = node.pool.limits.limits()
    within = Limits(HELLO_SECONDS, limits.memory_bytes)
    try:
        seen = node.pool.submit_within(within, _look, request).result()
        if seen.graph_sha256 is not None:
            bundle = request.bundle or SHIPPED
            device = _device(node, request.device)
            asked = node.pool.submit_within(within, probe, bundle, device)
            provider = asked.result()
    except EngineError as error:
        node.fault = error
        raise
    except ProviderError as error:
        if node.requires_gpu:
            fault = error.what
        else:  # it offers the CPU, and the session requires a GPU
            provider = CPU
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the node
        fault = error.what if isinstance(error, LivepickError) else f"{error}"
    return NodeCard(
        heavy=node.heavy,
        token=seen.token,
        missing_roots=seen.missing_roots,
        empty_roots=seen.empty_roots,
        samples=seen.samples,
        graph_sha256=seen.graph_sha256,
        provider=provider,
        fault=fault,
    )


def _look(request: HelloRequest) -> _Seen:
    """Look at the folders of the session, in a process of the node."""
    token = graph_sha256 = None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        token = request.token_file.read_text(encoding="ascii")[:200].strip()
    with contextlib.suppress(LivepickError):
        graph_sha256 = read_card(request.bundle or SHIPPED).graph_sha256
    entries = {root: has_entries(root) for root in request.roots}
    missing = tuple(root for root, has_any in entries.items() if has_any is None)
    empty = tuple(root for root, has_any in entries.items() if has_any is False)
    samples = tuple(each for root in request.roots for each in sample_files(root))
    return _Seen(token, missing, empty, samples, graph_sha256)


def has_entries(folder: Path) -> bool | None:
    """Return True if there is anything in a folder; None if it is not there or cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return None

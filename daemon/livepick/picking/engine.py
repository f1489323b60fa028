"""Execution of jobs on local processes, threads or a Dask cluster, each as an Executor.

There is no class hierarchy of our own, because the standard library already has the interface. An
``Engine`` adds the number of jobs to submit at once, limits of jobs, and a prompt stop.

Local workers are spawned, because CUDA does not survive a fork. They use one thread each, because
thread pools that spin slow down the other workers.

Only local workers have a time limit and a memory limit. On a Dask cluster, the memory limit is that
of ``dask worker --memory-limit``, whose nanny restarts the worker; Dask cannot stop a task that
runs, so a task that hangs occupies its thread until an administrator restarts that worker.
"""

import dataclasses
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from livepick.config.engine_section import CudaSettings
from livepick.errors import EngineError
from livepick.picking.gpu_pins import GpuPin
from livepick.picking.job_limits import JobLimits, Limits
from livepick.picking.worker_pool import WorkerPool
from livepick.picking.worker_seats import DeviceAside

__all__ = ["THREAD_SETTINGS", "Engine", "dask", "local", "threads"]

THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Environment variables that size the thread pools of numerical libraries."""

P = ParamSpec("P")
R = TypeVar("R")


class Engine:
    """Workers, and the number of jobs to submit to them at once.

    ``submit`` may be called from any thread.

    Parameters
    ----------
    executor
        The workers.
    capacity
        Number of jobs that keeps every worker busy: one running and one waiting for each.
    limits
        Limits of jobs on a ``WorkerPool``.
    crashes
        Exceptions that mean that a worker died while running the job.
    leave
        Called last, after the workers have been stopped.
    """

    def __init__(
        self,
        executor: Executor,
        capacity: int,
        *,
        limits: JobLimits,
        crashes: tuple[type[BaseException], ...] = (BrokenExecutor,),
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.capacity = capacity
        self.limits = limits
        self.crashes = crashes
        self._executor = executor
        self._leave = leave
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def deaths(self) -> int:
        """Number of local workers that have died or have been killed."""
        return self._executor.deaths if isinstance(self._executor, WorkerPool) else 0

    @property
    def left_behind(self) -> int:
        """Number of killed local workers that do not end, as they wait for a disk."""
        return self._executor.left_behind if isinstance(self._executor, WorkerPool) else 0

    @property
    def devices_aside(self) -> tuple[DeviceAside, ...]:
        """GPUs of this machine that have failed, and get no jobs for a while."""
        return self._executor.devices_aside if isinstance(self._executor, WorkerPool) else ()

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Give a job to a worker, with the limits of a job of unknown size.

        Raises
        ------
        EngineError
            The engine has been stopped.
        """
        with self._lock:
            self._refuse_if_stopped()
            return self._executor.submit(work, *args, **kwargs)

    def submit_sized(
        self, work: Callable[..., R], *args: object, size_bytes: int, alone: bool = False
    ) -> Future[R]:
        """Give a job to a worker, with the limits for a file of a size.

        Parameters
        ----------
        work, args
            Function and its arguments.
        size_bytes
            Size of the file.
        alone
            True if no other job runs.

        Raises
        ------
        EngineError
            The engine has been stopped.
        """
        return self._within(self.limits.limits(size_bytes, alone=alone), work, *args)

    def submit_timed(self, seconds: float, work: Callable[..., R], *args: object) -> Future[R]:
        """Give a job to a worker, with a time limit of its own.

        Raises
        ------
        EngineError
            The engine has been stopped.
        """
        limits = dataclasses.replace(self.limits.limits(), seconds=seconds)
        return self._within(limits, work, *args)

    def submit_to(
        self, device: GpuPin, seconds: float, work: Callable[..., R], *args: object
    ) -> Future[R]:
        """Give a job to a local worker on a GPU, with a time limit of its own.

        Raises
        ------
        EngineError
            The engine has been stopped.
        """
        limits = dataclasses.replace(self.limits.limits(), seconds=seconds)
        with self._lock:
            self._refuse_if_stopped()
            if isinstance(self._executor, WorkerPool):
                return self._executor.submit_to(device, limits, work, *args)
            return self._executor.submit(work, *args)

    def set_aside(self, device: GpuPin, reason: str) -> None:
        """Give a GPU no jobs for a while, as it has failed at the start."""
        if isinstance(self._executor, WorkerPool):
            self._executor.set_aside(device, reason)

    def _within(self, limits: Limits, work: Callable[..., R], *args: object) -> Future[R]:
        with self._lock:
            self._refuse_if_stopped()
            if isinstance(self._executor, WorkerPool):
                return self._executor.submit_within(limits, work, *args)
            return self._executor.submit(work, *args)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise EngineError(
                "the workers have been stopped", "The service is stopping; start it again."
            )

    def stop(self) -> None:
        """Kill local workers immediately, whatever they are doing, and cancel the waiting jobs."""
        with self._lock:
            self._stopped = True
            if isinstance(self._executor, (WorkerPool, ThreadPoolExecutor)):
                self._executor.shutdown(
                    wait=isinstance(self._executor, WorkerPool), cancel_futures=True
                )
            else:
                self._executor.shutdown(wait=False)  # of Dask: cancels without cancel_futures
        self._leave()


def local(
    workers: int,
    limits: JobLimits | None = None,
    *,
    devices: Sequence[GpuPin] = (),
    cuda: CudaSettings | None = None,
) -> Engine:
    """Return an engine of processes on this machine.

    Sets the variables that size thread pools in the environment of this process, and so of every
    process that it starts: they must be set before a worker imports numpy.

    Parameters
    ----------
    workers
        Number of processes.
    limits
        Limits of a job; None: the defaults.
    devices
        GPUs to bind the processes to, in turn; none: they are not bound.
    cuda
        Use of the GPUs. None: the defaults.
    """
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    limits = limits or JobLimits(workers)
    return Engine(
        WorkerPool(workers, limits, devices=devices, cuda=cuda), 2 * workers, limits=limits
    )


def threads(workers: int) -> Engine:
    """Return an engine of threads in this process, for tests."""
    pool = ThreadPoolExecutor(workers, "worker")
    return Engine(pool, 2 * workers, limits=JobLimits(workers))


def dask(scheduler: str) -> Engine:
    """Return an engine of the workers of a running Dask cluster, such as ``tcp://host:8786``."""
    # The package is installed only at sites with a cluster, and has no type annotations.
    distributed: Any = importlib.import_module("distributed")
    client = distributed.Client(scheduler)
    total = max(sum(client.nthreads().values()), 1)
    # Not pure: picking the same micrograph again must run it again; the ledger counts retries.
    return Engine(
        client.get_executor(pure=False, retries=0),
        2 * total,
        limits=JobLimits(total),
        crashes=(BrokenExecutor, distributed.KilledWorker),
        leave=client.close,
    )

"""Execution of jobs on local processes, threads or a Dask cluster, each as an Executor.

The standard library already has the interface, ``LimitedExecutor`` adds the limits of jobs, and an
``Engine`` a prompt stop.

Local workers are spawned, because CUDA does not survive a fork. They use one thread each, because
thread pools that spin slow down the other workers.
"""

import dataclasses
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from livepick.config.engine_section import CudaSettings
from livepick.core.contracts.device_aside import DeviceAside
from livepick.errors import EngineError
from livepick.picking.gpu_pins import GpuPin
from livepick.picking.job_limits import JobLimits, Limits
from livepick.picking.limited_executor import LimitedExecutor
from livepick.picking.worker_pool import WorkerPool

__all__ = ["THREAD_SETTINGS", "Engine", "local", "threads"]

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
    """

    def __init__(self, executor: LimitedExecutor) -> None:
        self._executor = executor
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def capacity(self) -> int:
        """Number of jobs that keeps every worker busy: one running and one waiting for each."""
        return self._executor.capacity

    @property
    def limits(self) -> JobLimits:
        """Limits of jobs."""
        return self._executor.limits

    @property
    def deaths(self) -> int:
        """Number of workers that have died or have been killed."""
        return self._executor.deaths

    @property
    def left_behind(self) -> int:
        """Number of killed local workers that do not end, as they wait for a disk."""
        return self._executor.left_behind

    @property
    def fault(self) -> EngineError | None:
        """Reason why no job can run now; None if jobs run, or if it shows only with a job."""
        return self._executor.fault

    @property
    def devices_aside(self) -> tuple[DeviceAside, ...]:
        """GPUs of this machine that have failed, and get no jobs for a while."""
        return self._executor.devices_aside

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
            return self._executor.submit_within(limits, work, *args)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise EngineError(
                "the workers have been stopped", "The service is stopping; start it again."
            )

    def stop(self) -> None:
        """Stop immediately: kill local workers, and cancel the jobs on a cluster."""
        with self._lock:
            self._stopped = True
            self._executor.shutdown(cancel_futures=True)


def local(
    workers: int,
    limits: JobLimits | None = None,
    *,
    devices: Sequence[GpuPin] = (),
    cuda: CudaSettings | None = None,
    idle_seconds: float | None = None,
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
    idle_seconds
        Time after which a process without a job ends; None: it stays.
    """
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    limits = limits or JobLimits(workers)
    pool = WorkerPool(workers, limits, devices=devices, cuda=cuda, idle_seconds=idle_seconds)
    return Engine(pool)


def threads(workers: int) -> Engine:
    """Return an engine of threads in this process, for tests."""
    return Engine(_Threads(workers))


class _Threads(ThreadPoolExecutor, LimitedExecutor):
    """Threads, which cannot enforce limits and are not waited for at the end."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, "worker")
        self._limits = JobLimits(workers)

    def submit_within(
        self,
        limits: Limits,  # noqa: ARG002 - see above
        fn: Callable[..., Any],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Future[Any]:
        return self.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - as in Executor
        super().shutdown(wait=False, cancel_futures=cancel_futures)

    @property
    def capacity(self) -> int:
        return 2 * self._limits.workers

    @property
    def limits(self) -> JobLimits:
        return self._limits

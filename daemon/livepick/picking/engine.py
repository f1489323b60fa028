"""Execution of jobs on local processes, threads or a Dask cluster, each as an Executor.

There is no class hierarchy of our own, because the standard library already has the interface. An
``Engine`` adds the number of jobs to submit at once, a restart after a worker died, and a prompt
stop.

Local workers are spawned, because CUDA does not survive a fork. They use one thread each, because
thread pools that spin slow down the other workers. They exit when the service is gone, which they
detect through the pipe that ``multiprocessing`` holds open to each child: the kernel's parent-death
signal follows the *thread* that started the worker, and would kill it when, for example, a retrain
thread ends.
"""

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from multiprocessing.connection import wait
from typing import Any, ParamSpec, TypeVar

from livepick.errors import EngineError

__all__ = ["Engine", "dask", "local", "threads"]

START_SECONDS = 60.0
"""Time within which a new worker must answer, on a busy machine with slow disks."""

START_TRIES = 3
"""A new worker may be killed by accident too; this many in a row are not an accident."""

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
    make
        Function that returns a new executor.
    capacity
        Number of jobs that keeps every worker busy: one running and one waiting for each.
    crashes
        Exceptions that mean that a worker died while running the job.
    shut
        Function that closes an executor to new jobs and cancels the waiting ones.
    leave
        Called last, after the workers have been stopped.
    """

    def __init__(
        self,
        make: Callable[[], Executor],
        capacity: int,
        *,
        crashes: tuple[type[BaseException], ...] = (BrokenExecutor,),
        shut: Callable[[Executor], None] = lambda executor: executor.shutdown(
            wait=False, cancel_futures=True
        ),
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.capacity = capacity
        self.crashes = crashes
        self.generation = 0
        """Incremented by each restart: futures of an older generation belong to a pool that is
        gone."""
        self._make = make
        self._shut = shut
        self._leave = leave
        self._executor = make()
        self._stopped = False
        self._lock = threading.Lock()

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Give a job to a worker.

        Raises
        ------
        EngineError
            Workers cannot be started, or the engine has been stopped.
        """
        with self._lock:
            if self._stopped:  # otherwise a retry would start new workers
                raise EngineError(
                    "the workers have been stopped", "The service is stopping; start it again."
                )
            for _ in range(START_TRIES):
                try:
                    return self._executor.submit(work, *args, **kwargs)
                except BrokenExecutor:
                    # A worker died while idle, so none of the jobs is to blame.
                    self._restart()
            return self._executor.submit(work, *args, **kwargs)

    def renew(self, generation: int) -> bool:
        """Replace the pool of ``generation``, unless it has been replaced already.

        Returns
        -------
        bool
            True if this call replaced it.

        Raises
        ------
        EngineError
            New workers die immediately, so no micrograph is to blame.
        """
        with self._lock:
            if generation != self.generation:
                return False
            self._restart()
            return True

    def _restart(self) -> None:
        for tries_left in reversed(range(START_TRIES)):
            self._shut(self._executor)
            self.generation += 1
            self._executor = self._make()
            try:
                self._executor.submit(os.getpid).result(timeout=START_SECONDS)
            except (BrokenExecutor, TimeoutError) as error:
                if tries_left and isinstance(error, BrokenExecutor):
                    continue
                raise EngineError(
                    "worker processes exit as soon as they are started",
                    "Check the log lines above and the system log (out of memory?), and run"
                    " livepick check.",
                ) from error
            return

    def stop(self) -> None:
        """Kill the workers immediately, whatever they are doing."""
        with self._lock:
            self._stopped = True
            processes = _processes(self._executor)
            self._shut(self._executor)
            # Otherwise the interpreter would wait for them at exit.
            for process in processes:
                process.kill()
        self._leave()


def _processes(executor: Executor) -> list[multiprocessing.process.BaseProcess]:
    # Python 3.14 has ProcessPoolExecutor.kill_workers; older versions have no public way.
    return list((getattr(executor, "_processes", None) or {}).values())


def local(workers: int, *, memory_limit_bytes: int | None = None) -> Engine:
    """Return an engine of processes on this machine.

    Sets the variables that size thread pools in the environment of this process, and so of every
    process that it starts: they must be set before a worker imports numpy.

    Parameters
    ----------
    workers
        Number of processes.
    memory_limit_bytes
        Address space limit of each process; None: no limit. Not usable with a GPU: CUDA reserves
        far more than it uses.
    """
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    context = multiprocessing.get_context("spawn")

    def make() -> Executor:
        return ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_prepare_worker,
            initargs=(memory_limit_bytes,),
        )

    return Engine(make, 2 * workers)


def threads(workers: int) -> Engine:
    """Return an engine of threads in this process, for tests."""
    return Engine(lambda: ThreadPoolExecutor(workers, "worker"), 2 * workers)


def dask(scheduler: str) -> Engine:
    """Return an engine of the workers of a running Dask cluster, such as ``tcp://host:8786``."""
    # The package is installed only at sites with a cluster, and has no type annotations.
    distributed: Any = importlib.import_module("distributed")
    client = distributed.Client(scheduler)
    total = sum(client.nthreads().values())
    # Not pure: picking the same micrograph again must run it again; the ledger counts retries.
    return Engine(
        lambda: client.get_executor(pure=False, retries=0),
        2 * max(total, 1),
        crashes=(BrokenExecutor, distributed.KilledWorker),
        shut=lambda executor: executor.shutdown(wait=False),  # cancels without cancel_futures
        leave=client.close,
    )


def _prepare_worker(memory_limit_bytes: int | None) -> None:
    """Set up a new worker process; runs in it before its first job."""
    # Ctrl-C in a terminal reaches the whole process group; the service decides about the jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory_limit_bytes is not None:
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    threading.Thread(target=_exit_with_parent, name="parent-watch", daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

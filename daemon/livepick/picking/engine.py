"""What spreads the work: local processes, threads or a Dask cluster, all of them as Executors.

There is no class hierarchy of our own, the standard library has the interface already; an
``Engine`` adds how many jobs are worth giving at once, how to start afresh after a worker died, and
how to stop in time.

Local workers are spawned (CUDA does not survive a fork), use one thread each, because pools that
spin cost dearly beside a neighbour, and leave when the service is gone. They notice that by the
pipe which ``multiprocessing`` holds open to each child: the kernel's parent-death signal goes by
the *thread* that started the worker, and would kill it at the end of, say, a retrain thread.
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
"""Within which a fresh worker must answer, on a busy machine with slow disks."""

START_TRIES = 3
"""A fresh worker may be killed as well; so many in a row are no accident."""

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
    """Workers, and how many jobs it is worth giving them at once.

    ``submit`` may be called from any thread.

    Parameters
    ----------
    make
        Returns a fresh executor.
    capacity
        Jobs that keep every worker busy: one running and one waiting for each.
    crashes
        Exceptions that say a worker died with the job.
    shut
        Takes no more jobs in an executor and cancels those that wait.
    leave
        Called when all is over.
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
        """Raised by ``renew``: futures of an older generation are of a pool that is gone."""
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
            Workers cannot be started, or no more work is taken.
        """
        with self._lock:
            if self._stopped:  # else whoever tries again would start them anew
                raise EngineError(
                    "the workers have been ended", "The service stops; start it again."
                )
            for _ in range(START_TRIES):
                try:
                    return self._executor.submit(work, *args, **kwargs)
                except BrokenExecutor:
                    # A worker died while it had nothing to do: nobody's fault among the jobs.
                    self._start_afresh()
            return self._executor.submit(work, *args, **kwargs)

    def renew(self, generation: int) -> bool:
        """Replace the pool of ``generation``, unless that was done already.

        Returns
        -------
        bool
            Whether this call did it.

        Raises
        ------
        EngineError
            New workers die at once, so that no micrograph is to blame.
        """
        with self._lock:
            if generation != self.generation:
                return False
            self._start_afresh()
            return True

    def _start_afresh(self) -> None:
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
                    "worker processes end as soon as they are started",
                    "Look at the lines above and at the system's log (out of memory?), and run"
                    " livepick check.",
                ) from error
            return

    def stop(self) -> None:
        """End the workers now, whatever they are doing."""
        with self._lock:
            self._stopped = True
            processes = _processes(self._executor)
            self._shut(self._executor)
            # Else the interpreter would wait for them when it ends.
            for process in processes:
                process.kill()
        self._leave()


def _processes(executor: Executor) -> list[multiprocessing.process.BaseProcess]:
    # Python 3.14 has ProcessPoolExecutor.kill_workers; until then there is only this.
    return list((getattr(executor, "_processes", None) or {}).values())


def local(workers: int, *, memory_limit_bytes: int | None = None) -> Engine:
    """Return processes on this machine.

    Sets the variables that size thread pools in this process's environment, for all that it
    starts: they must be there before a worker imports numpy.

    Parameters
    ----------
    workers
        How many processes.
    memory_limit_bytes
        Address space of each; None: as much as there is. Not with a GPU: CUDA reserves far more
        than it uses.
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
    """Return threads of this process: for tests."""
    return Engine(lambda: ThreadPoolExecutor(workers, "worker"), 2 * workers)


def dask(scheduler: str) -> Engine:
    """Return the workers of a running Dask cluster, as ``tcp://host:8786``."""
    # Only sites with a cluster have it, and it is not typed.
    distributed: Any = importlib.import_module("distributed")
    client = distributed.Client(scheduler)
    total = sum(client.nthreads().values())
    # Not pure: picking the same micrograph again must run it again; the ledger counts retries.
    return Engine(
        lambda: client.get_executor(pure=False, retries=0),
        2 * max(total, 1),
        crashes=(BrokenExecutor, distributed.KilledWorker),
        shut=lambda executor: executor.shutdown(wait=False),  # cancels without being told
        leave=client.close,
    )


def _prepare_worker(memory_limit_bytes: int | None) -> None:
    """Make a fresh process a good worker; runs in it, before its first job."""
    # Ctrl-C on a terminal reaches the whole group; the service decides what becomes of jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory_limit_bytes is not None:
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    threading.Thread(target=_leave_with_parent, name="parent-watch", daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

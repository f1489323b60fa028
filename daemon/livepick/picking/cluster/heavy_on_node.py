"""Heavy jobs on a worker of a cluster that offers them: one at a time, in a process of its own.

``HeavyWork`` belongs to the worker's program. The service asks it (``ask_work``), lets it start a
job (``start_work``) and end it (``end_work``); these functions run on the worker, between its
messages, and therefore never wait. Each job has a thread, which starts the program, follows it, and
ends it if the service says so, if the worker leaves, or if nothing is heard from the service for
``LEASE_SECONDS``. The program ends with the worker's program, also if that is killed.

A job takes no thread of the picking jobs, and its program has low priority.
"""

import functools
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Protocol

from livepick.core.contracts.heavy_job import HeavyOrder, HeavyReport, HeavyState
from livepick.core.contracts.trainer import Trainer
from livepick.errors import BusyError
from livepick.host.lock import try_lock_anywhere

__all__ = [
    "HeavyWork",
    "StartProgram",
    "ask_work",
    "end_work",
    "offer_heavy",
    "start_work",
]

LEASE_SECONDS = 300.0
"""Time without a question of the service, after which its job is ended. A service that was killed
is back within that time; the finished stages are kept in any case."""

POLL_SECONDS = 0.2

LEAVES = "the worker leaves the cluster"

LOCK_TRIES = 20
"""Tries to lock the folder, 0.1 s apart. The service has the lock for a moment, to check that no
program runs."""

_log = logging.getLogger(__name__)


class StartProgram(Protocol):
    """Function that starts the program of a heavy job; it ends with the thread that called."""

    def __call__(
        self, folder: Path, command: tuple[str, ...], *, threads: int, host: str
    ) -> Trainer:
        """Return the program, which holds the lock of the folder.

        Raises
        ------
        BusyError
            Another program works on the folder.
        OSError
            The folder is not there, or no process can be started.
        """


class HeavyWork:
    """The heavy job of this worker, if it has one.

    The methods may be called from any thread, and do not wait, except ``leave``.

    Parameters
    ----------
    start
        Function that starts the program of a job.
    """

    def __init__(self, start: StartProgram) -> None:
        self._start = start
        self._host = socket.gethostname()
        self._lock = threading.Lock()
        self._job: _Job | None = None
        self._is_leaving = False

    def report(self, folder: Path) -> HeavyReport:
        """Return the state of this worker for a folder, whose service is there."""
        with self._lock:
            return self._report(folder)

    def start(self, order: HeavyOrder) -> HeavyReport:
        """Start a job, if there is none; return the state of this worker for its folder."""
        with self._lock:
            if self._is_leaving:
                return HeavyReport(self._host, "refused", order.attempt, reason=LEAVES)
            if self._job is None or not self._job.is_at_work:
                self._job = _Job(order, self._start, self._host)
            return self._report(order.folder)

    def end(self, folder: Path, *, kill: bool = False) -> None:
        """Let the job on a folder be ended, if there is one."""
        with self._lock:
            if self._job is not None and self._job.order.folder == folder:
                self._job.end_for("the service ended it", kill=kill)

    def leave(self, timeout_seconds: float = 15.0) -> None:
        """End the job, wait until it has ended, and take no other one."""
        with self._lock:
            self._is_leaving, job = True, self._job
        if job is not None:
            job.end_for(LEAVES)
            job.join(timeout_seconds)

    def _report(self, folder: Path) -> HeavyReport:
        job = self._job
        if job is not None and job.order.folder == folder:
            return job.report()
        is_busy = job is not None and job.is_at_work
        return HeavyReport(self._host, "busy" if is_busy else "free")


class _Job:
    """One start of a program on a folder, with the thread that follows it."""

    def __init__(self, order: HeavyOrder, start: StartProgram, host: str) -> None:
        self.order = order
        self._start = start
        self._host = host
        self._state: HeavyState = "starting"
        self._exit_status: int | None = None
        self._reason = ""
        self._end_reason = ""
        self._is_to_kill = False
        self._program: Trainer | None = None
        self._asked_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="heavy job", daemon=True)
        self._thread.start()

    @property
    def is_at_work(self) -> bool:
        """True until the program has ended, or was refused."""
        return self._state in ("starting", "running")

    def report(self) -> HeavyReport:
        """Return the state, for a service that is there."""
        self._asked_at = time.monotonic()
        program = self._program
        activity = program.activity() if program is not None else None
        return HeavyReport(
            self._host,
            self._state,
            self.order.attempt,
            self._exit_status,
            self._reason,
            is_stopped=activity is not None and activity.is_stopped,
            cpu_seconds=activity.cpu_seconds if activity is not None else 0.0,
        )

    def end_for(self, reason: str, *, kill: bool = False) -> None:
        """Let the thread end the program."""
        self._is_to_kill = self._is_to_kill or kill
        self._end_reason = self._end_reason or reason

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end of the program."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        try:
            self._program = self._begin()
        except (BusyError, OSError) as error:
            self._refuse(str(error))
        except Exception as error:  # noqa: BLE001 - the service must hear of it
            _log.exception("heavy job on %s: cannot be started", self.order.folder)
            self._refuse(f"{type(error).__name__}: {error}")
        else:
            self._state = "running"
            _log.info("heavy job on %s: started", self.order.folder)
            self._follow(self._program)
            self._state = "ended"
            self._program = None

    def _refuse(self, reason: str) -> None:
        _log.error("heavy job on %s: refused: %s", self.order.folder, reason)
        self._reason = reason
        self._state = "refused"

    def _begin(self) -> Trainer:
        order = self.order
        _refuse_if_locks_are_local(order.guard)
        start = functools.partial(
            self._start, order.folder, order.command, threads=order.threads, host=self._host
        )
        for _ in range(LOCK_TRIES - 1):
            try:
                return start()
            except BusyError:
                time.sleep(0.1)
        return start()

    def _follow(self, program: Trainer) -> None:
        """Follow the program to its end; end it when there is a reason."""
        while (ended := program.poll()) is None:
            if time.monotonic() - self._asked_at > LEASE_SECONDS:
                self.end_for("nothing was heard from the service for five minutes")
            if self._end_reason:
                self._reason = self._end_reason
                _log.info("heavy job on %s: ended: %s", self.order.folder, self._reason)
                if self._is_to_kill:
                    program.kill()
                else:
                    program.end()
                return
            time.sleep(POLL_SECONDS)
        self._exit_status = ended.exit_status
        _log.info("heavy job on %s: ended with %s", self.order.folder, ended.exit_status)


def _refuse_if_locks_are_local(guard: Path) -> None:
    """Raise an OSError if a lock of the service's machine is not seen on this one."""
    try:
        with guard.open() as file:
            if not try_lock_anywhere(file.fileno(), shared=True):
                return
    except OSError as error:
        raise OSError(f"{guard} cannot be read or locked: {error.strerror}") from error
    raise OSError(
        f"it does not see the lock of the service on {guard}, so a second trainer could run there;"
        " mount the file system with locks that hold between machines (NFS without local_lock or"
        " nolock, Lustre with flock, BeeGFS with tuneUseGlobalFileLocks)"
    )


_work: HeavyWork | None = None


def offer_heavy(work: HeavyWork | None) -> None:
    """Let the service reach the heavy work of this process; None: there is none."""
    global _work  # noqa: PLW0603 - a function that the service calls by name has no other way
    _work = work


def ask_work(folder: Path) -> HeavyReport | None:
    """Return the state of this worker for a folder; None if it takes no heavy jobs."""
    return None if _work is None else _work.report(folder)


def start_work(order: HeavyOrder) -> HeavyReport | None:
    """Start a job on this worker; see ``HeavyWork.start``."""
    return None if _work is None else _work.start(order)


def end_work(folder: Path, *, kill: bool) -> None:
    """End the job of this worker on a folder, if there is one."""
    if _work is not None:
        _work.end(folder, kill=kill)

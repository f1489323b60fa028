"""A pool of worker processes in which each job has a time limit and a memory limit.

``ProcessPoolExecutor`` cannot kill one of its workers, and a worker that dies takes all jobs of the
pool along. Here each worker has its own channel and one job at a time, so it is known which job
a dead worker had, and no other job is affected.

One thread starts the workers, passes jobs to them, watches them, and kills those whose job exceeds
a limit. It never waits for a worker. Time is counted in the turns of that thread, so a job does not
exceed its limit because the machine or the service was suspended.

Memory is what a process has for itself, looked at several times a second. A limit of the system
would be exact, but fits neither CUDA nor onnxruntime: both reserve far more than they use
(RLIMIT_AS), and onnxruntime reports its failure as a fault of the model (RLIMIT_DATA).

A process that waits for a disk that does not answer cannot be killed. It is left behind, another
one takes its place, and it ends when the disk answers. There is a maximum number of these, because
each of them keeps its memory.

With several GPUs, each worker is bound to one. A job that fails as if its GPU were at fault (a
``ModelError``, or a result from the CPU) is run on another GPU, in a new process: CUDA does not
work again in a process in which it has failed. Only what fails on two GPUs, or what succeeds, is
the outcome of the job. ``worker_seats`` keeps count, and sets a GPU aside.

While a worker computes, it reads the file of a job that waits (``read_ahead``). Whichever worker
gets that job finds the file in the memory of the machine.

This is one file because all states of a worker are seen here, in the order in which it has them.
"""

import contextlib
import logging
import pickle
import selectors
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from livepick.config.engine_section import CudaSettings
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.contracts.job import CPU, WorkerDiedError
from livepick.errors import (
    EngineError,
    LivepickError,
    MemoryLimitError,
    ModelError,
    ProviderError,
    StalledError,
    TimeLimitError,
)
from livepick.host.memory import kills_for_memory
from livepick.host.processes import forget_if_alive
from livepick.picking.gpu_pins import GpuPin
from livepick.picking.job_limits import JobLimits, Limits
from livepick.picking.limited_executor import LimitedExecutor
from livepick.picking.worker_handle import Target, Task, WorkerHandle
from livepick.picking.worker_process import Outcome, framed, run_worker
from livepick.picking.worker_seats import Seats

__all__ = ["START_SECONDS", "WorkerPool"]

TICK_SECONDS = 0.2
"""Time between two looks at the memory of busy workers."""

STEP_SECONDS = 2.0
"""Most that one look adds to the time of a job; after a suspension much more has passed."""

LOOK_SECONDS = 2.0
"""Time between two looks for stopped workers and kills for memory."""

START_SECONDS = 120.0
"""Time within which a new worker must answer, on a busy machine with slow disks."""

START_TRIES = 3
"""A new worker may be killed by accident too; this many in a row are not an accident."""

START_PAUSE_SECONDS = 5.0
"""Time between two tries after that."""

STOPPED_SECONDS = 30.0
"""A worker that has been stopped (SIGSTOP) for so long is killed."""

STALLED_FRACTION = 0.05
"""A worker that used the processor for less of its time waited, as for a disk that hangs."""

KILL_SECONDS = 5.0
"""Time that a killed process gets to end before it counts as one that cannot be killed."""

GPU_WORDS = ("require-gpu", "prefer-gpu")
"""Values of ``picking.device`` with which a result from the CPU means that a GPU has failed."""

_log = logging.getLogger(__name__)


class _RemoteTracebackError(Exception):
    """The traceback in the worker, shown as the cause of an exception."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class WorkerPool(LimitedExecutor):
    """Worker processes of this machine.

    Parameters
    ----------
    workers
        Maximum number of processes; they are started when they are needed.
    limits
        Limits of jobs that are submitted without any.
    devices
        GPUs that the workers are bound to, in turn; none: they are not bound.
    cuda
        Use of the GPUs.
    idle_seconds
        Time after which a process without a job ends; None: it stays.
    target
        Function that a worker process runs; tests pass their own.
    """

    def __init__(
        self,
        workers: int,
        limits: JobLimits,
        *,
        devices: Sequence[GpuPin] = (),
        cuda: CudaSettings | None = None,
        idle_seconds: float | None = None,
        target: Target = run_worker,
    ) -> None:
        self._idle_seconds = idle_seconds
        self._count = workers
        self._seats = Seats(workers, devices)
        self._cuda = cuda or CudaSettings()
        self._most_left_behind = max(4, 2 * workers)
        self._limits = limits
        self._target = target
        self._lock = threading.Lock()
        self._waiting: deque[Task] = deque()
        self._next_files: OrderedDict[Path, None] = OrderedDict()
        """Files of jobs that have not begun, and that no worker reads ahead."""
        self._workers: list[WorkerHandle] = []
        self._left_behind: list[WorkerHandle] = []
        self._failed_starts = 0
        self._start_pause_seconds = 0.0
        self._ending = False
        self._deaths = 0
        self._memory_kills = [kills_for_memory()] * 2
        """The counter at the last two looks."""
        self._since_look_seconds = 0.0
        self._since_watch_seconds = 0.0
        self._has_closed = False
        """True if a channel was closed since the last look: its worker has ended."""
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._bell, self._bell_end = socket.socketpair()
        for end in (self._bell, self._bell_end):
            end.setblocking(False)  # noqa: FBT003 - its only parameter
        self._selector.register(self._bell_end, selectors.EVENT_READ)

    # ---- calls from any thread ----------------------------------------------------------------

    def submit_within(
        self, limits: Limits, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Give a job to a worker; see ``LimitedExecutor``."""
        return self._enqueue(_task(limits, fn, args, kwargs))

    def submit_to(
        self, device: GpuPin, limits: Limits, fn: Callable[..., Any], /, *args: Any
    ) -> Future[Any]:
        """Give a job to a worker on a GPU, as ``submit_within``; its outcome is never judged.

        Raises
        ------
        EngineError
            The pool has been shut down.
        """
        task = _task(limits, fn, args, {})
        task.only_on = device
        return self._enqueue(task)

    def set_aside(self, device: GpuPin, reason: str) -> None:
        """Give a GPU no jobs for a while, before the first one."""
        self._seats.set_aside(device, reason)

    def read_ahead(self, path: Path) -> None:
        """Read a file while other jobs run, as a job with it will be submitted."""
        with self._lock:
            self._next_files[path] = None
        self._ring()

    def _enqueue(self, task: Task) -> Future[Any]:
        with self._lock:
            if self._ending:
                raise EngineError(
                    "the workers have been stopped", "The service is stopping; start it again."
                )
            self._waiting.append(task)
            if task.path is not None:
                self._next_files[task.path] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
                self._thread.start()
        self._ring()
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - as in Executor
        """Kill the workers immediately, whatever they are doing, and cancel the waiting jobs."""
        with self._lock:
            self._ending = True
            thread = self._thread
        if thread is None:
            self._close()
            return
        self._ring()
        if wait and thread is not threading.current_thread():
            thread.join(KILL_SECONDS + 1)

    @property
    def capacity(self) -> int:
        """Number of jobs that keeps every worker busy: one running and one waiting for each."""
        return 2 * self._count

    @property
    def limits(self) -> JobLimits:
        """Limits of jobs."""
        return self._limits

    @property
    def deaths(self) -> int:
        """Number of workers that have died or have been killed."""
        return self._deaths

    @property
    def left_behind(self) -> int:
        """Number of killed processes that do not end."""
        return len(self._left_behind)

    @property
    def devices_aside(self) -> tuple[DeviceAside, ...]:
        """GPUs that have been set aside."""
        return self._seats.aside()

    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [worker.pid for worker in list(self._workers)]

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # full, or closed: the thread wakes up anyway
            self._bell.send(b"\0")

    # ---- the pool's thread --------------------------------------------------------------------

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ending:
            try:
                self._start_worker()
                self._assign()
                self._read_ahead()
                self._exchange()
                now = time.monotonic()
                elapsed_seconds, last = min(now - last, STEP_SECONDS), now
                self._watch(elapsed_seconds)
            except Exception:  # noqa: BLE001 - nobody else can end a job that hangs
                _log.exception("workers: unexpected error")
                time.sleep(TICK_SECONDS)
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.kill()
        give_up = time.monotonic() + KILL_SECONDS
        for worker in [*self._workers, *self._left_behind]:
            worker.process.join(max(0.0, give_up - time.monotonic()))
            forget_if_alive(worker.process)
            worker.close()
            if worker.task is not None:
                worker.task.fail(WorkerDiedError("outside", "the service is stopping"))
        for task in self._waiting:
            if not task.future.cancel():  # it has run already, on a GPU that failed
                task.fail(WorkerDiedError("outside", "the service is stopping"))
        self._close()

    def _close(self) -> None:
        self._selector.close()
        self._bell.close()
        self._bell_end.close()

    # ---- starting -----------------------------------------------------------------------------

    def _start_worker(self) -> None:
        """Start a worker if a job waits and none is free."""
        if (
            len(self._workers) >= self._count
            or self._start_pause_seconds > 0
            or len(self._left_behind) >= self._most_left_behind
            or (seat := self._wanted_seat()) is None
        ):
            return
        device = self._seats.device(seat)
        try:
            worker = WorkerHandle(self._target, seat=seat, device=device, cuda=self._cuda)
        except OSError as error:  # no more processes, descriptors or memory
            self._start_failed(f"a worker process cannot be started: {error.strerror or error}")
            return
        if device is not None:
            _log.info("worker %d: started, on %s", worker.pid, device.name)
        self._workers.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _wanted_seat(self) -> int | None:
        """Return the place of a worker that a waiting job needs; None if no job needs another."""
        free = [worker for worker in self._workers if worker.task is None]
        if len(self._waiting) <= len(free) and not self._seats.devices:
            return None
        taken = {worker.seat for worker in self._workers}
        with self._lock:
            waiting = list(self._waiting)
        for task in waiting:
            worker = next((each for each in free if self._may_run(task, each.device)), None)
            if worker is not None:
                free.remove(worker)
                continue
            without = {each for each in self._seats.devices if not self._may_run(task, each)}
            if (seat := self._seats.free(taken, without=without)) is not None:
                return seat
        return None

    def _may_run(self, task: Task, device: GpuPin | None) -> bool:
        """Return True if a job may run on a GPU; if it has failed on all others, on any."""
        if task.only_on is not None:
            return device == task.only_on
        if not self._seats.is_usable(device):
            return False
        return device not in task.failed_on or not self._seats.others(task.failed_on)

    def _start_failed(self, fault: str) -> None:
        """Pause after several failures in a row; the waiting jobs fail, so that others can act."""
        self._failed_starts += 1
        if self._failed_starts < START_TRIES:
            return
        self._start_pause_seconds = START_PAUSE_SECONDS
        error = EngineError(
            fault,
            "Check the log lines above and the system log (out of memory, too many processes or"
            " open files?), and run livepick check.",
        )
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            self._next_files.clear()
        for task in waiting:
            if _begins(task):
                task.fail(error)

    # ---- jobs ---------------------------------------------------------------------------------

    def _assign(self) -> None:
        """Give waiting jobs to free workers; those on a GPU with failures come last."""
        for worker in sorted(self._workers, key=lambda each: self._seats.strikes(each.device)):
            while worker.ready and worker.task is None and worker.killed_because is None:
                task = self._take_waiting(worker)
                if task is None:
                    break
                if _begins(task):
                    worker.begin(task)
                    self._select(worker)

    def _take_waiting(self, worker: WorkerHandle) -> Task | None:
        """Take the first waiting job that a worker may run."""
        with self._lock:
            for number, task in enumerate(self._waiting):
                if self._may_run(task, worker.device):
                    del self._waiting[number]
                    if task.path is not None:
                        self._next_files.pop(task.path, None)
                    return task
        return None

    def _read_ahead(self) -> None:
        """Have busy workers read the files of the next jobs, each worker one during its job."""
        for worker in self._workers:
            if worker.task is None or worker.reads_ahead:
                continue
            with self._lock:
                if not self._next_files:
                    return
                path, _ = self._next_files.popitem(last=False)
            worker.read_ahead(path)

    def _select(self, worker: WorkerHandle) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.has_unsent else 0)
        if worker.is_open:
            self._selector.modify(worker.channel, events, worker)

    def _exchange(self) -> None:
        """Wait for messages, and pass data to and from the workers without blocking."""
        busy = any(worker.task is not None or not worker.ready for worker in self._workers)
        for key, events in self._selector.select(TICK_SECONDS if busy else LOOK_SECONDS):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._bell_end.recv(4096)
                continue
            if events & selectors.EVENT_WRITE:
                key.data.send()
                self._select(key.data)
            if events & selectors.EVENT_READ:
                self._receive(key.data)

    def _receive(self, worker: WorkerHandle) -> bool:
        """Take the messages of a worker; return False if there are no more for now."""
        messages = worker.receive()
        if messages is None:
            self._close_channel(worker)
            worker.wait_for_exit()
            return False
        for message in messages:
            self._take(worker, message)
        return bool(messages)

    def _take(self, worker: WorkerHandle, message: bytes) -> None:
        """Take the message that a worker is ready, or the outcome of its job."""
        worker.seconds = 0.0
        if not worker.ready:
            worker.ready, self._failed_starts = True, 0
            return
        task, worker.task = worker.task, None
        if task is None:
            return
        try:
            outcome: Outcome = pickle.loads(message)  # noqa: S301 - of our own worker
        except Exception as error:  # noqa: BLE001 - whatever the worker has sent
            task.fail(RuntimeError(f"the result of a worker cannot be read: {error!r}"))
            return
        if self._is_run_elsewhere(worker, task, outcome):
            return
        if not outcome.is_error:
            self._seats.succeeded(worker.device)
            for device, fault in task.failed_on.items():
                if fault is not None:  # of the GPU, as another one has done it
                    self._seats.failed(device, fault)
            task.future.set_result(outcome.value)
            return
        failure = outcome.value
        if isinstance(failure, MemoryError):
            failure = _too_much_memory(task, str(failure) or "memory ran out")
        if not isinstance(failure, LivepickError):
            failure.__cause__ = _RemoteTracebackError(outcome.traceback)
        task.fail(failure)

    def _is_run_elsewhere(self, worker: WorkerHandle, task: Task, outcome: Outcome) -> bool:
        """Return True if a GPU seems to be at fault, and another one now gets the job."""
        device, error = worker.device, outcome.value
        if device is None or task.only_on is not None:
            return False
        if not outcome.is_error:
            provider = getattr(outcome.value, "provider", outcome.value)
            if not (task.wants_gpu and isinstance(provider, str) and provider == CPU):
                return False
            error = ProviderError("onnxruntime offers only the CPU", "Run nvidia-smi.")
        if not isinstance(error, ModelError) or not self._seats.others({device, *task.failed_on}):
            return False
        is_lost = isinstance(error, ProviderError)  # else the model may be at fault
        task.failed_on[device] = None if is_lost else error.what
        if is_lost:
            self._seats.failed(device, error.what)
        self._kill(worker, error)
        with self._lock:
            self._waiting.appendleft(task)
        return True

    # ---- watching -----------------------------------------------------------------------------

    def _watch(self, elapsed_seconds: float) -> None:
        """Look at all workers: their ends, their time, their memory.

        Not in every turn: there are several for each job, and many workers.
        """
        self._since_watch_seconds += elapsed_seconds
        if self._since_watch_seconds < TICK_SECONDS and not self._has_closed:
            return
        elapsed_seconds, self._since_watch_seconds = self._since_watch_seconds, 0.0
        self._has_closed = False
        self._start_pause_seconds = max(0.0, self._start_pause_seconds - elapsed_seconds)
        self._seats.count_time(elapsed_seconds)
        self._since_look_seconds += elapsed_seconds
        since_look_seconds = self._since_look_seconds
        if is_look_due := since_look_seconds >= LOOK_SECONDS:
            self._since_look_seconds = 0.0
        for worker in list(self._workers):
            if worker.has_ended:
                self._ended(worker)
            elif worker.killed_because is not None or not worker.is_open:
                worker.dying_seconds += elapsed_seconds
                if worker.dying_seconds > KILL_SECONDS:
                    self._leave_behind(worker)
            else:
                worker.seconds += elapsed_seconds
                self._check_limits(worker)
                if is_look_due:
                    self._check_stopped(worker, since_look_seconds)
        if is_look_due:
            self._memory_kills = [self._memory_kills[1], kills_for_memory()]
            self._left_behind = [each for each in self._left_behind if not each.has_ended]

    def _check_limits(self, worker: WorkerHandle) -> None:
        task = worker.task
        if task is None:
            if not self._seats.is_usable(worker.device):
                self._kill(worker, EngineError("its GPU has been set aside", ""))
            elif not worker.ready:
                if worker.seconds > START_SECONDS:
                    self._kill(worker, TimeoutError(f"it did not start within {START_SECONDS:g} s"))
            elif self._idle_seconds is not None and worker.seconds > self._idle_seconds:
                worker.killed_because = EngineError("it was idle", "")
                worker.kill()
            return
        worker.count_cpu()
        used_bytes = worker.memory_bytes()
        if worker.seconds > task.limits.seconds:
            self._kill(worker, _too_long(worker, task))
        elif used_bytes > task.limits.memory_bytes:
            used = f"its worker used {used_bytes / (1 << 30):.1f} GiB"
            self._kill(worker, _too_much_memory(task, used))

    def _check_stopped(self, worker: WorkerHandle, elapsed_seconds: float) -> None:
        if not worker.is_stopped():
            worker.stopped_seconds = 0.0
            return
        worker.stopped_seconds += elapsed_seconds
        if worker.stopped_seconds > STOPPED_SECONDS:
            how = f"it had been stopped (SIGSTOP) for {STOPPED_SECONDS:g} s"
            self._kill(worker, WorkerDiedError("outside", how))

    def _kill(self, worker: WorkerHandle, why: BaseException) -> None:
        name = f" ({worker.task.name})" if worker.task is not None else ""
        what = why.what if isinstance(why, LivepickError) else str(why)
        _log.warning("worker %d%s: killed: %s", worker.pid, name, what)
        worker.killed_because = why
        worker.kill()

    def _ended(self, worker: WorkerHandle) -> None:
        """Settle the job of a worker that has ended."""
        while worker.is_open and self._receive(worker):
            pass  # it may have sent its result before its end
        self._remove(worker)
        worker.kill_children()
        how = worker.killed_because or worker.cause_of_death(
            memory_ran_out=kills_for_memory() > self._memory_kills[0]
        )
        if worker.killed_because is None:
            _log.error("a worker died (process %d), and is replaced: %s", worker.pid, how)
        if worker.task is not None:
            self._count_against_gpu(worker, worker.task, how)
            worker.task.fail(how)
        elif not worker.ready:
            self._start_failed(f"worker processes do not start: {how}")

    def _count_against_gpu(self, worker: WorkerHandle, task: Task, how: BaseException) -> None:
        """Count a job that ended or occupied its worker; its next try is on another GPU."""
        is_own = isinstance(how, TimeLimitError) or (
            isinstance(how, WorkerDiedError) and how.cause == "crash"
        )
        if worker.device is not None and task.only_on is None and is_own:
            self._seats.failed(worker.device, str(how))

    def _leave_behind(self, worker: WorkerHandle) -> None:
        """Go on without a process that cannot be killed."""
        worker.kill()
        _log.error(
            "worker %d: cannot be killed, because it waits for a disk or file system that does not"
            " answer; another process takes its place",
            worker.pid,
        )
        self._remove(worker)
        self._left_behind.append(worker)
        if worker.task is not None:
            how = worker.killed_because or WorkerDiedError("crash", "it hangs")
            self._count_against_gpu(worker, worker.task, how)
            worker.task.fail(how)
            worker.task = None

    def _remove(self, worker: WorkerHandle) -> None:
        self._workers.remove(worker)
        self._close_channel(worker)
        self._deaths += 1

    def _close_channel(self, worker: WorkerHandle) -> None:
        if worker.is_open:
            self._selector.unregister(worker.channel)
            worker.close()
            self._has_closed = True


def _task(
    limits: Limits, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Task:
    request = framed(pickle.dumps((work, args, kwargs), pickle.HIGHEST_PROTOCOL))
    wanted = (getattr(each, "device", each) for each in args)
    wants_gpu = any(isinstance(each, str) and each in GPU_WORDS for each in wanted)
    path = getattr(args[0], "path", None) if args else None
    path = path if isinstance(path, Path) else None
    name = getattr(work, "__name__", "a job") if path is None else path.name
    return Task(name, request, limits, path, wants_gpu=wants_gpu)


def _begins(task: Task) -> bool:
    """Return True if a job may begin; False if it was cancelled while it waited."""
    return task.future.running() or task.future.set_running_or_notify_cancel()


def _too_long(worker: WorkerHandle, task: Task) -> TimeLimitError:
    what = f"{task.name} took longer than {task.limits.seconds:.0f} s, and was stopped"
    if worker.job_cpu_seconds() < STALLED_FRACTION * task.limits.seconds:
        return StalledError(
            f"{what}; its worker was waiting, not computing",
            "Check that its file system responds; or raise picking.time_limit_seconds.",
        )
    return TimeLimitError(
        what,
        "Check that its file system and the model respond; or raise picking.time_limit_seconds.",
    )


def _too_much_memory(task: Task, used: str) -> MemoryLimitError:
    return MemoryLimitError(
        f"{task.name} needs too much memory: {used}; the limit is"
        f" {task.limits.memory_bytes / (1 << 30):.1f} GiB",
        "Raise picking.memory_limit_gib or lower picking.workers, if the machine has the memory.",
    )

"""A worker process as its parent sees it: its channel, its job, its state and its end.

No call waits for the worker, which may be stopped in the middle of a message.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livepick.config.engine_section import CudaSettings
from livepick.core.contracts.job import WorkerDiedError
from livepick.host.memory import process_bytes
from livepick.host.processes import cpu_seconds, is_stopped, kill_group
from livepick.picking.gpu_pins import GpuPin
from livepick.picking.job_limits import Limits
from livepick.picking.worker_process import LENGTH, Setup, run_set_up

__all__ = ["Target", "Task", "WorkerHandle"]

READ_BYTES = 1 << 20

EXIT_SECONDS = 0.2
"""Time that a worker gets to end after its channel was closed."""

ALLOCATOR_SETTINGS = "GLIBC_TUNABLES"
"""Environment variable with settings of glibc; what is set is left as it is."""

LARGE_PAGES = "glibc.malloc.hugetlb=1"

OWN_SIGNALS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
"""Signals by which a program ends itself. Others come from outside."""

Target = Callable[[socket.socket, int], None]
"""Function that a worker process runs, with its channel and the process id of its parent."""


@dataclass(slots=True)
class Task:
    """A job that waits or runs."""

    name: str
    request: bytes
    """The job as a message to a worker."""
    limits: Limits
    path: Path | None = None
    """The file that it reads; None: none."""
    wants_gpu: bool = False
    """True if a result that was computed on the CPU means that the GPU has failed."""
    only_on: GpuPin | None = None
    """The only GPU that may run it; None: any."""
    failed_on: dict[GpuPin, str | None] = field(default_factory=dict)
    """GPUs on which it has failed as if they were at fault; the fault, until it is counted."""
    future: Future[Any] = field(default_factory=Future)

    def fail(self, error: BaseException) -> None:
        """Set an error as the outcome; the callbacks of the future are called here."""
        self.future.set_exception(error)


@contextlib.contextmanager
def _large_pages() -> Iterator[None]:
    """Let processes that are started meanwhile have large pages of memory.

    glibc reads this setting when a program starts. With pages of 2 MiB instead of 4 KiB a network
    takes a sixth less time. Other programs do not need them, and would take more memory.
    """
    if ALLOCATOR_SETTINGS in os.environ:
        yield
        return
    os.environ[ALLOCATOR_SETTINGS] = LARGE_PAGES
    try:
        yield
    finally:
        os.environ.pop(ALLOCATOR_SETTINGS, None)


class WorkerHandle:
    """A new worker process.

    Parameters
    ----------
    target
        Function that the process runs.
    seat
        Its place among the workers.
    device
        The GPU that it runs on. None: not bound to one.
    cuda
        Use of the GPU.

    Raises
    ------
    OSError
        The system has no process, descriptor or memory for it.
    """

    def __init__(
        self, target: Target, *, seat: int, device: GpuPin | None, cuda: CudaSettings
    ) -> None:
        self.seat = seat
        self.device = device
        setup = Setup({} if device is None else device.environment, cuda)
        with contextlib.ExitStack() as failing, contextlib.ExitStack() as theirs:
            self.channel, channel_end = socket.socketpair()
            failing.callback(self.channel.close)
            theirs.enter_context(channel_end)
            self._next_files, files_end = socket.socketpair(type=socket.SOCK_SEQPACKET)
            failing.callback(self._next_files.close)
            theirs.enter_context(files_end)
            self.process = multiprocessing.get_context("spawn").Process(
                target=run_set_up,
                args=(setup, files_end, target, channel_end, os.getpid()),
                daemon=True,
            )
            with _large_pages():
                self.process.start()
            failing.pop_all()
        for end in (self.channel, self._next_files):
            end.setblocking(False)  # noqa: FBT003 - its only parameter
        self.pid = self.process.pid or 0
        self.task: Task | None = None
        self.reads_ahead = False
        """True once it has been told during its job to read a file ahead."""
        self.ready = False
        self.seconds = 0.0
        """Time since the start of the process or of its job, or since the last of these ended."""
        self.stopped_seconds = 0.0
        """Time for which it has been stopped."""
        self.dying_seconds = 0.0
        """Time since it was killed or its channel was closed."""
        self.killed_because: BaseException | None = None
        """The outcome of its job, once it has been killed by us."""
        self._cpu_seconds_before: float | None = None
        self._received = bytearray()
        self._unsent = memoryview(b"")

    # ---- messages -----------------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """Begin a job."""
        self.task, self.seconds, self.reads_ahead = task, 0.0, False
        self._cpu_seconds_before = None
        self._unsent = memoryview(task.request)
        self.send()

    def send(self) -> None:
        """Send as much of the job as fits into the channel."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.channel.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # it has died, which its exit code shows
            self._unsent = memoryview(b"")

    def read_ahead(self, path: Path) -> None:
        """Have the worker read the file of another job during its own."""
        self.reads_ahead = True
        with contextlib.suppress(OSError):  # full, as its thread hangs; or it has died
            self._next_files.send(os.fsencode(path))

    @property
    def has_unsent(self) -> bool:
        """True if a part of the job has not been sent yet."""
        return bool(self._unsent)

    def receive(self) -> list[bytes] | None:
        """Return the messages that have arrived; None if the channel has been closed."""
        try:
            data = self.channel.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self._received += data
        messages = []
        while len(self._received) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._received)
            end = LENGTH.size + size
            if len(self._received) < end:
                break
            messages.append(bytes(self._received[LENGTH.size : end]))
            del self._received[:end]
        return messages

    @property
    def is_open(self) -> bool:
        """True until ``close``."""
        return self.channel.fileno() >= 0

    def close(self) -> None:
        """Close the channels."""
        self.channel.close()
        self._next_files.close()

    # ---- state --------------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """True if the process has ended."""
        return self.process.exitcode is not None

    def memory_bytes(self) -> int:
        """Return the memory that the process uses."""
        return process_bytes(self.pid)

    def count_cpu(self) -> None:
        """Count the processor time of the job from now on, unless it is counted already.

        The first look at a job does this and not its begin, as most jobs end before a second look.
        """
        if self._cpu_seconds_before is None:
            self._cpu_seconds_before = cpu_seconds(self.pid)

    def job_cpu_seconds(self) -> float:
        """Return the processor time that the process has used since ``count_cpu``."""
        return cpu_seconds(self.pid) - (self._cpu_seconds_before or 0.0)

    def is_stopped(self) -> bool:
        """Return True if the process has been stopped (SIGSTOP)."""
        return is_stopped(self.pid)

    def wait_for_exit(self) -> None:
        """Wait a moment for the end of a process whose channel has been closed."""
        self.process.join(EXIT_SECONDS)

    # ---- end ----------------------------------------------------------------------------------

    def kill(self) -> None:
        """Kill the process and everything that it has started."""
        self.process.kill()
        kill_group(self.pid)

    def kill_children(self) -> None:
        """Kill what the process has started, after its end."""
        kill_group(self.pid)

    def cause_of_death(self, *, memory_ran_out: bool) -> WorkerDiedError:
        """Return why the process has ended, as far as can be told.

        Parameters
        ----------
        memory_ran_out
            True if the system has just killed a process for memory.
        """
        exit_code = self.process.exitcode or 0
        if exit_code >= 0:
            return WorkerDiedError("crash", f"it exited with status {exit_code}")
        number = -exit_code
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        if number in OWN_SIGNALS:
            return WorkerDiedError("crash", f"it was ended by {name}")
        if number == signal.SIGKILL and memory_ran_out:
            return WorkerDiedError("memory", "the system killed it because memory ran out")
        return WorkerDiedError("outside", f"another program or a person killed it ({name})")

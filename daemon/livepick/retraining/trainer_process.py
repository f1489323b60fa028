"""The trainer process: start it on a run folder, wait for it, and terminate it.

Two trainers must never run on one folder, even if the daemon that started the first was killed. The
daemon opens ``runs/NNNN/lock``, locks it and passes the open file to the trainer, so the lock lasts
exactly as long as the trainer. A new daemon that finds the lock taken adopts the orphan: it waits
for it, reads its progress, and can terminate it, because the file also contains its process id.

A worker of a cluster that takes heavy jobs starts the trainer in the same way on its own machine
(``start``). The lock then holds between machines, and the file also contains the host, whose
processes no other machine can signal.
"""

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from livepick.core.contracts.trainer import PYTHON, Activity, Ended, job_name
from livepick.errors import BusyError
from livepick.host.lock import try_lock_anywhere
from livepick.host.processes import cpu_seconds, is_stopped
from livepick.host.run_with_parent import with_parent

__all__ = [
    "LOCK",
    "LOG",
    "TrainerProcess",
    "last_log_lines",
    "lock_host",
    "log_tail",
]

LOCK = "lock"
LOG = "trainer.log"

TRAINER = (PYTHON, "-m", "livepick_trainer")
"""Program that trains."""

NICENESS = 10
"""Picking must not wait for training."""

IONICE = "ionice"
"""Command of util-linux that lets the trainer use the disk only when it is otherwise idle, if the
kernel's scheduler for that disk supports priorities (BFQ does)."""

TERM_SECONDS = 5.0
"""Time from SIGTERM to SIGKILL; a trainer can be killed safely at any moment."""

KILL_SECONDS = 5.0
"""Longest wait for the end of a killed trainer."""

_log = logging.getLogger(__name__)


class TrainerProcess:
    """A trainer running on a run folder."""

    def __init__(self, folder: Path, pid: int, process: subprocess.Popen[bytes] | None) -> None:
        self.folder = folder
        self.pid = pid
        self._process = process

    @classmethod
    def start_or_adopt(
        cls, folder: Path, command: tuple[str, ...] = (), *, threads: int = 1
    ) -> "TrainerProcess":
        """Adopt the trainer running on ``folder``, or start one.

        Parameters
        ----------
        folder
            ``runs/NNNN`` with its ``run.json``.
        command
            Program that takes the folder as its last argument; by default the trainer.
        threads
            Number of CPU threads for its numerical libraries; our own environment sets it to one.

        Raises
        ------
        OSError
            The lock or the log cannot be written, or no process can be started.
        """
        with (folder / LOCK).open("a+") as lock:
            if not try_lock_anywhere(lock.fileno()):
                pid, _ = _holder(lock)
                _log.info("%s: adopting its process, which is still running", job_name(folder))
                return cls(folder, pid, None)
            return cls._start(lock, folder, command or TRAINER, threads)

    @classmethod
    def start(
        cls,
        folder: Path,
        command: tuple[str, ...] = (),
        *,
        threads: int = 1,
        host: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> "TrainerProcess":
        """Start a trainer that ends with the thread that started it, however that ends.

        Parameters
        ----------
        folder, command, threads
            As for ``start_or_adopt``.
        host
            Name of this machine, for the others that see the folder.
        environment
            Further variables of its environment.

        Raises
        ------
        BusyError
            Another trainer runs on the folder.
        OSError
            The lock or the log cannot be written, or no process can be started.
        """
        with (folder / LOCK).open("a+") as lock:
            if not try_lock_anywhere(lock.fileno()):
                raise BusyError(f"another trainer runs in {folder}", "Wait for its end.")
            ending_with_us = with_parent([*(command or TRAINER)])
            return cls._start(
                lock, folder, ending_with_us, threads, host=host, environment=environment
            )

    @classmethod
    def _start(
        cls,
        lock: IO[str],
        folder: Path,
        command: Sequence[str],
        threads: int,
        *,
        host: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> "TrainerProcess":
        own = {**(environment or {}), "OMP_NUM_THREADS": str(threads)}
        process = _start(folder, command, lock.fileno(), own)
        try:
            lock.truncate(0)
            lock.write(f"{process.pid} {host}".strip())
            lock.flush()
        except OSError:  # full disk: do not leave a trainer that nobody can terminate
            process.kill()
            process.wait()
            raise
        _yield_to_others(process.pid)
        return cls(folder, process.pid, process)

    @staticmethod
    def is_running(folder: Path) -> bool:
        """Return True if a trainer runs on a run folder, whoever started it."""
        try:
            with (folder / LOCK).open("r+") as lock:
                return not try_lock_anywhere(lock.fileno())
        except FileNotFoundError:
            return False

    def poll(self) -> Ended | None:
        """Return how the trainer ended, or None while it runs."""
        if self._process is not None:
            status = self._process.poll()
            return None if status is None else Ended(status)
        with (self.folder / LOCK).open("a+") as lock:
            return Ended(None) if try_lock_anywhere(lock.fileno()) else None

    def activity(self) -> Activity | None:
        """Return what the trainer does; None for an orphan whose process id is unknown."""
        return Activity(is_stopped(self.pid), cpu_seconds(self.pid)) if self.pid else None

    def end(self) -> None:
        """Terminate the trainer: SIGTERM, then SIGKILL after a few seconds.

        Its finished stages are kept.
        """
        self._signal(signal.SIGTERM)
        give_up = time.monotonic() + TERM_SECONDS
        while self.poll() is None and time.monotonic() < give_up:
            time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """Kill the trainer, also if it is stopped; one that waits for a dead disk is left behind.

        The next trainer of this run then waits for its lock.
        """
        if self.poll() is None:
            self._signal(signal.SIGKILL)
        if self._process is not None:
            try:
                self._process.wait(KILL_SECONDS)
            except subprocess.TimeoutExpired:
                _log.error(
                    "%s: its process %d cannot be killed, because it waits for a"
                    " disk or file system that does not answer",
                    job_name(self.folder),
                    self.pid,
                )

    def _signal(self, number: signal.Signals) -> None:
        # While the lock is held, the process id in it cannot belong to another process.
        if self.pid and self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def lock_host(folder: Path) -> str:
    """Return the host in the lock file of a run; empty if its trainer runs on this machine."""
    try:
        with (folder / LOCK).open() as lock:
            return _holder(lock)[1]
    except FileNotFoundError:
        return ""


def _holder(lock: IO[str]) -> tuple[int, str]:
    """Return process id and host from a lock file; 0 for a process that we must not signal."""
    lock.seek(0)
    text, _, host = lock.read().strip().partition(" ")
    return int(text) if text.isdigit() and not host else 0, host


def _start(
    folder: Path, command: Sequence[str], lock: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a trainer that holds the open file ``lock`` for as long as it runs."""
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [*(sys.executable if word == PYTHON else word for word in command), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            process_group=0,  # only the daemon handles Ctrl-C in its terminal
            cwd=folder,
            env={**os.environ, **environment},
        )


def _yield_to_others(pid: int) -> None:
    """Lower the CPU and disk priority of a new process and of the threads it will start."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended already
        own = os.getpriority(os.PRIO_PROCESS, 0)  # a nice value below ours is not allowed
        os.setpriority(os.PRIO_PROCESS, pid, max(NICENESS, own))
    try:
        subprocess.run(
            [IONICE, "--class", "idle", "--pid", str(pid)],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except subprocess.CalledProcessError as error:
        if Path(f"/proc/{pid}").exists():
            _say_no_io_priority(error.stderr.strip())
    except (OSError, subprocess.TimeoutExpired) as error:
        _say_no_io_priority(str(error))


@functools.cache
def _say_no_io_priority(reason: str) -> None:
    """Log once that the trainer's disk access has normal priority."""
    _log.warning("training: its disk access has normal priority: %s", reason)


def log_tail(folder: Path, *, lines: int = 3) -> str:
    """Return the last lines of the trainer's log, for an error message."""
    last = last_log_lines(folder, lines, most_bytes=4096)
    return " / ".join(line.strip() for line in last if line.strip())


def last_log_lines(folder: Path, count: int, *, most_bytes: int) -> list[str]:
    """Return the last lines of the trainer's log; none if there is no log.

    Parameters
    ----------
    folder
        Folder of the run.
    count
        Maximum number of lines.
    most_bytes
        Number of bytes at the end of the log that are read.
    """
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most_bytes))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []

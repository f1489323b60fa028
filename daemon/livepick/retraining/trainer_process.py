"""The trainer as a process: started on a run folder, followed through its progress file, ended.

A trainer must never run twice on one folder, also when the daemon that started it was killed. The
daemon opens ``runs/NNNN/lock``, locks it and hands the open file down: the lock lives as long as
the trainer does, whoever else dies. A new daemon that finds the lock taken adopts the orphan: it
waits for it, reads its progress, and can end it, as the file also holds its process id.
"""

import contextlib
import fcntl
import functools
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from livepick.core.contracts.progress import Progress, ProgressReader

__all__ = ["LOCK", "LOG", "Ended", "TrainerProcess", "last_progress"]

LOCK = "lock"
LOG = "trainer.log"

NICENESS = 10
"""Picking must not wait for training."""

IONICE = "ionice"
"""Of util-linux: gives the disk to the trainer when nobody else wants it, if the kernel's scheduler
for that disk knows priorities (BFQ does)."""

TERM_SECONDS = 5.0
"""From SIGTERM to SIGKILL; a trainer may be killed at any moment anyway."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a trainer ended."""

    exit_status: int | None
    """As of ``subprocess``, negative for a signal; None when it was an adopted orphan."""


class TrainerProcess:
    """A trainer at work on a run folder."""

    def __init__(self, folder: Path, pid: int, process: subprocess.Popen[bytes] | None) -> None:
        self.folder = folder
        self.pid = pid
        self._process = process

    @classmethod
    def on(
        cls, folder: Path, command: tuple[str, ...] = (), *, threads: int = 1
    ) -> "TrainerProcess":
        """Adopt the trainer that runs on ``folder``, or start one.

        Parameters
        ----------
        folder
            ``runs/NNNN`` with its ``run.json``.
        command
            Program that takes the folder as its last argument; the trainer unless given.
        threads
            CPU threads that its numerical libraries may use; our own environment asks for one.

        Raises
        ------
        OSError
            The lock or the log cannot be written, or no process can be started.
        """
        command = command or (sys.executable, "-m", "livepick_trainer")
        with (folder / LOCK).open("a+") as lock:
            if not _take(lock):
                lock.seek(0)
                text = lock.read().strip()
                _log.info("run %s: a trainer of an earlier start is still at it", folder.name)
                return cls(folder, int(text) if text.isdigit() else 0, None)
            with (folder / LOG).open("ab") as log:
                process = subprocess.Popen(
                    [*command, str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock.fileno(),),
                    process_group=0,  # a Ctrl-C at our terminal is ours to handle
                    cwd=folder,
                    env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                )
            try:
                lock.truncate(0)
                lock.write(str(process.pid))
                lock.flush()
            except OSError:  # a full disk: a trainer that nobody could end must not be left
                process.kill()
                process.wait()
                raise
        _yield_to_others(process.pid)
        return cls(folder, process.pid, process)

    def poll(self) -> Ended | None:
        """Return how it ended, or None while it runs."""
        if self._process is not None:
            status = self._process.poll()
            return None if status is None else Ended(status)
        with (self.folder / LOCK).open("a+") as lock:
            return Ended(None) if _take(lock) else None

    def end(self) -> None:
        """End it: SIGTERM, a few seconds, SIGKILL; its finished stages stay."""
        self._signal(signal.SIGTERM)
        give_up = time.monotonic() + TERM_SECONDS
        while self.poll() is None and time.monotonic() < give_up:
            time.sleep(0.05)
        if self.poll() is None:
            self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # While the lock is held the process id in it cannot belong to anybody else.
        if self.pid and self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def _yield_to_others(pid: int) -> None:
    """Let a new process, and the threads it is to have, take what others leave: cores and disk."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended at once
        own = os.getpriority(os.PRIO_PROCESS, 0)  # no lower than ours, which is not allowed
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
    """Log once that the trainer shares the disk as an equal."""
    _log.warning("training: its disk access has the priority of any other: %s", reason)


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_progress(folder: Path) -> Progress | None:
    """Return the last line of a run's progress file."""
    lines = ProgressReader(folder).new()
    return lines[-1] if lines else None


def log_tail(folder: Path, *, lines: int = 3) -> str:
    """Return the last lines of the trainer's log, for an error message."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return " / ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())

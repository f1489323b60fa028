"""Values that pass between the service and a worker of a cluster that takes heavy jobs.

A heavy job is a program that works on a folder of a file system that both machines see: the
trainer, which also sorts into 2D classes, on the folder of a run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["HeavyOrder", "HeavyReport", "HeavyState"]

HeavyState = Literal["free", "busy", "starting", "running", "ended", "refused"]
"""State of a worker for one folder. ``free`` and ``busy``: it has no job on that folder, and could
take one, or works on another folder. ``refused``: it could not begin the job; ``reason`` says
why."""


@dataclass(frozen=True, slots=True)
class HeavyOrder:
    """Order to start a program on a folder."""

    folder: Path
    """Folder to work on, ``runs/NNNN`` for the trainer."""
    attempt: str
    """Name of this start, different for each."""
    threads: int
    """Number of CPU threads."""
    guard: Path
    """File that the service keeps locked. A worker that can lock it as well does not see the locks
    of the service's machine, so that nothing would prevent a second program on the folder."""
    command: tuple[str, ...] = ()
    """Program that takes the folder as its last argument; empty: the trainer."""


@dataclass(frozen=True, slots=True)
class HeavyReport:
    """Answer of a worker about its heavy job on a folder."""

    host: str
    """Host name of the worker."""
    state: HeavyState
    attempt: str = ""
    """Attempt that the state belongs to; empty for ``free`` and ``busy``."""
    exit_status: int | None = None
    """Exit status as in ``subprocess``, once it has ended by itself; None if the worker ended it,
    for ``reason``."""
    reason: str = ""
    """Reason why the worker refused the job or ended it."""
    is_stopped: bool = False
    """True if the program has been stopped, as by SIGSTOP."""
    cpu_seconds: float = 0.0
    """Processor time that the program has used."""

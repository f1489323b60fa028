"""Interface of a trainer that runs on a run folder, on this machine or on another one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from livepick.core.contracts.class_averages import CLASSES

__all__ = ["PYTHON", "Activity", "Ended", "StartTrainer", "Trainer", "job_name"]

PYTHON = "{python}"
"""First word of a command that stands for the Python of the machine that starts it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """End of a trainer process."""

    exit_status: int | None
    """Exit status as in ``subprocess``, negative for a signal; None for an adopted orphan."""
    host: str = ""
    """Machine that it ran on; empty for this one."""
    lost: str = ""
    """Reason why that machine no longer runs it, if it did not end by itself."""


@dataclass(frozen=True, slots=True)
class Activity:
    """Sign that a trainer works, or does not."""

    is_stopped: bool
    """True if it has been stopped, as by SIGSTOP."""
    cpu_seconds: float
    """Processor time that it has used."""
    has_begun: bool = True
    """False while no machine has started it yet."""


class Trainer(Protocol):
    """A trainer that runs on a run folder, here or on another machine, or is about to."""

    def poll(self) -> Ended | None:
        """Return how the trainer ended, or None while it runs."""

    def activity(self) -> Activity | None:
        """Return what the trainer does; None if that is unknown."""

    def end(self) -> None:
        """Terminate the trainer, whose finished stages are kept."""

    def kill(self) -> None:
        """Kill the trainer, also if it is stopped."""


class StartTrainer(Protocol):
    """Function that adopts the trainer that runs on a folder, or starts one."""

    def __call__(self, folder: Path, command: tuple[str, ...] = (), *, threads: int = 1) -> Trainer:
        """Return the trainer; see ``TrainerProcess.start_or_adopt``."""


def job_name(folder: Path) -> str:
    """Return the name of the job on a folder, for the log: a training run, or class averages."""
    kind = "class averages" if folder.parent.name == CLASSES else "run"
    return f"{kind} {folder.name}"

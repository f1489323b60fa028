"""A trainer at work: started on a run, followed line by line, and what its end means."""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from livepick.config.sections import RUNNING, Training
from livepick.core.contracts.progress import Progress, ProgressReader, Stage
from livepick.core.contracts.run import DISK_FULL_STATUS, RunSpec
from livepick.retraining.eta import forecast
from livepick.retraining.instruments import Instruments
from livepick.retraining.trainer_process import Ended, TrainerProcess, log_tail

__all__ = ["Ending", "Following"]

LEAST_FREE_BYTES = 1_000_000
"""With less the disk counts as full, whatever the trainer says of its end."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a trainer ended."""

    fault: str | None = None
    """Why there is no model, for the operator; None if there is one, or may be."""
    killed: bool = False
    """Whether somebody killed it, so that it can go on where it was."""
    waits: str | None = None
    """For what it waits, which passes: then it goes on where it was."""
    stage: Stage | None = None
    """In which it ended; None if it had not said so."""


class Following:
    """Starts the trainer of a run, or adopts the one that is at work there.

    Parameters
    ----------
    folder
        ``runs/NNNN``.
    models
        Folder where its bundle appears.
    training
        Settings of the config: threads and time limit.
    metrics
        Told of losses and findings.
    command
        The trainer program; tests bring their own.

    Raises
    ------
    OSError
        No process can be started, or the folder takes no writes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        models: Path,
        training: Training,
        metrics: Instruments,
        command: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self._bundle = models / folder.name
        self._limit_minutes = training.time_limit_minutes
        self._metrics = metrics
        self._progress = ProgressReader(folder)
        self._lines = self._progress.new()  # what an earlier trainer said is in the log already
        self._said_before = len(self._lines)
        _order_with(folder, training)
        self._trainer = TrainerProcess.on(folder, command, threads=training.threads)
        self._started_at = time.monotonic()
        metrics.training_is_running(running=True)
        metrics.training_at(forecast(self._lines, now=time.time()))

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return self.folder.name

    @property
    def gets_on(self) -> bool:
        """Whether the trainer has said anything since it was started or adopted."""
        return len(self._lines) > self._said_before

    def step(self) -> Ending | None:
        """Take what is new; return how the trainer ended, or None while it runs."""
        ended = self._trainer.poll()  # before the progress, so that its last words are not missed
        for line in self._progress.new():
            self._lines.append(line)
            self._report(line)
        if ended is not None:
            self._rest()
            return self._ending(ended)
        self._metrics.training_at(forecast(self._lines, now=time.time()))
        if time.monotonic() - self._started_at > self._limit_minutes * 60:
            self.end()
            return Ending(
                f"it took longer than {self._limit_minutes:g} minutes. Raise"
                " training.time_limit_minutes and training.generation, or train on fewer epochs"
            )
        return None

    def end(self) -> None:
        """End the trainer; its finished stages stay."""
        self._trainer.end()
        self._rest()

    def _rest(self) -> None:
        self._metrics.training_is_running(running=False)
        self._metrics.training_at(None)

    def _report(self, line: Progress) -> None:
        self._metrics.trained(line)
        if line.note and line.stage != "failed":  # a failure is logged when the run is concluded
            level = logging.DEBUG if line.stage == "prepare" else logging.INFO
            if line.finding is not None:
                level = logging.WARNING
            _log.log(level, "run %s: %s: %s", self.name, line.stage, line.note)

    def _ending(self, ended: Ended) -> Ending:
        if self._bundle.is_dir():
            return Ending()
        last = self._lines[-1] if self._lines else None
        stage = last.stage if last is not None else None
        if ended.exit_status == DISK_FULL_STATUS or self._is_disk_full():
            return Ending(waits=f"there is no room left on the disk of {self.folder}", stage=stage)
        if last is not None and last.stage == "failed":
            return Ending(last.note)
        if ended.exit_status is None or ended.exit_status < 0:
            return Ending(killed=True, stage=stage)
        return Ending(f"the trainer ended with {ended.exit_status}: {log_tail(self.folder)}")

    def _is_disk_full(self) -> bool:
        """Whether there is so little space that the trainer could not have said why it ended."""
        return any(
            shutil.disk_usage(place).free < LEAST_FREE_BYTES
            for place in (self.folder, self._bundle.parent)
        )


def _order_with(folder: Path, training: Training) -> None:
    """Let a run go on with the present threads, device, memory and time, whatever it began with."""
    spec = RunSpec.read(folder)
    present = {name: getattr(training, name) for name in RUNNING}
    adapted = spec.training.model_copy(update=present)
    if adapted != spec.training:
        spec.model_copy(update={"training": adapted}).write(folder)

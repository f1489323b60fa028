"""Monitor of a trainer: start it on a run, follow its progress, and interpret its end."""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from livepick.config.setting import keys_with
from livepick.config.training_sections import Training
from livepick.core.contracts.progress import Progress, ProgressReader, Stage
from livepick.core.contracts.run import DISK_FULL_STATUS, RunSpec
from livepick.core.contracts.trainer import Activity, Ended, StartTrainer
from livepick.retraining.eta import forecast
from livepick.retraining.instruments import Instruments
from livepick.retraining.trainer_place import write_place
from livepick.retraining.trainer_process import TrainerProcess, log_tail

__all__ = ["Ending", "RunMonitor"]

LEAST_FREE_BYTES = 1_000_000
"""With less free space the disk counts as full, whatever reason the trainer gives for its end."""

STOPPED_SECONDS = 60.0
"""A trainer that has been stopped (SIGSTOP) for so long is killed, and started again."""

IDLE_SECONDS = 1800.0
"""A trainer that uses no processor for so long hangs; it is killed, and started again."""

LEAST_CPU_SECONDS = 1.0
"""Processor time that shows that a trainer works; one that waits uses less."""

SEEN_SECONDS = 90.0
"""Longest wait for the bundle of a trainer that has ended well. NFS caches for at most 60 s that a
folder is not there (``acdirmax``)."""

STEP_SECONDS = 10.0
"""Most that one turn adds to the time of a trainer; after a suspension much more has passed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """Outcome of a trainer."""

    fault: str | None = None
    """Reason for a missing model, for the operator; None if there is one, or one may follow."""
    killed: bool = False
    """True if it was killed, so that it can be resumed."""
    hung: str | None = None
    """Sign that it hung, if it was killed for that; None if others have killed it."""
    waits: str | None = None
    """Transient condition that it waits for before it is resumed; None if there is none."""
    stage: Stage | None = None
    """Stage in which it ended; None if it had not reported one."""
    lost: str = ""
    """Reason why a worker of the cluster no longer runs it, if it can be resumed."""


class RunMonitor:
    """Starts the trainer of a run, or adopts the one that is already running there.

    Parameters
    ----------
    folder
        ``runs/NNNN``.
    models
        Folder in which its bundle will appear.
    training
        Training section of the config. Its ``live`` settings, such as threads and time limit,
        replace those of the run's specification.
    metrics
        Receives losses and findings.
    command
        The trainer program; tests pass their own.
    start
        Function that starts or adopts a trainer, here or on a worker of the cluster.

    Raises
    ------
    OSError
        No process can be started, or writing to the folder failed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        models: Path,
        training: Training,
        metrics: Instruments,
        command: tuple[str, ...] = (),
        start: StartTrainer = TrainerProcess.start_or_adopt,
    ) -> None:
        self.folder = folder
        self._bundle = models / folder.name
        self._limit_minutes = training.time_limit_minutes
        self._metrics = metrics
        self._progress = ProgressReader(folder)
        self._lines = self._progress.new()  # lines of an earlier trainer are in the log already
        self._said_before = len(self._lines)
        _update_live_settings(folder, training)
        write_place(folder, None)  # of a service that was killed
        self._trainer = start(folder, command, threads=training.threads)
        self._watch = _Watch()
        self._unseen_since: float | None = None
        metrics.training_is_running(running=True)
        metrics.training_at(forecast(self._lines, now=time.time()))

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.folder.name

    @property
    def has_progressed(self) -> bool:
        """True if the trainer has reported progress since it was started or adopted."""
        return len(self._lines) > self._said_before

    def step(self) -> Ending | None:
        """Process new progress; return how the trainer ended, or None while it runs."""
        ended = self._trainer.poll()  # before the progress, so that its last lines are not missed
        for line in self._progress.new():
            self._lines.append(line)
            self._report(line)
        if ended is not None and not self._is_unseen(ended):
            self._rest()
            return self._ending(ended)
        self._metrics.training_at(forecast(self._lines, now=time.time()))
        if (halt := self._watch.halt(self._trainer.activity())) is not None:
            _log.error("run %s: its trainer is killed: %s", self.name, halt)
            self._trainer.kill()
            self._rest()
            stage = self._lines[-1].stage if self._lines else None
            return Ending(killed=True, hung=halt, stage=stage)
        if self._watch.seconds > self._limit_minutes * 60:
            self.end()
            return Ending(
                f"it took longer than {self._limit_minutes:g} minutes. Raise"
                " training.time_limit_minutes and training.generation, or train on fewer epochs"
            )
        return None

    def end(self) -> None:
        """Terminate the trainer; its finished stages are kept."""
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
            return Ending(waits=f"the disk of {self.folder} is full", stage=stage)
        if last is not None and last.stage == "failed":
            return Ending(last.note)
        if ended.lost:
            return Ending(lost=ended.lost, stage=stage)
        if ended.exit_status is None or ended.exit_status < 0:
            return Ending(killed=True, stage=stage)
        return Ending(f"the trainer ended with {ended.exit_status}: {log_tail(self.folder)}")

    def _is_unseen(self, ended: Ended) -> bool:
        """Return True while a bundle that another machine has published may not be seen yet.

        A network file system shows it late where its absence is cached.
        """
        if not ended.host or ended.exit_status != 0 or self._bundle.is_dir():
            return False
        now = time.monotonic()
        self._unseen_since = self._unseen_since or now
        return now - self._unseen_since < SEEN_SECONDS

    def _is_disk_full(self) -> bool:
        """Return True if the trainer had too little disk space to report why it ended."""
        return any(
            shutil.disk_usage(place).free < LEAST_FREE_BYTES
            for place in (self.folder, self._bundle.parent)
        )


class _Watch:
    """Time of a trainer, and whether it still works.

    Time is counted in turns, so that a suspension of the machine does not count.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._stopped_seconds = self._idle_seconds = 0.0
        self._used_seconds = 0.0
        self.seconds = 0.0
        """Time since the start of this trainer."""

    def halt(self, activity: Activity | None) -> str | None:
        """Return why the trainer will not continue by itself; None while it works.

        Parameters
        ----------
        activity
            Its activity now; None if that is unknown.
        """
        now = time.monotonic()
        elapsed_seconds, self._last = min(now - self._last, STEP_SECONDS), now
        if activity is not None and not activity.has_begun:
            return None
        self.seconds += elapsed_seconds
        if activity is None:
            return None
        self._stopped_seconds = (
            self._stopped_seconds + elapsed_seconds if activity.is_stopped else 0.0
        )
        if activity.cpu_seconds - self._used_seconds >= LEAST_CPU_SECONDS:
            self._used_seconds, self._idle_seconds = activity.cpu_seconds, 0.0
        else:
            self._idle_seconds += elapsed_seconds
        if self._stopped_seconds > STOPPED_SECONDS:
            return f"it has been stopped (SIGSTOP) for {STOPPED_SECONDS:g} s"
        if self._idle_seconds > IDLE_SECONDS:
            return f"it has done nothing for {IDLE_SECONDS / 60:g} minutes"
        return None


def _update_live_settings(folder: Path, training: Training) -> None:
    """Update a run's specification with the current ``live`` settings."""
    spec = RunSpec.read(folder)
    present = {name: getattr(training, name) for name in keys_with(Training, "live")}
    adapted = spec.training.model_copy(update=present)
    if adapted != spec.training:
        spec.model_copy(update={"training": adapted}).write(folder)

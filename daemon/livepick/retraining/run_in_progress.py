"""The run in progress: its trainer is restarted after a kill, and waits for disk or share.

A trainer that was killed, for example by the out-of-memory killer, is started again and resumes
where it was, unless it has been killed too often in one stage. So is one whose worker of the
cluster has left; a worker that is lost is not a kill, but may be its consequence, and a run that
loses one worker after the other in one stage fails as well. On a full disk, or while a watched
folder is not there, the run waits for any length of time, because the condition is transient.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from livepick.config.training_sections import Training
from livepick.core.contracts.progress import Stage
from livepick.core.contracts.trainer import StartTrainer
from livepick.ledger.session_rows import RunState
from livepick.retraining.instruments import Instruments
from livepick.retraining.run_monitor import Ending, RunMonitor
from livepick.retraining.trainer_process import TrainerProcess

__all__ = ["PAUSE_SECONDS", "RunInProgress"]

PAUSE_SECONDS = 30.0
"""Pause after writing to the state folder failed; a full disk is not fixed within seconds."""

RESTARTS = 5
"""Number of restarts of a trainer killed in the same stage, before the run counts as failed; and
of those of a trainer whose worker was lost."""

_log = logging.getLogger(__name__)


class RunInProgress:
    """The run whose trainer runs, or waits to be started again; there may be none.

    Parameters
    ----------
    models
        Folder in which the bundle of a run will appear.
    changed
        Called with the folder of a run, its state and the reason when they change.
    failed
        Called with the folder of a run that has failed, and the reason.
    away
        Function that returns which watched folder of a run's micrographs is not there now; None:
        all are there. A run that fails meanwhile waits, because they cannot be read.
    command
        The trainer program; tests pass their own.
    start
        Function that starts or adopts a trainer, here or on a worker of the cluster.
    """

    def __init__(
        self,
        models: Path,
        *,
        metrics: Instruments,
        changed: Callable[[Path, RunState, str], None],
        failed: Callable[[Path, str], None],
        away: Callable[[Path], str | None] = lambda _: None,
        command: tuple[str, ...] = (),
        start: StartTrainer = TrainerProcess.start_or_adopt,
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._changed = changed
        self._failed = failed
        self._away = away
        self._command = command
        self._start = start
        self._losses: dict[tuple[str, Stage | None], list[str]] = {}
        """Losses of workers, in words, by run and stage."""
        self._kills: dict[tuple[str, Stage | None], list[str | None]] = {}
        """Signs that trainers hung, by run and stage; None for those that others have killed."""
        self._monitor: RunMonitor | None = None
        self._waiting: Path | None = None
        self._waits_until = 0.0

    @property
    def is_training(self) -> bool:
        """True if a trainer runs."""
        return self._monitor is not None

    @property
    def is_waiting(self) -> bool:
        """True if the trainer is to be started again later."""
        return self._waiting is not None and time.monotonic() < self._waits_until

    def start(self, folder: Path, training: Training) -> None:
        """Start the trainer of a run, or adopt the one that is already running there.

        Raises
        ------
        OSError
            No process can be started, or writing to the folder failed.
        """
        self._monitor = RunMonitor(
            folder,
            models=self._models,
            training=training,
            metrics=self._metrics,
            command=self._command,
            start=self._start,
        )

    def resume_waiting(self, folder: Path | None) -> None:
        """Continue with a run that an earlier service left waiting; None: there is none."""
        self._waiting = folder

    def step(self) -> None:
        """Follow the trainer, and decide what to do when it has ended."""
        monitor = self._monitor
        if monitor is None:
            return
        ending = monitor.step()
        if self._waiting is not None and monitor.has_progressed:
            _log.info("run %s: continues", monitor.name)
            self._waiting = None
            self._changed(monitor.folder, "running", "")
        if ending is None:
            return
        self._monitor = None
        if ending.waits is not None:
            self._wait(monitor.folder, ending.waits)
            return
        self._waiting = None
        if ending.killed:
            self._start_again(monitor, ending)
        elif ending.lost:
            self._start_elsewhere(monitor, ending)
        elif ending.fault is not None and (why := self._away(monitor.folder)) is not None:
            self._wait(monitor.folder, why)
        elif ending.fault is not None:
            self._failed(monitor.folder, ending.fault)

    def end(self) -> Path | None:
        """End the run, which can be resumed, and return its folder; None if there is none."""
        monitor, self._monitor = self._monitor, None
        waiting, self._waiting = self._waiting, None
        if monitor is None:
            return waiting
        monitor.end()
        return monitor.folder

    def _wait(self, folder: Path, reason: str) -> None:
        """Wait before the run continues; log this only once, not at each try."""
        if self._waiting is None:
            _log.error("run %s: waits, and will continue by itself: %s", folder.name, reason)
            self._metrics.training_failed("trainer")
            self._changed(folder, "running", reason)
        self._waiting = folder
        self._waits_until = time.monotonic() + PAUSE_SECONDS

    def _start_again(self, monitor: RunMonitor, ending: Ending) -> None:
        """Let a killed trainer be started again, up to ``RESTARTS`` times in each stage."""
        kills = self._kills.setdefault((monitor.name, ending.stage), [])
        kills.append(ending.hung)
        if len(kills) > RESTARTS:
            self._failed(monitor.folder, _fault_of(kills, f"one stage ({_named(ending.stage)})"))
        else:
            _log.warning("run %s: the trainer was killed, and is started again", monitor.name)
            self._metrics.training_failed("trainer")

    def _start_elsewhere(self, monitor: RunMonitor, ending: Ending) -> None:
        """Let a run whose worker was lost continue, up to ``RESTARTS`` times in each stage."""
        losses = self._losses.setdefault((monitor.name, ending.stage), [])
        losses.append(ending.lost)
        if len(losses) > RESTARTS:
            self._failed(
                monitor.folder,
                f"its worker was lost {len(losses)} times in one stage ({_named(ending.stage)}),"
                f" the last time because {losses[-1]}. Check the memory and the time limits of"
                " the workers that take heavy jobs, or train on the service's machine"
                " (engine.heavy: local); then increase training.generation.",
            )
        else:
            _log.warning("run %s: %s; continues elsewhere", monitor.name, ending.lost)
            self._metrics.training_failed("trainer")


def _named(stage: Stage | None) -> str:
    return stage or "the first"


def _fault_of(kills: list[str | None], where: str) -> str:
    """Return why a run has failed whose trainer was killed too often, and what to do."""
    hung = [how for how in kills if how is not None]
    if not hung:
        return (
            f"the trainer was killed {len(kills)} times in {where}, as the system does when memory"
            " runs out. Free memory, or lower bootstrap.micrographs or training.minibatch_size,"
            " then increase training.generation."
        )
    others = len(kills) - len(hung)
    return (
        f"the trainer hung {len(hung)} times in {where}, the last time because {hung[-1]}"
        + (f", and was killed by others {others} times" if others else "")
        + ". Check that the disks of the state folder and of the micrographs respond, and the GPU;"
        " then increase training.generation."
    )

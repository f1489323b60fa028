"""Scheduling of training runs: when one is due, and how it ends.

A run is due when enough micrographs are picked and no bundle has the training fingerprint of the
config. Its state is in ``runs/NNNN``, ``models/NNNN`` and ``models/champion.json``, so that it can
be resumed after any kind of stop and after a change of the config:

* the current model was promoted for our fingerprint → nothing to do, whoever promoted it;
* there is a bundle with our fingerprint → it is used again if it was used before, otherwise the
  promotion gate judges it;
* there is a run folder with our fingerprint and no bundle, not failed → its training continues;
* none of these → a new run, once ``livepick.retraining.run_planner`` has enough to learn from.

Going back to an earlier config is the second case. A newer edit while a run is in progress ends
that run, which continues if the edit is undone.

A failed run does not affect picking. It is not tried again, because the same settings on the same
picks would fail again; ``training.generation`` requests another run.

This is one file because the cases above are decided in one place, by the same state.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.judgement import Judgement
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.core.contracts.trainer import StartTrainer
from livepick.errors import (
    EngineError,
    FolderAwayError,
    LedgerWriteError,
    LivepickError,
    ModelError,
    ProviderError,
    TrainerError,
)
from livepick.host.filesystem import away
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_rows import RunState
from livepick.models.bundle_on_disk import Bundle
from livepick.models.registry import Models
from livepick.retraining.fingerprints import drift_fingerprint, is_for_settings
from livepick.retraining.instruments import Instruments
from livepick.retraining.promoter import Promoter
from livepick.retraining.run_in_progress import PAUSE_SECONDS, RunInProgress
from livepick.retraining.run_planner import RunPlanner
from livepick.retraining.trainer_process import TrainerProcess
from livepick.retraining.trial_picking import Submit

__all__ = ["Scheduler"]

POLL_SECONDS = 1.0
"""Time between two checks of the ledger, the current model and the trainer."""

RunChanged = Callable[[int, str, RunState, str, Judgement | None], None]

_log = logging.getLogger(__name__)


class Scheduler:
    """The thread that trains.

    Parameters
    ----------
    config
        Config of the session.
    promoter
        Judges and promotes the models that are trained.
    ledger
        Read access to the picked micrographs and their picks.
    submit
        Function that submits a micrograph to the workers.
    run_changed
        Called with version, fingerprint, state, reason and judgement of a run when they change.
    particle_waits
        Returns why no run may begin until more is known about the particle; None if one may.
    command
        The trainer program; tests pass their own.
    start_trainer
        Function that starts or adopts a trainer, here or on a worker of the cluster.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        config: Config,
        *,
        models: Models,
        metrics: Instruments,
        promoter: Promoter,
        ledger: LedgerReader,
        submit: Submit,
        run_changed: RunChanged,
        particle_waits: Callable[[], str | None] = lambda: None,
        command: tuple[str, ...] = (),
        start_trainer: StartTrainer = TrainerProcess.start_or_adopt,
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._particle_waits = particle_waits
        self._unexpected = unexpected or UnexpectedErrors()
        self._models = models
        self._metrics = metrics
        self._promoter = promoter
        self._ledger = ledger
        self._submit = submit
        self._run_changed = run_changed
        self._run = RunInProgress(
            models.directory,
            metrics=metrics,
            changed=self._change,
            failed=self._fail,
            away=self._away,
            command=command,
            start=start_trainer,
        )
        runs = ledger.runs()
        self._states = {run.version: run.state for run in runs}
        self._has_adopted = False
        self._judge_at = float("-inf")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._wanted: Config | None = None
        self._drifted: str | None = None
        self._take(config)
        for run in runs:
            if run.state == "running" and is_for_settings(run.fingerprint, self._settings):
                self._plan_for(run.fingerprint)  # a run for drift stays one
                folder = self._folder / bundle_name(run.version)
                self._run.resume_waiting(folder if run.reason else None)

    # --- calls from any thread ---------------------------------------------------------------

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stop.set()

    @property
    def is_training(self) -> bool:
        """True while a trainer runs."""
        return self._run.is_training

    def use(self, config: Config) -> None:
        """Use another config from the next step on."""
        with self._lock:
            self._wanted = config

    def drifted(self, sentence: str) -> None:
        """Report that picks or micrographs have changed in character, so a run may be due."""
        with self._lock:
            self._drifted = sentence

    # --- the thread --------------------------------------------------------------------------

    def run(self) -> None:
        """Schedule and follow runs until ``stop``; then end the trainer, which can be resumed."""
        try:
            while not self._stop.is_set():
                pause = POLL_SECONDS
                try:
                    self.step()
                    self._unexpected.works("training")
                except EngineError as error:
                    _log.error("training waits for a worker: %s", error)
                    pause = PAUSE_SECONDS
                except (OSError, LedgerWriteError, ModelError, TrainerError) as error:
                    if isinstance(error, ProviderError):
                        raise
                    _log.error("training: reading or writing the state folder failed: %s", error)
                    self._metrics.training_failed("ledger")
                    pause = PAUSE_SECONDS
                except LivepickError:
                    raise
                except Exception as error:  # noqa: BLE001 - picking continues
                    self._unexpected.passed_over("training", "the next step of training", error)
                    self._metrics.training_failed("internal")
                    pause = PAUSE_SECONDS
                self._stop.wait(pause)
        finally:
            if self._run.is_training and (folder := self._run.end()) is not None:
                _log.info("run %s: stopped, resumes at the next start", folder.name)
                self._metrics.training_ended_as("stopped")

    def step(self) -> None:
        """Do the next thing that is due, if any."""
        self._take_wanted()
        self._promoter.follow_pointer()
        if not self._has_adopted:
            self._adopt_trainer()
            self._has_adopted = True
        if self._run.is_training:
            self._run.step()
            return
        if self._is_decided():
            return
        bundle = self._models.trained(self._fingerprint)
        if bundle is not None:
            self._consider(bundle)
            return
        if self._run.is_waiting:
            return
        folder = self._planner.open_run(self._closed())
        if folder is not None:
            self._start(folder)

    def _adopt_trainer(self) -> None:
        """Adopt the trainer that a killed service left behind, or end it if it is not wanted.

        It is adopted too if a person has promoted a model meanwhile: otherwise it would run on
        without anyone to watch its time and to end it with the service.
        """
        for run in self._ledger.runs():
            folder = self._folder / bundle_name(run.version)
            if run.state != "running" or not TrainerProcess.is_running(folder):
                continue
            self._run.start(folder, self._config.training)
            if is_for_settings(run.fingerprint, self._settings):
                return
            self._run.end()
            reason = "the config was edited while the service was down"
            _log.info("run %s: ended, %s", folder.name, reason)
            self._states[run.version] = "superseded"
            self._run_changed(run.version, run.fingerprint, "superseded", reason, None)

    # --- config ------------------------------------------------------------------------------

    def _take(self, config: Config) -> None:
        self._config = config
        self._promoter.use(config)
        self._settings = config.training_fingerprint()
        self._folder = config.state.directory / RUNS
        self._plan_for(self._settings)

    def _plan_for(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._planner = RunPlanner(
            self._config,
            models=self._models,
            metrics=self._metrics,
            ledger=self._ledger,
            submit=self._submit,
            particle_waits=self._particle_waits,
            fingerprint=fingerprint,
            latest=fingerprint != self._settings,
        )

    def _take_wanted(self) -> None:
        with self._lock:
            config, self._wanted = self._wanted, None
            drifted, self._drifted = self._drifted, None
        if config is not None:
            if config.training_fingerprint() == self._settings:
                fingerprint = self._fingerprint
                self._take(config)
                self._plan_for(fingerprint)
            else:
                self._supersede()
                self._take(config)
        if drifted and self._config.retrain.on_drift and self._is_decided():
            self._plan_for(
                drift_fingerprint(self._settings, [r.fingerprint for r in self._ledger.runs()])
            )
            _log.info("training: due with the latest micrographs: %s", drifted)

    def _supersede(self) -> None:
        """End the run in progress, because its model is no longer wanted."""
        folder = self._run.end()
        if folder is not None:
            reason = "the config was edited again while it ran"
            _log.info("run %s: ended, %s", folder.name, reason)
            self._metrics.training_ended_as("superseded")
            self._change(folder, "superseded", reason)

    def _is_decided(self) -> bool:
        """Return True if a model is chosen for this config: there is nothing to train or judge."""
        last = self._models.last_promotion()
        chosen = last is not None and last.fingerprint == self._settings
        return chosen and self._fingerprint == self._settings and not self._is_unrecorded()

    def _is_unrecorded(self) -> bool:
        """Return True if the service was killed between a promotion and its record."""
        return self._states.get(self._promoter.version) == "running"

    def _closed(self) -> set[int]:
        """Return the versions of runs that have ended and are not tried again."""
        return {v for v, state in self._states.items() if state in ("failed", "kept_aside")}

    # --- runs --------------------------------------------------------------------------------

    def _away(self, folder: Path) -> str | None:
        """Return which watched folder of a run's micrographs is not there now; None: none."""
        paths = [micrograph.path for micrograph in RunSpec.read(folder).micrographs]
        roots = self._config.watch.directories
        return away(root for root in roots if any(path.is_relative_to(root) for path in paths))

    def _start(self, folder: Path) -> None:
        if self._states.get(int(folder.name)) != "running":
            self._change(folder, "running")
        self._run.start(folder, self._config.training)

    def _fail(self, folder: Path, reason: str) -> None:
        _log.error(
            "run %s: failed, picking continues with the current model: %s", folder.name, reason
        )
        self._metrics.training_ended_as("failed")
        self._metrics.training_failed("trainer")
        self._change(folder, "failed", reason)
        self._plan_for(self._settings)

    def _change(
        self,
        folder: Path,
        state: RunState,
        reason: str = "",
        judgement: Judgement | None = None,
    ) -> None:
        version = int(folder.name)
        self._states[version] = state
        self._run_changed(version, self._fingerprint, state, reason, judgement)

    # --- new models --------------------------------------------------------------------------

    def _consider(self, bundle: Bundle) -> None:
        """Promote a bundle that was promoted before; judge one that is new."""
        folder = self._folder / bundle.path.name
        state = self._states.get(bundle.card.version)
        if self._promoter.version == bundle.card.version and state == "running":
            self._change(folder, "promoted")  # killed between the promotion and its record
        elif state == "promoted":
            self._promote(bundle, "the config went back to the settings that it was trained with")
        elif state not in ("failed", "kept_aside"):
            self._judge(bundle, folder)

    def _judge(self, bundle: Bundle, folder: Path) -> None:
        if time.monotonic() < self._judge_at:
            return
        for_drift = self._fingerprint != self._settings
        version, current = bundle.card.version, self._promoter.version
        try:
            judgement = self._promoter.judge(bundle, folder, for_drift=for_drift)
        except EngineError:
            raise  # not a fault of the model, which is tried again at the next start
        except FolderAwayError as error:
            if self._judge_at == float("-inf"):
                _log.error("run %s: waits to be judged: %s", folder.name, error)
                self._change(folder, "running", error.what)
            self._judge_at = time.monotonic() + PAUSE_SECONDS
            return
        except LivepickError as error:
            self._fail(folder, str(error))
            return
        self._judge_at = float("-inf")
        decision = judgement.decision
        if decision.promote:
            if not self._promote(bundle, f"compared with model {current}: {decision.sentence}"):
                return
        else:
            _log.warning(
                "model %d: kept aside, model %d stays in use: %s",
                version,
                current,
                decision.sentence,
            )
        state: RunState = "promoted" if decision.promote else "kept_aside"
        self._metrics.training_ended_as(state)
        self._change(folder, state, decision.sentence, judgement)
        self._plan_for(self._settings)

    def _promote(self, bundle: Bundle, why: str) -> bool:
        """Promote a bundle; return False if it is damaged, so that its run has failed."""
        try:
            self._promoter.promote(bundle, why)
        except ModelError as error:
            self._fail(self._folder / bundle.path.name, str(error))
            return False
        return True

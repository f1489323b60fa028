"""When a training run is due, and what becomes of it.

A run is due when enough micrographs are picked and no bundle has the training fingerprint of the
config. The folder ``runs/NNNN`` and the bundle ``models/NNNN`` say how far it is, so that a start
after any kind of end finds its place:

* a bundle with our fingerprint that does not pick yet → try it, promote it;
* a run folder with our fingerprint and no bundle, not failed → the trainer goes on in it;
* neither → a new run, once ``livepick.ordering`` has enough to learn from.

A failed run leaves picking as it was. It is not tried again, because the same settings on the same
picks fail again; ``training.generation`` asks for another. A trainer that was killed (by the
out-of-memory killer, say) is started again a few times, and goes on where it was.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from livepick.config import Config
from livepick.core.run import RUN, RUNS, Progress, RunSpec
from livepick.errors import EngineError, LedgerWriteError, LivepickError
from livepick.ledger import ReadLedger
from livepick.metrics import Metrics
from livepick.models import Bundle, Models
from livepick.ordering import Ordering
from livepick.records import RunState
from livepick.trainer_process import Ended, ProgressReader, TrainerProcess, last_progress, log_tail
from livepick.trial import Submit, try_model
from livepick.worker import Job

__all__ = ["Retrain"]

POLL_SECONDS = 1.0
"""Between two looks at the ledger, or at the trainer."""

PAUSE_SECONDS = 30.0
"""After the state folder could not be written: a full disk is not full of hurry."""

RESTARTS = 5
"""Of a trainer that was killed, before the run counts as failed."""

_log = logging.getLogger(__name__)


class Retrain:
    """The thread that trains.

    Parameters
    ----------
    ledger
        To look at: how many are picked, and what was picked in them.
    submit
        Gives a job to the workers, for the trial of a new model.
    promoted
        Called with a bundle once it is the champion.
    run_changed
        Called with version, fingerprint, state and reason of a run when they change.
    command
        The trainer program; tests bring their own.
    """

    def __init__(
        self,
        config: Config,
        *,
        models: Models,
        metrics: Metrics,
        ledger: ReadLedger,
        submit: Submit,
        promoted: Callable[[Bundle], None],
        run_changed: Callable[[int, str, RunState, str], None],
        command: tuple[str, ...] = (),
    ) -> None:
        self._config = config
        self._models = models
        self._metrics = metrics
        self._ledger = ledger
        self._submit = submit
        self._promoted = promoted
        self._run_changed = run_changed
        self._states = {run.version: run.state for run in ledger.runs()}
        self._command = command
        self._fingerprint = config.training_fingerprint()
        self._folder = config.state.directory / RUNS
        self._ordering = Ordering(
            config, models=models, metrics=metrics, ledger=ledger, submit=submit
        )
        self._trainer: TrainerProcess | None = None
        self._progress: ProgressReader | None = None
        self._started_at = 0.0
        self._restarts = 0
        self._drift = ""
        self._stop = threading.Event()

    def run(self) -> None:
        """Look, decide and follow until ``stop``; then end the trainer, which will resume."""
        try:
            while not self._stop.is_set():
                pause = POLL_SECONDS
                try:
                    self.step()
                except (OSError, LedgerWriteError) as error:
                    _log.error("training: the state folder cannot be used: %s", error)
                    self._metrics.error("train", "ledger")
                    pause = PAUSE_SECONDS
                self._stop.wait(pause)
        finally:
            if self._trainer is not None:
                _log.info("run %s: interrupted, resumes at the next start", self._name)
                self._trainer.end()
                self._metrics.training_running.set(0)
                self._metrics.training_runs.labels("stopped").inc()

    def stop(self) -> None:
        """Ask ``run`` to return; callable from any thread."""
        self._stop.set()

    def drifted(self, sentence: str) -> None:
        """Take note that the session is no longer what its model was promoted on."""
        self._drift = sentence

    def step(self) -> None:
        """Do the next thing that is due, if any."""
        if self._trainer is not None:
            self._follow(self._trainer)
            return
        bundle = self._models.trained(self._fingerprint)
        if bundle is not None:
            self._consider(bundle)
            return
        folder = self._open_run()
        if folder is not None:
            self._start(folder)

    # --- which run ---------------------------------------------------------------------------

    def _open_run(self) -> Path | None:
        """Return the run to go on with, made now if one is due; None if there is none."""
        failed = {version for version, state in self._states.items() if state == "failed"}
        return self._ordering.open_run(failed)

    # --- the trainer at work -----------------------------------------------------------------

    def _start(self, folder: Path) -> None:
        if self._states.get(int(folder.name)) != "running":
            self._change(folder, "running")
        self._progress = ProgressReader(folder)
        self._progress.new()  # what an earlier trainer said is in the log already
        self._trainer = TrainerProcess.on(
            folder, self._command, threads=self._config.training.threads
        )
        self._started_at = time.monotonic()
        self._metrics.training_running.set(1)

    def _follow(self, trainer: TrainerProcess) -> None:
        ended = trainer.poll()  # before the progress, so that its last words are not missed
        for line in self._progress.new() if self._progress else ():
            self._report(line)
        if ended is not None:
            self._trainer = None
            self._metrics.training_running.set(0)
            self._conclude(trainer.folder, ended)
        elif time.monotonic() - self._started_at > self._config.training.time_limit_minutes * 60:
            trainer.end()
            self._trainer = None
            self._metrics.training_running.set(0)
            self._fail(
                trainer.folder,
                f"it took longer than {self._config.training.time_limit_minutes:g} minutes. Raise"
                " training.time_limit_minutes and training.generation, or train on fewer epochs",
            )

    def _report(self, line: Progress) -> None:
        self._metrics.trained(line)
        if line.note and line.stage != "failed":  # a failure is logged when the run is concluded
            level = logging.DEBUG if line.stage == "prepare" else logging.INFO
            if line.finding is not None:
                level = logging.WARNING
            _log.log(level, "run %s: %s: %s", self._name, line.stage, line.note)

    def _conclude(self, folder: Path, ended: Ended) -> None:
        """Decide what the end of a trainer means."""
        if (self._models.directory / folder.name).is_dir():
            return  # the next step finds the bundle
        last = last_progress(folder)
        if last is not None and last.stage == "failed":
            self._fail(folder, last.note)
        elif ended.exit_status is None or ended.exit_status < 0:
            self._restarts += 1
            if self._restarts > RESTARTS:
                self._fail(
                    folder, f"the trainer was killed {self._restarts} times; is there memory"
                )
            else:
                _log.warning("run %s: the trainer was killed, it starts again", folder.name)
                self._metrics.error("train", "trainer")
        else:
            self._fail(folder, f"the trainer ended with {ended.exit_status}: {log_tail(folder)}")

    def _fail(self, folder: Path, reason: str) -> None:
        _log.error(
            "run %s: failed, picking goes on with the present model: %s", folder.name, reason
        )
        self._metrics.training_runs.labels("failed").inc()
        self._metrics.error("train", "trainer")
        self._change(folder, "failed", reason)

    def _change(self, folder: Path, state: RunState, reason: str = "") -> None:
        version = int(folder.name)
        self._states[version] = state
        self._run_changed(version, self._fingerprint, state, reason)

    @property
    def _name(self) -> str:
        return self._trainer.folder.name if self._trainer else "-"

    # --- the new model -----------------------------------------------------------------------

    def _consider(self, bundle: Bundle) -> None:
        """Promote a bundle with our fingerprint, unless it picks already or has failed."""
        version = bundle.card.version
        pointer = self._models.pointer()
        if pointer is not None and pointer.card.version == version:
            if self._states.get(version) == "running":  # killed between promotion and this
                self._change(self._folder / bundle.path.name, "promoted")
            return
        if self._states.get(version) in ("failed", "kept_aside"):
            return
        folder = self._folder / bundle.path.name
        try:
            if (folder / RUN).exists():  # else a bundle from elsewhere
                self._try(bundle, RunSpec.read(folder))
            promoted = self._models.promote(version)
        except EngineError:
            raise  # says nothing of the model, which is tried again at the next start
        except LivepickError as error:
            self._fail(folder, str(error))
            return
        _log.info(
            "model %d: promoted, threshold %.3f (%s)",
            version,
            bundle.card.threshold,
            bundle.card.threshold_source,
        )
        self._metrics.training_runs.labels("promoted").inc()
        self._change(folder, "promoted")
        self._promoted(promoted)

    def _try(self, bundle: Bundle, spec: RunSpec) -> None:
        """Let the workers pick held-out micrographs with the new model until one went well."""
        jobs = [
            Job(
                path=micrograph.path,
                version=None,
                bundle=bundle.path,
                device=self._config.picking.device,
                pixel_size_angstrom=self._config.micrograph.pixel_size_angstrom,
            )
            for micrograph in spec.micrographs
            if micrograph.held_out
        ]
        try_model(f"model {spec.version}", jobs, self._submit)

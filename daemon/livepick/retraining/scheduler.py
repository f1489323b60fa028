"""Scheduling of training runs: when one is due, how it ends, and which model is used.

A run is due when enough micrographs are picked and no bundle has the training fingerprint of the
config. Its state is in ``runs/NNNN``, ``models/NNNN`` and ``models/champion.json``, so that it can
be resumed after any kind of stop and after a change of the config:

* the champion was promoted for our fingerprint → nothing to do, whoever promoted it;
* there is a bundle with our fingerprint → it is used again if it was used before, otherwise it is
  judged by the gate;
* there is a run folder with our fingerprint and no bundle, not failed → its training continues;
* none of these → a new run, once ``livepick.retraining.run_planner`` has enough to learn from.

Going back to an earlier config is the second case. A newer edit while a run is in progress ends
that run, which continues if the edit is undone.

A failed run does not affect picking. It is not tried again, because the same settings on the same
picks would fail again; ``training.generation`` asks for another run. A trainer that was killed (for
example by the out-of-memory killer) is started again and resumes where it was, unless it has been
killed too often in one stage. On a full disk the run waits for any length of time, because the
condition is transient.

This thread notices a change of the champion within a second, whoever made it, and tests the model
on the workers before it tells the dispatch loop. If the model does not run, the change is undone.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from livepick.config.schema import Config
from livepick.config.sections import Device
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.progress import Stage
from livepick.core.contracts.run import RUNS
from livepick.errors import (
    EngineError,
    LedgerWriteError,
    LivepickError,
    ModelError,
    ProviderError,
)
from livepick.host.atomic_files import write_atomically
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import RunState
from livepick.models.registry import Bundle, Models
from livepick.retraining.fingerprints import drift_fingerprint, is_of
from livepick.retraining.instruments import Instruments
from livepick.retraining.promotion_gate import Compute, Gate, Judgement
from livepick.retraining.run_monitor import Following
from livepick.retraining.run_planner import Ordering
from livepick.retraining.trial_picking import TRIAL_SECONDS, Submit

__all__ = ["VERDICT", "Retrain"]

VERDICT = "verdict.json"
"""Name of the file with the gate's verdict in a run's folder. It is not in the bundle because a
bundle never changes."""

POLL_SECONDS = 1.0
"""Time between two checks of the ledger, the champion and the trainer."""

PAUSE_SECONDS = 30.0
"""Pause after writing to the state folder failed; a full disk is not fixed within seconds."""

RESTARTS = 5
"""Number of restarts of a trainer killed in the same stage, before the run counts as failed."""

Probe = Callable[[Path, Device], Future[str]]
RunChanged = Callable[[int, str, RunState, str, Mapping[str, Any]], None]

_log = logging.getLogger(__name__)


class Retrain:
    """The thread that trains.

    Parameters
    ----------
    serving
        The bundle in use at the start.
    ledger
        Read access to the picked micrographs and their picks.
    submit, compute
        Functions that submit micrographs and other work to the workers.
    probe
        Function that loads a bundle in a worker and returns the onnxruntime provider that runs it.
    promoted
        Called with a bundle, and the onnxruntime provider that runs it, when it comes into use.
    run_changed
        Called with version, fingerprint, state, reason and figures of a run when they change.
    command
        The trainer program; tests pass their own.
    """

    def __init__(
        self,
        config: Config,
        *,
        models: Models,
        metrics: Instruments,
        serving: Bundle,
        ledger: LedgerReader,
        submit: Submit,
        compute: Compute,
        probe: Probe,
        promoted: Callable[[Bundle, str], None],
        run_changed: RunChanged,
        command: tuple[str, ...] = (),
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._serving = serving
        self._ledger = ledger
        self._submit = submit
        self._compute = compute
        self._probe = probe
        self._promoted = promoted
        self._run_changed = run_changed
        self._command = command
        runs = ledger.runs()
        self._states = {run.version: run.state for run in runs}
        self._restarts: dict[tuple[str, Stage | None], int] = {}
        self._following: Following | None = None
        self._resting: Path | None = None
        self._rests_until = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._wanted: Config | None = None
        self._drifted: str | None = None
        self._take(config)
        for run in runs:
            if run.state == "running" and is_of(run.fingerprint, self._settings):
                self._order_as(run.fingerprint)  # a run for drift stays one
                self._resting = self._folder / bundle_name(run.version) if run.reason else None

    # --- calls from any thread ---------------------------------------------------------------

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stop.set()

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
                except (OSError, LedgerWriteError, ModelError) as error:
                    if isinstance(error, ProviderError):
                        raise
                    _log.error("training: the state folder cannot be used: %s", error)
                    self._metrics.training_failed("ledger")
                    pause = PAUSE_SECONDS
                self._stop.wait(pause)
        finally:
            if self._following is not None:
                _log.info("run %s: interrupted, resumes at the next start", self._following.name)
                self._following.end()
                self._metrics.training_ended_as("stopped")

    def step(self) -> None:
        """Do the next thing that is due, if any."""
        self._take_wanted()
        self._follow_pointer()
        if self._following is not None:
            self._follow(self._following)
            return
        if self._is_decided():
            return
        bundle = self._models.trained(self._fingerprint)
        if bundle is not None:
            self._consider(bundle)
            return
        if self._resting is not None and time.monotonic() < self._rests_until:
            return
        folder = self._ordering.open_run(self._closed())
        if folder is not None:
            self._start(folder)

    # --- config ------------------------------------------------------------------------------

    def _take(self, config: Config) -> None:
        self._config = config
        self._settings = config.training_fingerprint()
        self._folder = config.state.directory / RUNS
        self._order_as(self._settings)

    def _order_as(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._ordering = Ordering(
            self._config,
            models=self._models,
            metrics=self._metrics,
            ledger=self._ledger,
            submit=self._submit,
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
                self._order_as(fingerprint)
            else:
                self._supersede()
                self._take(config)
        if drifted and self._config.retrain.on_drift and self._is_decided():
            self._order_as(
                drift_fingerprint(self._settings, [r.fingerprint for r in self._ledger.runs()])
            )
            _log.info("training: due with the latest micrographs: %s", drifted)

    def _supersede(self) -> None:
        """End the run in progress, because its model is no longer wanted."""
        if self._following is not None:
            following, self._following = self._following, None
            following.end()
            self._set_aside(following.folder)
        elif self._resting is not None:
            self._set_aside(self._resting)
        self._resting = None

    def _set_aside(self, folder: Path) -> None:
        reason = "the config was edited again while it ran"
        _log.info("run %s: ended, %s", folder.name, reason)
        self._metrics.training_ended_as("superseded")
        self._change(folder, "superseded", reason)

    def _is_decided(self) -> bool:
        """Return True if a model is chosen for this config: there is nothing to train or judge."""
        last = self._models.promotion()
        chosen = last is not None and last.fingerprint == self._settings
        return chosen and self._fingerprint == self._settings and not self._is_unrecorded()

    def _is_unrecorded(self) -> bool:
        """Return True if the service was killed between a promotion and its record."""
        return self._states.get(self._serving.card.version) == "running"

    def _closed(self) -> set[int]:
        """Return the versions of runs that have ended and are not tried again."""
        return {v for v, state in self._states.items() if state in ("failed", "kept_aside")}

    # --- the running trainer -----------------------------------------------------------------

    def _start(self, folder: Path) -> None:
        if self._states.get(int(folder.name)) != "running":
            self._change(folder, "running")
        self._following = Following(
            folder,
            models=self._models.directory,
            training=self._config.training,
            metrics=self._metrics,
            command=self._command,
        )

    def _follow(self, following: Following) -> None:
        ending = following.step()
        if self._resting is not None and following.gets_on:
            _log.info("run %s: goes on", following.name)
            self._resting = None
            self._change(following.folder, "running")
        if ending is None:
            return
        self._following = None
        if ending.waits is not None:
            self._rest(following.folder, ending.waits)
            return
        self._resting = None
        if ending.killed:
            self._start_again(following, ending.stage)
        elif ending.fault is not None:
            self._fail(following.folder, ending.fault)

    def _rest(self, folder: Path, reason: str) -> None:
        """Pause a run; log this only once, not at each try."""
        if self._resting is None:
            _log.error("run %s: waits, and goes on by itself: %s", folder.name, reason)
            self._metrics.training_failed("trainer")
            self._change(folder, "running", reason)
        self._resting = folder
        self._rests_until = time.monotonic() + PAUSE_SECONDS

    def _start_again(self, following: Following, stage: Stage | None) -> None:
        """Restart a killed trainer, up to ``RESTARTS`` times in each stage."""
        key = (following.name, stage)
        count = self._restarts[key] = self._restarts.get(key, 0) + 1
        if count > RESTARTS:
            self._fail(
                following.folder,
                f"the trainer was killed {count} times in one stage, {stage or 'the first'}, as"
                " the system does when memory runs out. Free memory, or lower"
                " bootstrap.micrographs or training.minibatch_size, then raise"
                " training.generation.",
            )
        else:
            _log.warning("run %s: the trainer was killed, it starts again", following.name)
            self._metrics.training_failed("trainer")

    def _fail(self, folder: Path, reason: str) -> None:
        _log.error(
            "run %s: failed, picking goes on with the present model: %s", folder.name, reason
        )
        self._metrics.training_ended_as("failed")
        self._metrics.training_failed("trainer")
        self._change(folder, "failed", reason)
        self._order_as(self._settings)

    def _change(
        self,
        folder: Path,
        state: RunState,
        reason: str = "",
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        version = int(folder.name)
        self._states[version] = state
        self._run_changed(version, self._fingerprint, state, reason, figures or {})

    # --- the gate ----------------------------------------------------------------------------

    def _consider(self, bundle: Bundle) -> None:
        """Promote a bundle that was promoted before; judge one that is new."""
        folder = self._folder / bundle.path.name
        state = self._states.get(bundle.card.version)
        if self._serving.card.version == bundle.card.version and state == "running":
            self._change(folder, "promoted")  # killed between the promotion and its record
        elif state == "promoted":
            why = "the config went back to the settings that it was trained with"
            try:
                self._promote(bundle, why)
            except ModelError as error:  # damaged since
                self._fail(folder, str(error))
        elif state not in ("failed", "kept_aside"):
            self._judge(bundle, folder)

    def _judge(self, bundle: Bundle, folder: Path) -> None:
        gate = Gate(self._config, self._submit, self._compute)
        for_drift = self._fingerprint != self._settings
        try:
            judgement = gate.judge(bundle, self._serving, asked=not for_drift, now=for_drift)
        except EngineError:
            raise  # not a fault of the model, which is tried again at the next start
        except LivepickError as error:
            self._fail(folder, str(error))
            return
        self._metrics.judged(judgement.comparison)
        if folder.is_dir():
            write_atomically(folder / VERDICT, _judgements.dump_json(judgement, indent=1))
        verdict = judgement.verdict
        figures: dict[str, Any] = {"verdict": _judgements.dump_python(judgement, mode="json")}
        version, champion = bundle.card.version, self._serving.card.version
        if verdict.promote:
            try:
                self._promote(bundle, f"against model {champion}: {verdict.sentence}")
            except ModelError as error:  # damaged since it was tried
                self._fail(folder, str(error))
                return
            self._metrics.training_ended_as("promoted")
            self._change(folder, "promoted", verdict.sentence, figures)
        else:
            _log.warning(
                "model %d: kept aside, model %d goes on: %s", version, champion, verdict.sentence
            )
            self._metrics.training_ended_as("kept_aside")
            self._change(folder, "kept_aside", verdict.sentence, figures)
        self._order_as(self._settings)

    def _promote(self, bundle: Bundle, why: str) -> None:
        card = bundle.card
        self._models.promote(
            card.version,
            by="service",
            why=why,
            fingerprint=self._settings,
            session=self._config.session.name,
        )
        _log.info(
            "model %d: promoted, threshold %.3f (%s): %s",
            card.version,
            card.threshold,
            card.threshold_source,
            why,
        )
        self._follow_pointer()

    # --- the model in use --------------------------------------------------------------------

    def _follow_pointer(self) -> None:
        """Switch to the champion if it is not in use yet and the workers can run it."""
        champion = self._models.champion(self._config)
        before = self._serving
        if champion.card.version == before.card.version:
            return
        try:
            probed = self._probe(champion.path, self._config.picking.device)
            provider = probed.result(TRIAL_SECONDS)
        except (ProviderError, EngineError):
            raise  # not the model's fault
        except (ModelError, TimeoutError) as error:
            why = f"model {champion.card.version} does not run: {error}"
            _log.error("model %d: goes on, %s", before.card.version, why)
            self._metrics.training_failed(ModelError.reason)
            self._models.promote(
                before.card.version,
                by="service",
                why=why,
                fingerprint=self._settings,
                session=self._config.session.name,
                rollback=True,
            )
            return
        self._serving = champion
        self._promoted(champion, provider)


_judgements = TypeAdapter(Judgement)

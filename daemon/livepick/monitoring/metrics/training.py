"""Metrics of training, of the model in use, and of its drift."""

import time
from typing import get_args

from livepick.core.contracts.progress import FindingKind, Progress, Stage
from livepick.core.evaluation.drift_test import DRIFT_FIGURES, DRIFT_KINDS, Drift
from livepick.core.evaluation.model_comparison import Comparison
from livepick.monitoring.metrics.instruments import ErrorCounter, InstrumentFactory
from livepick.retraining.eta import RunProgress

__all__ = ["TrainingMetrics"]

STAGES = tuple(stage for stage in get_args(Stage) if stage not in ("done", "failed"))
RESULTS = ("promoted", "kept_aside", "failed", "superseded", "stopped")
COMPARED = ("candidate", "champion")
"""The new model and the current one, at the promotion gate."""
FINDINGS: tuple[str, ...] = get_args(FindingKind)


class TrainingMetrics:
    """Training runs, the promotion gate, the model in use and its drift.

    Parameters
    ----------
    make
        Creates the instruments.
    errors
        Counts errors of training with all others.
    """

    def __init__(self, make: InstrumentFactory, errors: ErrorCounter) -> None:
        self._errors = errors
        self._make_runs(make)
        self._make_learning(make)
        self._make_model(make)

    def _make_runs(self, make: InstrumentFactory) -> None:
        self._running = make.gauge("training_running", "Is a training run in progress?")
        self._stage = make.gauge(
            "training_stage", "What is the run doing? 1 for the current stage.", stage=STAGES
        )
        self._stage_done = make.gauge(
            "training_stage_done_ratio", "How far is the stage? 0 if it does not count its steps."
        )
        self._expected_end = make.gauge(
            "training_expected_end_timestamp_seconds",
            "When will the run end, at the pace of its epochs? 0 if it is not known.",
        )
        self._runs = make.counter(
            "training_runs", "Training runs that ended, by result.", result=RESULTS
        )
        self._ended = make.gauge(
            "training_ended_timestamp_seconds",
            "When did a run last end with this result?",
            result=RESULTS,
        )

    def _make_learning(self, make: InstrumentFactory) -> None:
        self._training_loss = make.gauge(
            "training_loss", "How well does it learn? Training loss of the last epoch."
        )
        self._validation_loss = make.gauge(
            "training_validation_loss", "And on held-out micrographs? Validation loss."
        )
        self._training_accuracy = make.gauge(
            "training_accuracy",
            "Does it tell particles from background? Mean of the fractions of particle pixels and"
            " of background pixels that are right.",
        )
        self._validation_accuracy = make.gauge(
            "training_validation_accuracy",
            "And on held-out micrographs? A model that finds nothing has 0.5.",
        )
        self._findings = make.counter(
            "training_findings", "What do the learning curves show to be wrong?", finding=FINDINGS
        )
        self._reruns = make.counter(
            "training_reruns", "Trainings repeated with the remedy of a finding."
        )

    def _make_model(self, make: InstrumentFactory) -> None:
        self._average_precision = make.gauge(
            "gate_average_precision",
            "Was the last new model better? Average precision of both models on held-out"
            " micrographs, at the promotion gate.",
            model=COMPARED,
        )
        self._precision = make.gauge(
            "gate_precision",
            "And with as many picks as the current model writes? Precision of both models.",
            model=COMPARED,
        )
        self._model = make.gauge("model_info", "Which model picks?", version=(), kind=())
        self._promoted = make.gauge(
            "model_promoted_timestamp_seconds", "Since when does this model pick?"
        )
        self._model_usable = make.gauge(
            "model_usable",
            "Can the model that should pick be used? 0: an earlier one or the blob picker picks.",
        )
        self._model_usable.set(1)
        self._drift_score = make.gauge(
            "drift_score",
            "Is the session still like the data that the model was promoted on? Size of the change"
            " in the last micrographs; from 1 on it matters.",
            figure=DRIFT_FIGURES,
        )
        self._score_drift_psi = make.gauge(
            "score_drift_psi",
            "Are the scores distributed as before? Population stability index of the last"
            " micrographs; 0.25 above chance is a finding. 0 until there are enough of them.",
        )
        self._drift_active = make.gauge(
            "drift_active",
            "Which change in the last micrographs is not due to chance?",
            finding=DRIFT_KINDS,
        )

    # --- runs -----------------------------------------------------------------------------------

    def training_is_running(self, *, running: bool) -> None:
        """Set whether a run is in progress."""
        self._running.set(running)

    def training_at(self, progress: RunProgress | None) -> None:
        """Set the progress of the current run; None: no run, or no progress reported yet."""
        for stage in STAGES:
            self._stage.labels(stage).set(progress is not None and progress.stage == stage)
        self._stage_done.set(progress.fraction if progress is not None else 0)
        ends_at = progress.ends_at if progress is not None else None
        self._expected_end.set(ends_at or 0)

    def trained(self, line: Progress) -> None:
        """Update losses, accuracies, findings and reruns from a line of the trainer's progress."""
        for gauge, value in (
            (self._training_loss, line.training_loss),
            (self._validation_loss, line.validation_loss),
            (self._training_accuracy, line.training_accuracy),
            (self._validation_accuracy, line.validation_accuracy),
        ):
            if value is not None:
                gauge.set(value)
        if line.finding is not None:
            self._findings.labels(line.finding).inc()
        if line.rerun:
            self._reruns.inc()

    def training_ended_as(self, result: str) -> None:
        """Count a run that has ended, and set the time of its end."""
        self._runs.labels(result).inc()
        self._ended.labels(result).set(time.time())

    def ended_before(self, result: str, ended_at: float) -> None:
        """Set the end of a run before this start of the service; it is not counted again."""
        self._ended.labels(result).set(ended_at)

    def training_failed(self, reason: str) -> None:
        """Count a training error."""
        self._errors.count("train", reason)

    # --- models ---------------------------------------------------------------------------------

    def judged(self, comparison: Comparison | None) -> None:
        """Set the gate's figures of the new model and of the current one; None changes nothing."""
        if comparison is None:
            return
        for gauge, figure in (
            (self._average_precision, comparison.average_precision),
            (self._precision, comparison.precision),
        ):
            gauge.labels("candidate").set(figure.candidate)
            gauge.labels("champion").set(figure.current)

    def use_model(self, *, version: int, kind: str, promoted_at: float) -> None:
        """Set which model picks from now on; the series of the previous model is removed."""
        self._model.clear()
        self._model.labels(str(version), kind).set(1)
        self._promoted.set(promoted_at)

    def model_usable(self, usable: bool) -> None:  # noqa: FBT001 - one value
        """Set whether the model promoted last can be used."""
        self._model_usable.set(usable)

    def drifted(self, drift: Drift) -> None:
        """Set the drift of the last micrographs from the first that the model picked."""
        active = {change.kind for change in drift.changes}
        for figure in DRIFT_FIGURES:
            self._drift_score.labels(figure).set(drift.size(figure))
        self._score_drift_psi.set(drift.stability_index or 0.0)
        for kind in DRIFT_KINDS:
            self._drift_active.labels(kind).set(kind in active)

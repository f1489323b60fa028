"""Training state of the session's model, in words."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from livepick.config.schema import Config
from livepick.core.contracts.bundle import ModelCard, bundle_name
from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.run import RUNS
from livepick.ledger.rows import Counts
from livepick.ledger.session_rows import RunRow, run_in_progress
from livepick.monitoring.stage_names import STAGE_NAMES
from livepick.retraining.eta import RunProgress, forecast
from livepick.retraining.fingerprints import is_for_settings
from livepick.retraining.run_store import read_waiting
from livepick.retraining.trainer_place import TrainerPlace, read_place

__all__ = ["NOT_BEGUN", "TrainingStatus", "last_verdict", "training_status"]


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """Training state of the session's model."""

    state: Literal["collecting", "training", "trained", "failed", "kept_aside"]
    sentence: str
    version: int | None = None
    """Version of the run, once there is one."""
    progress: RunProgress | None = None
    """Progress of the current run, once its trainer has reported some."""
    waits: bool = False
    """True if the run is waiting; ``sentence`` says for what."""
    host: str = ""
    """Machine of the cluster that trains; empty for the service's machine, or if none trains."""


NOT_BEGUN = TrainingStatus("collecting", "The session has not begun.")


def training_status(
    config: Config, runs: Sequence[RunRow], model: ModelCard | None, counts: Counts
) -> TrainingStatus:
    """Return the training state of the session's model.

    Parameters
    ----------
    config
        Config of the session.
    runs
        All training runs, the latest first.
    model
        Model in use. None: it is not known.
    counts
        Micrographs by state.
    """
    fingerprint = config.training_fingerprint()
    ours = [run for run in runs if is_for_settings(run.fingerprint, fingerprint)]
    under_way = run_in_progress(ours)
    fits = model is not None and is_for_settings(model.fingerprint, fingerprint)
    if model is not None and model.kind == "trained" and fits and under_way is None:
        return TrainingStatus(
            "trained", f"Model {model.version} was trained on this sample.", model.version
        )
    run = under_way or next(iter(ours), None)
    return _collecting(config, fingerprint, counts) if run is None else _of_run(config, run)


def _collecting(config: Config, fingerprint: str, counts: Counts) -> TrainingStatus:
    waiting = read_waiting(config.state.directory / RUNS)
    if waiting is not None and waiting.fingerprint == fingerprint:
        return TrainingStatus("collecting", waiting.sentence)
    ready, wanted = counts.picked, config.bootstrap.micrographs
    return TrainingStatus(
        "collecting", f"Training starts when {wanted} micrographs are picked; {ready} are picked."
    )


def _of_run(config: Config, run: RunRow) -> TrainingStatus:
    name = f"Run {bundle_name(run.version)}"
    match run.state:
        case "failed":
            sentence = f"{name} failed: {run.reason.rstrip('.')}. Picking continues without it."
            return TrainingStatus("failed", sentence, run.version)
        case "kept_aside":
            sentence = f"The model of {name[0].lower()}{name[1:]} was not promoted: {run.reason}."
            return TrainingStatus("kept_aside", sentence, run.version)
        case "promoted":
            sentence = f"{name} trained a model, but another model is in use."
            return TrainingStatus("trained", sentence, run.version)
        case "running" | "superseded":
            return _under_way(config, run, name)


def _under_way(config: Config, run: RunRow, name: str) -> TrainingStatus:
    now = time.time()
    folder = config.state.directory / RUNS / bundle_name(run.version)
    progress = forecast(ProgressReader(folder).new(), now=now)
    place = read_place(folder) or TrainerPlace()
    on_host = f"{place.host}: " if place.host else ""
    reason = run.reason or (f"{on_host}{place.waits}" if place.waits else "")
    if reason and run.state == "running":
        sentence = f"{name} is waiting and will continue by itself: {reason}."
        return TrainingStatus("training", sentence, run.version, progress, waits=True)
    on = f" on {place.host}" if place.host else ""
    if progress is None:
        return TrainingStatus("training", f"{name} is starting{on}.", run.version, host=place.host)
    parts = [f"{name}{on}: {STAGE_NAMES[progress.stage]}"]
    if progress.total:
        parts.append(f"{progress.done} of {progress.total}")
    if progress.training_loss is not None:
        parts.append(f"training loss {progress.training_loss:.4f}")
    if progress.validation_loss is not None:
        parts.append(f"held-out loss {progress.validation_loss:.4f}")
    if progress.ends_at is not None:
        parts.append(f"about {_duration(progress.ends_at - now)} left")
    return TrainingStatus(
        "training", f"{', '.join(parts)}.", run.version, progress, host=place.host
    )


def _duration(seconds: float) -> str:
    """Return a duration as text, rounded to the precision of the estimate."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def last_verdict(runs: Sequence[RunRow]) -> str:
    """Return the last result of the promotion gate as a sentence; empty before the first."""
    for run in runs:
        if run.judgement is not None:
            became = "was promoted over" if run.state == "promoted" else "was not promoted over"
            return f"Model {run.version} {became} model {run.judgement.current}: {run.reason}."
    return ""

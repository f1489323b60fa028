"""Where a session stands: read from the ledger and the folders, by the page and by the command.

Nothing here needs the service: what can be said while it runs can be said after it has ended.
"""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from livepick.config.schema import Config
from livepick.core.contracts.bundle import ModelCard, bundle_name, read_card
from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.run import RUNS
from livepick.core.contracts.training_report import TrainingFinding, read_findings
from livepick.core.evaluation.drift_test import Drift, DriftFinding
from livepick.core.imaging.quality_limits import VERDICTS, Verdict
from livepick.errors import ModelError
from livepick.host.disks import Disk
from livepick.ledger.rows import Counts, MicrographRow, RunRow
from livepick.ledger.writer import LEDGER, ReadLedger
from livepick.models.registry import MODELS
from livepick.monitoring.drift_monitor import read_drift
from livepick.monitoring.problem import Problem
from livepick.retraining.eta import RunProgress, forecast
from livepick.retraining.fingerprints import is_of
from livepick.retraining.run_store import read_waiting

__all__ = ["Status", "Training", "read_status"]

NEWEST = 20
FAILURES = 20
"""Rows on the page."""


@dataclass(frozen=True, slots=True)
class Training:
    """How far the trained model is."""

    state: Literal["collecting", "training", "trained", "failed", "kept_aside"]
    sentence: str
    version: int | None = None
    """Of the run, once there is one."""
    progress: RunProgress | None = None
    """Of the run under way, once its trainer has said something."""
    waits: bool = False
    """Whether it waits for something, which ``sentence`` names."""


@dataclass(frozen=True, slots=True)
class Row:
    """One micrograph, as it is shown."""

    name: str
    """Path below the watched folder."""
    state: str
    picks: int | None
    model_version: int | None
    landed_at: float
    reason: str
    error: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where a session stands."""

    session: str
    started: bool = False
    """False: there is no ledger yet."""
    counts: Counts = field(default_factory=Counts)
    particles: int = 0
    verdicts: Mapping[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    """Picked micrographs that are good, doubtful and bad."""
    model: ModelCard | None = None
    training: Training = Training("collecting", "The session has not begun.")
    findings: tuple[TrainingFinding, ...] = ()
    """On the training of the model that picks."""
    verdict: str = ""
    """What the gate last said, in a sentence; empty before it has."""
    newest: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    drift: tuple[DriftFinding, ...] = ()
    """How the last micrographs differ from the first that the model picked."""
    oldest_waiting_at: float | None = None
    """When the oldest micrograph without picks landed."""
    last_picked_at: float | None = None
    """When the last picks were written."""
    provider: str = ""
    """Only the running service knows this and what follows."""
    disks: tuple[Disk, ...] = ()
    """The room that the session's folders have, as far as they say."""
    problems: tuple[Problem, ...] = ()
    """What the operator should see first."""

    def as_json(self) -> dict[str, Any]:
        """Return what scripts rely on."""
        return {
            "session": self.session,
            "micrographs": {
                "queued": self.counts.queued,
                "picking": self.counts.picking,
                "picked": self.counts.picked,
                "failed": self.counts.failed,
                "stale": self.counts.stale,
            },
            "particles": self.particles,
            "quality": dict(self.verdicts),
            "model": (
                {"version": self.model.version, "kind": self.model.kind} if self.model else None
            ),
            "training": {
                "state": self.training.state,
                "version": self.training.version,
                "verdict": self.verdict,
                "progress": _as_json(self.training.progress),
                "findings": [
                    {"finding": f.kind, "evidence": f.evidence, "remedy": f.remedy}
                    for f in self.findings
                ],
            },
            "drift": [
                {"finding": f.kind, "evidence": f.evidence, "remedy": f.remedy} for f in self.drift
            ],
            "failures": [
                {
                    "micrograph": row.name,
                    "reason": row.reason,
                    "error": row.error,
                    "remedy": row.remedy,
                }
                for row in self.failures
            ],
        }


def read_status(
    config: Config, ledger: ReadLedger | None = None, *, drift: Drift | None = None
) -> Status:
    """Return where the session of ``config`` stands; zeros if it has not begun.

    Parameters
    ----------
    config
        Of the session.
    ledger
        An open one; without it the ledger of ``config`` is opened and closed.
    drift
        What the running service found; without it the ledger is asked.

    Raises
    ------
    LedgerError
        There is a ledger that cannot be read.
    """
    if ledger is not None:
        return _read(config, ledger, drift)
    path = config.state.directory / LEDGER
    if not path.is_file():
        return Status(session=config.session.name)
    opened = ReadLedger(path)
    try:
        return _read(config, opened, drift)
    finally:
        opened.close()


def _read(config: Config, ledger: ReadLedger, drift: Drift | None) -> Status:
    counts, runs = ledger.counts(), ledger.runs()
    in_use = ledger.model()
    model = None
    findings: tuple[TrainingFinding, ...] = ()
    if in_use is not None:
        path = config.state.directory / MODELS / bundle_name(in_use.version)
        with contextlib.suppress(ModelError):  # removed by hand; the service says so at its start
            model = read_card(path)
            findings = read_findings(path)
    return Status(
        session=config.session.name,
        started=True,
        counts=counts,
        particles=ledger.particles(),
        verdicts=ledger.verdicts(),
        model=model,
        training=_training(config, runs, model, counts),
        verdict=_verdict(runs),
        findings=findings,
        newest=[_row(row) for row in ledger.latest(NEWEST)],
        drift=(read_drift(ledger) if drift is None else drift).findings,
        failures=[_row(row) for row in ledger.recent(FAILURES, state="failed")],
        oldest_waiting_at=ledger.oldest_waiting_at(),
        last_picked_at=ledger.last_picked_at(),
    )


def _verdict(runs: Sequence[RunRow]) -> str:
    """Return what became of the last model that stood at the gate."""
    judged = (run for run in runs if run.figures.get("verdict") is not None)
    last = next(judged, None)
    if last is None:
        return ""
    became = "picks" if last.state == "promoted" else "was kept aside"
    champion = last.figures["verdict"]["champion"]
    return f"Model {last.version} {became}, against model {champion}: {last.reason}."


def _training(
    config: Config, runs: Sequence[RunRow], model: ModelCard | None, counts: Counts
) -> Training:
    fingerprint = config.training_fingerprint()
    ours = [run for run in runs if is_of(run.fingerprint, fingerprint)]
    under_way = next((run for run in ours if run.state == "running"), None)
    fits = model is not None and is_of(model.fingerprint, fingerprint)
    if model is not None and model.kind == "trained" and fits and under_way is None:
        return Training(
            "trained", f"Model {model.version} is trained on this sample.", model.version
        )
    run = under_way or next(iter(ours), None)
    return _collecting(config, fingerprint, counts) if run is None else _of_run(config, run)


def _collecting(config: Config, fingerprint: str, counts: Counts) -> Training:
    waiting = read_waiting(config.state.directory / RUNS)
    if waiting is not None and waiting.fingerprint == fingerprint:
        return Training("collecting", waiting.sentence)
    ready, wanted = counts.picked, config.bootstrap.micrographs
    return Training(
        "collecting", f"Training starts with {wanted} picked micrographs; {ready} are picked."
    )


def _of_run(config: Config, run: RunRow) -> Training:
    name = f"Run {bundle_name(run.version)}"
    match run.state:
        case "failed":
            sentence = f"{name} failed: {run.reason.rstrip('.')}. Picking goes on without it."
            return Training("failed", sentence, run.version)
        case "kept_aside":
            sentence = f"The model of {name[0].lower()}{name[1:]} is kept aside: {run.reason}."
            return Training("kept_aside", sentence, run.version)
        case "promoted":
            sentence = f"{name} has trained a model; another one was chosen to pick."
            return Training("trained", sentence, run.version)
        case "running" | "superseded":
            return _under_way(config, run, name)


def _under_way(config: Config, run: RunRow, name: str) -> Training:
    now = time.time()
    folder = config.state.directory / RUNS / bundle_name(run.version)
    progress = forecast(ProgressReader(folder).new(), now=now)
    if run.reason and run.state == "running":
        sentence = f"{name} waits, and goes on by itself: {run.reason}."
        return Training("training", sentence, run.version, progress, waits=True)
    if progress is None:
        return Training("training", f"{name} begins.", run.version)
    said = [f"{name}: {progress.stage}"]
    if progress.total:
        said.append(f"{progress.done} of {progress.total}")
    if progress.training_loss is not None:
        said.append(f"training loss {progress.training_loss:.4f}")
    if progress.validation_loss is not None:
        said.append(f"held-out loss {progress.validation_loss:.4f}")
    if progress.ends_at is not None:
        said.append(f"about {_duration(progress.ends_at - now)} to go")
    return Training("training", f"{', '.join(said)}.", run.version, progress)


def _duration(seconds: float) -> str:
    """Say a time as roughly as it is known."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _as_json(progress: RunProgress | None) -> dict[str, Any] | None:
    return None if progress is None else dataclasses.asdict(progress)


def _row(row: MicrographRow) -> Row:
    return Row(
        name=str(row.relative),
        state="due again" if row.stale else row.state,
        picks=row.pick_count,
        model_version=row.model_version,
        landed_at=row.landed_at,
        reason=row.reason or "",
        error=(row.error or "").rstrip("."),
        remedy=row.remedy or "",
    )

"""Status of a session, read from the ledger and the folders, for the page and the command.

Nothing here needs the service to be running, so the status can also be read after it has ended.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livepick.config.schema import Config
from livepick.core.contracts.bundle import ModelCard, bundle_name, read_card
from livepick.core.contracts.cluster_view import ClusterView
from livepick.core.contracts.finding import Finding
from livepick.core.contracts.particle_state import ParticleState
from livepick.core.contracts.training_report import read_findings
from livepick.core.evaluation.drift_test import Drift, DriftKind
from livepick.core.formats.header import printable
from livepick.core.formats.name_matching import short_names
from livepick.core.imaging.quality_limits import VERDICTS, QualityVerdict
from livepick.errors import ModelError
from livepick.host.disks import Disk
from livepick.ingest.skipped import SkippedView, added
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts, MicrographRow
from livepick.ledger.session_end import SessionEnd, read_session_end
from livepick.ledger.session_rows import SkippedFiles
from livepick.models.registry import MODELS
from livepick.monitoring.class_status import (
    ClassesStatus,
    classes_as_json,
    read_classes_status,
)
from livepick.monitoring.drift_findings import findings_of
from livepick.monitoring.drift_monitor import read_drift
from livepick.monitoring.particle_status import particle_sentence
from livepick.monitoring.problem import Problem
from livepick.monitoring.training_status import (
    NOT_BEGUN,
    TrainingStatus,
    last_verdict,
    training_status,
)
from livepick.retraining.eta import RunProgress

__all__ = ["Row", "Status", "read_status"]

NEWEST = 20
FAILURES = 20
"""Number of rows on the page."""


@dataclass(frozen=True, slots=True)
class Row:
    """One micrograph, as displayed."""

    name: str
    """Path relative to the watched folder, with the name of that if there are several."""
    state: str
    picks: int | None
    model_version: int | None
    landed_at: float
    reason: str
    error: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Status:
    """Status of a session."""

    session: str
    started: bool = False
    """True if the session has a ledger."""
    end: SessionEnd | None = None
    """End of the session; None if it is not over."""
    is_ending: bool = False
    """True if the session is to end, and what has landed is being picked."""
    counts: Counts = field(default_factory=Counts)
    particles: int = 0
    verdicts: Mapping[QualityVerdict, int] = field(
        default_factory=lambda: dict.fromkeys(VERDICTS, 0)
    )
    """Number of picked micrographs that are good, doubtful and bad."""
    particle: ParticleState | None = None
    """Size and contrast of the particle, as far as known; None before the first start."""
    model: ModelCard | None = None
    fixed_threshold: float | None = None
    """Threshold of ``picking.threshold``, which is used in place of the model's; None: ``auto``."""
    training: TrainingStatus = NOT_BEGUN
    findings: tuple[Finding[str], ...] = ()
    """Findings on the training of the current model."""
    verdict: str = ""
    """Last result of the promotion gate, as a sentence; empty before the first one."""
    newest: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    repicks_failed: int = 0
    """Number of picked micrographs that could not be picked again, and keep their picks."""
    repick_failures: list[Row] = field(default_factory=list)
    """The latest of them."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """Number of micrographs with a note of each kind (``core.formats.header.Note``)."""
    classes: ClassesStatus = field(default_factory=ClassesStatus)
    """Latest class averages of the newest picks."""
    drift: tuple[Finding[DriftKind], ...] = ()
    """Differences of the last micrographs from the first that the model picked."""
    oldest_waiting_at: float | None = None
    """Arrival of the oldest micrograph without picks, in unix seconds."""
    last_picked_at: float | None = None
    """Time when the last picks were written, in unix seconds."""
    skipped: tuple[SkippedFiles, ...] = ()
    """Files in the watched folders that look like micrographs and were left out."""
    provider: str = ""
    """onnxruntime provider. Only the running service sets this and the following fields."""
    awaited: tuple[Path, ...] = ()
    """Watched folders that have never been there, and may still be created."""
    disks: tuple[Disk, ...] = ()
    """Disk space of the session's folders, as far as it is known."""
    cluster: ClusterView | None = None
    """The Dask cluster that picks; None: the workers are on the service's machine."""
    problems: tuple[Problem, ...] = ()
    """Problems that the operator should see first."""

    @property
    def threshold(self) -> float | None:
        """Threshold in force; None without a model."""
        if self.model is None or self.fixed_threshold is not None:
            return self.fixed_threshold
        return self.model.threshold

    def as_json(self) -> dict[str, Any]:
        """Return the status as JSON-serializable values. Scripts rely on this format.

        This is one function so that the whole format is seen in one place.
        """
        return {
            "session": self.session,
            "session_end": None if self.end is None else self.end.as_json(),
            "session_ending": self.is_ending,
            "micrographs": {
                "queued": self.counts.queued,
                "picking": self.counts.picking,
                "picked": self.counts.picked,
                "failed": self.counts.failed,
                "stale": self.counts.stale,
            },
            "particles": self.particles,
            "quality": dict(self.verdicts),
            "particle": _particle_json(self.particle),
            "model": (
                {
                    "version": self.model.version,
                    "kind": self.model.kind,
                    "threshold": self.threshold,
                    "own_threshold": self.model.threshold,
                }
                if self.model
                else None
            ),
            "training": {
                "state": self.training.state,
                "version": self.training.version,
                "verdict": self.verdict,
                "progress": _as_json(self.training.progress),
                "host": self.training.host,
                "findings": [
                    {"finding": f.kind, "evidence": f.evidence, "remedy": f.remedy}
                    for f in self.findings
                ],
            },
            "class_averages": classes_as_json(self.classes),
            "drift": [
                {"finding": f.kind, "evidence": f.evidence, "remedy": f.remedy} for f in self.drift
            ],
            "failures": [_failure_json(row) for row in self.failures],
            "repicks_failed": self.repicks_failed,
            "notes": dict(self.notes),
            "repick_failures": [_failure_json(row) for row in self.repick_failures],
            "skipped": [
                {
                    "kind": files.kind,
                    "rule": files.rule,
                    "count": files.count,
                    "example": files.example,
                    "what": SkippedView.of(files).words,
                    "remedy": SkippedView.of(files).remedy,
                }
                for files in self.skipped
            ],
        }


def read_status(
    config: Config, ledger: LedgerReader | None = None, *, drift: Drift | None = None
) -> Status:
    """Return the status of the session of ``config``; all counts are 0 if it has not begun.

    Parameters
    ----------
    config
        Config of the session.
    ledger
        An open ledger. None: the ledger of ``config`` is opened and closed.
    drift
        Drift found by the running service. None: it is computed from the ledger.

    Raises
    ------
    LedgerError
        The ledger exists but cannot be read.
    """
    if ledger is not None:
        return _read(config, ledger, drift)
    path = config.state.directory / LEDGER
    if not path.is_file():
        return Status(session=config.session.name)
    with Database.read_only(path) as database:
        return _read(config, LedgerReader(database), drift)


def _read(config: Config, ledger: LedgerReader, drift: Drift | None) -> Status:
    totals, runs = ledger.totals(), ledger.runs()
    in_use = ledger.model()
    model = None
    findings: tuple[Finding[str], ...] = ()
    if in_use is not None:
        path = config.state.directory / MODELS / bundle_name(in_use.version)
        with contextlib.suppress(ModelError):  # removed by hand; the service reports it at start
            model = read_card(path)
            findings = read_findings(path)
    folders = [str(root) for root in ledger.roots()]
    roots = short_names(folders) if len(folders) > 1 else {}
    return Status(
        session=config.session.name,
        started=True,
        end=(end := read_session_end(config.state.directory, config.session.name)),
        is_ending=config.session.ended and end is None,
        counts=totals.counts,
        particles=totals.particles,
        verdicts=totals.verdicts,
        particle=ledger.particle(),
        model=model,
        fixed_threshold=config.picking.fixed_threshold,
        training=training_status(config, runs, model, totals.counts),
        verdict=last_verdict(runs),
        findings=findings,
        classes=read_classes_status(ledger),
        newest=[_row(row, roots) for row in ledger.latest(NEWEST)],
        drift=findings_of(read_drift(ledger) if drift is None else drift),
        failures=[_row(row, roots) for row in ledger.recent(FAILURES, state="failed")],
        repicks_failed=ledger.repick_failure_count(),
        notes=ledger.note_counts(),
        repick_failures=[_row(row, roots) for row in ledger.repick_failures(FAILURES)],
        oldest_waiting_at=ledger.oldest_waiting_at(),
        last_picked_at=ledger.last_picked_at(),
        skipped=_skipped(config, ledger),
    )


def _skipped(config: Config, ledger: LedgerReader) -> tuple[SkippedFiles, ...]:
    """Return what the last scans of the folders that are watched now have left out."""
    found = ledger.skipped()
    roots = map(printable, config.watch.directories)
    return added(files for root in roots for files in found.get(root, []))


def _particle_json(state: ParticleState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    guesses = {
        name: None if guess is None else dataclasses.asdict(guess)
        for name, guess in (("used", state.used), ("best", state.best), ("second", state.second))
    }
    return {
        "sentence": particle_sentence(state),
        "given_diameter_angstrom": state.given_angstrom,
        "given_contrast": state.given_contrast,
        **guesses,
        "settled": state.is_settled,
        "asking": state.is_asking,
        "contradiction": state.contradiction,
        "confidence": state.confidence,
        "micrographs": state.micrographs,
        "with_particles": state.voices,
        "left_out": state.left_out,
        "fault": state.fault,
    }


def _as_json(progress: RunProgress | None) -> dict[str, Any] | None:
    return None if progress is None else dataclasses.asdict(progress)


def _failure_json(row: Row) -> dict[str, str]:
    return {
        "micrograph": row.name,
        "reason": row.reason,
        "error": row.error,
        "remedy": row.remedy,
    }


def _row(row: MicrographRow, roots: Mapping[str, str]) -> Row:
    """Return a micrograph as displayed; its name begins with its watched folder's, if needed."""
    root = roots.get(str(row.root), "")
    return Row(
        name=f"{root}/{row.relative}" if root else str(row.relative),
        state="to be picked again" if row.stale else row.state,
        picks=row.pick_count,
        model_version=row.model_version,
        landed_at=row.landed_at,
        reason=row.reason or "",
        error=(row.error or "").rstrip("."),
        remedy=row.remedy or "",
    )

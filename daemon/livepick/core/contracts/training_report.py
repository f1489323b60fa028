"""Reader for a trained bundle's ``report.json``: its findings and figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepick.core.contracts.finding import Finding
from livepick.core.contracts.run import RunStart
from livepick.host.foreign_files import parse_json, read_bounded

__all__ = [
    "REPORT",
    "ClassVerdict",
    "Epoch",
    "HeldOutFigures",
    "read_classes",
    "read_epochs",
    "read_figures",
    "read_findings",
    "read_start",
]

REPORT = "report.json"

MOST_BYTES = 64 << 20
"""Largest report that is read."""

_NOT_A_REPORT = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""Errors that reading something else as a report raises."""


@dataclass(frozen=True, slots=True)
class HeldOutFigures:
    """Quality of a model at the end of its training, on micrographs that it never saw."""

    micrographs: int
    """Number of held-out micrographs."""
    seeds_from: str
    """One of ``SeedsFrom``, as in the run; empty if an older report does not say."""
    average_precision: float | None
    """Measured against the seeds there. This and the other figures are None if not defined."""
    best_f1: float | None
    precision_at_count: float | None
    """Precision among the best picks, as many as there are seeds."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One point of the learning curves."""

    training_loss: float
    validation_loss: float
    training_accuracy: float | None
    validation_accuracy: float | None


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """Decision on one 2D class of the seeds."""

    particles: int
    accepted: bool
    reason: str
    """Reason for the decision, in a few words."""
    overruled: bool
    """True if a person made the decision."""


def read_figures(bundle: Path) -> HeldOutFigures | None:
    """Return the figures in a bundle's report; None if there is no report or it has none."""
    try:
        report: dict[str, Any] = _report(bundle)
        figures: dict[str, Any] = report["figures"]
        values = [
            None if (value := figures[name]) is None else float(value)
            for name in ("average_precision", "best_f1", "precision_at_count")
        ]
        seeds_from = str(report.get("seeds", {}).get("from", ""))
        return HeldOutFigures(len(report["micrographs"]), seeds_from, *values)
    except _NOT_A_REPORT:
        return None


def read_start(bundle: Path) -> RunStart | None:
    """Return the weights that the training of ``bundle`` started from; None if from random ones."""
    try:
        return RunStart.model_validate(_report(bundle)["start"])
    except _NOT_A_REPORT:
        return None


def read_findings(bundle: Path) -> tuple[Finding[str], ...]:
    """Return the findings on the attempt whose weights are in ``bundle``.

    Their kinds are those of ``core.contracts.progress.FindingKind``, or of a later livepick.
    A bundle without a report (a blob picker), or whose report has no findings, has none.
    """
    try:
        entries: list[dict[str, Any]] = _report(bundle)["findings"]
        return tuple(
            Finding(
                kind=str(entry["kind"]),
                is_fault=bool(entry["is_fault"]),
                evidence=str(entry["evidence"]),
                remedy=str(entry["remedy"]),
            )
            for entry in entries
        )
    except _NOT_A_REPORT:
        return ()


def read_epochs(bundle: Path) -> tuple[Epoch, ...]:
    """Return the learning curves of the attempt whose weights are in ``bundle``; empty if none."""
    try:
        return tuple(
            Epoch(
                float(entry["training_loss"]),
                float(entry["validation_loss"]),
                _number(entry.get("training_accuracy")),
                _number(entry.get("validation_accuracy")),
            )
            for entry in _report(bundle)["epochs"]
        )
    except _NOT_A_REPORT:
        return ()


def read_classes(bundle: Path) -> tuple[ClassVerdict, ...]:
    """Return the verdicts on the 2D classes of a bundle's seeds; empty if there are none."""
    try:
        return tuple(
            ClassVerdict(
                int(entry["particles"]),
                bool(entry["accepted"]),
                str(entry["reason"]),
                bool(entry["overruled"]),
            )
            for entry in _report(bundle)["classes"]["classes"]
        )
    except _NOT_A_REPORT:
        return ()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _report(bundle: Path) -> Any:
    return parse_json(read_bounded(bundle / REPORT, limit_bytes=MOST_BYTES))

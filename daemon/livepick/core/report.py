"""What the daemon reads of a trained bundle's ``report.json``: the findings on its training."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["REPORT", "TrainingFinding", "read_findings"]

REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class TrainingFinding:
    """What the learning curves of a model say, in words."""

    kind: str
    """One of ``core.run.FindingKind``, or of a later livepick's."""
    is_fault: bool
    """Whether the model may be worse for it; else it is advice for the next training."""
    evidence: str
    remedy: str
    """In terms of the config's settings."""

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return f"{self.kind.replace('_', ' ').capitalize()}: {self.evidence}; {self.remedy}."


def read_findings(bundle: Path) -> tuple[TrainingFinding, ...]:
    """Return the findings on the attempt whose weights are in ``bundle``.

    A bundle without a report (a blob picker), or whose report knows of no findings, has none.
    """
    try:
        entries: list[dict[str, Any]] = json.loads((bundle / REPORT).read_bytes())["findings"]
        return tuple(
            TrainingFinding(
                str(entry["kind"]),
                bool(entry["is_fault"]),
                str(entry["evidence"]),
                str(entry["remedy"]),
            )
            for entry in entries
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ()

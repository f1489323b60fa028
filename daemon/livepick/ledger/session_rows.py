"""Training runs, the model in use and the session, as immutable values."""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from livepick.core.contracts.class_averages import ClassesOrder, ClassesResult, ViewState
from livepick.core.contracts.judgement import Judgement
from livepick.ledger.columns import Columns

__all__ = [
    "JUDGEMENT",
    "Called",
    "ClassAveragesRow",
    "ModelInUse",
    "ParticleEvidenceRow",
    "Rebuilt",
    "RunRow",
    "RunState",
    "Session",
    "SkippedFiles",
    "run_in_progress",
]

JUDGEMENT = "verdict"
"""Key of the judgement in the figures of a run."""

RunState = Literal["running", "promoted", "kept_aside", "failed", "superseded"]
"""``superseded``: ended by a newer edit of the config; continues if that edit is undone."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One training run."""

    version: int
    fingerprint: str
    state: RunState
    reason: str
    started_at: float
    ended_at: float | None
    judgement: Judgement | None = None
    """Judgement of the promotion gate. None: not judged, or by another version of livepick."""

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return the run that a row describes."""
        return cls(
            row["version"],
            row["fingerprint"],
            row["state"],
            row["reason"],
            row["started_at"],
            row["ended_at"],
            _judgement_of(row),
        )


def run_in_progress(runs: Iterable[RunRow]) -> RunRow | None:
    """Return the training run in progress; None if there is none."""
    return next((run for run in runs if run.state == "running"), None)


@dataclass(frozen=True, slots=True)
class Called:
    """Extent to which the program ``output.on_picked`` has been called."""

    until: float = 0.0
    """All calls for picks before this time, in unix seconds, have ended."""
    final: bool = False
    """True if it was told that the blob picker's picks are final."""


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """The model currently used for picking."""

    version: int
    kind: str
    since: float
    """Unix seconds."""
    particle: str = ""
    """Fingerprint of the particle that the model was made for."""


@dataclass(frozen=True, slots=True)
class ParticleEvidenceRow:
    """Evidence about the particle from one micrograph."""

    micrograph_id: int
    content: int
    """Content that was measured."""
    evidence: str | None
    """JSON of ``ParticleEvidence``; None: it could not be measured."""


@dataclass(frozen=True, slots=True)
class ClassAveragesRow:
    """Class averages that were made of the picks that were then the newest."""

    number: int
    """Number of their folder."""
    made_at: float
    """Unix seconds."""
    model_version: int
    """Model that made the picks; if there are several, one that is not in use any more."""
    first_id: int
    last_id: int
    micrographs: int
    """Number of micrographs that the particles are from."""
    particles: int
    good_particles: int
    """Particles in classes that show a particle."""
    classes: int
    good_classes: int
    view_state: ViewState
    view_fraction: float | None
    """Fraction of the good particles that show the largest view; None if unknown."""
    views: int
    """Number of views that can be told apart."""
    threshold: float | None = None
    """Threshold of the picks of the last micrograph; None if it was not recorded."""
    noise_particles: int = 0
    """Particles in classes that cannot be told from averages of noise."""
    diameter_angstrom: float | None = None
    """Diameter of the particle that they were made with; None if it was not recorded."""

    @classmethod
    def of(cls, number: int, order: ClassesOrder, result: ClassesResult) -> Self:
        """Return the row for a result."""
        return cls(
            number,
            result.made_at,
            order.model_version,
            order.first_id,
            order.last_id,
            result.micrographs,
            result.particles,
            result.good_particles,
            len(result.classes),
            result.good_classes,
            result.views.state,
            result.views.largest_fraction,
            result.views.views,
            order.threshold,
            result.noise_particles,
            order.particle.diameter_angstrom,
        )

    @property
    def good_fraction(self) -> float:
        """Fraction of the particles that are in good classes."""
        return self.good_particles / max(1, self.particles)

    @property
    def noise_fraction(self) -> float:
        """Fraction of the particles that are in classes like noise."""
        return self.noise_particles / max(1, self.particles)


@dataclass(frozen=True, slots=True)
class SkippedFiles:
    """Files that look like micrographs and were left out at the last scan of the folders."""

    kind: str
    """Why: one of a limited set of words."""
    count: int
    example: str
    """Path of one of them below the watched folder, printable."""
    rule: str = ""
    """Rule that left them out, in words; empty if the kind says it."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Replacement of a lost ledger by this one."""

    at: float
    """Unix seconds."""
    why: str
    """Fault of the other, as a clause."""
    aside: str = ""
    """Path of the file of the other; empty if there was none."""
    done: bool = False
    """True if everything in the output folder has been read back."""
    kept: int = 0
    """Number of micrographs that kept their picks."""
    left: int = 0
    """Number of micrographs that had picks and are picked anew."""


@dataclass(frozen=True, slots=True)
class Session:
    """The microscope session that this ledger belongs to."""

    name: str
    started_at: float
    """Unix seconds."""


def _judgement_of(row: Columns) -> Judgement | None:
    with contextlib.suppress(KeyError, TypeError, ValueError, RecursionError):
        return Judgement.from_json(json.loads(row["figures"])[JUDGEMENT])
    return None

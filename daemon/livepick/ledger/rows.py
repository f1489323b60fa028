"""Micrographs of the ledger as immutable values."""

import dataclasses
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple, Self, get_args

from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.header import printable
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import QualityVerdict
from livepick.errors import LivepickError
from livepick.ledger.columns import (
    Columns,
    ctf_of,
    place_of,
    quality_of,
    shape_of,
    version_of,
)

__all__ = [
    "CTF_OUTCOMES",
    "Arrival",
    "Claim",
    "Counts",
    "CtfOutcome",
    "CtfSource",
    "Failure",
    "Hourly",
    "MicrographRow",
    "MicrographState",
    "PickCount",
    "RecoveredPicks",
    "Totals",
]

MicrographState = Literal["queued", "picking", "picked", "failed"]

CtfSource = Literal["fitted", "program"]
"""Measured by livepick, or by another program."""

CtfOutcome = Literal["trusted", "not_trusted", "not_fitted", "failed"]
CTF_OUTCOMES: tuple[CtfOutcome, ...] = get_args(CtfOutcome)
"""Outcome of livepick's fit. ``not_fitted``: the pixels are too large, or the micrograph is too
small. ``failed``: the file could not be read, or its worker ended."""


class Arrival(Enum):
    """Classification of a file that landed, compared with what the ledger knows."""

    NEW = "new"
    """Never queued before."""
    CHANGED = "changed"
    """A known path with other content."""
    AGAIN = "again"
    """Content that failed for a transient reason; it is tried again."""
    KEPT = "kept"
    """Content that was to be picked again and cannot be; it keeps its picks."""
    KNOWN = "known"
    """Nothing new."""


class Failure(NamedTuple):
    """Reason why a file cannot be picked."""

    reason: str
    """``MicrographError.reason``."""
    error: str
    """Description of the problem."""
    remedy: str

    @classmethod
    def of(cls, error: LivepickError) -> Self:
        """Return the failure that an error describes."""
        return cls(error.reason, error.what, error.remedy)

    def printable(self) -> "Failure":
        """Return it with bytes that are not text escaped."""
        return Failure(*map(printable, self))


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to settle one micrograph: only the holder of the latest claim may do so."""

    id: int
    root: Path
    relative: Path
    version: FileVersion
    attempt: int
    """Fencing token: incremented with each claim and each new content."""
    landed_at: float
    """Unix seconds."""
    tries: int
    """Retryable errors that this content has had so far."""
    crashes: int
    """Number of workers in a row that it ended or occupied; if there are any, it runs alone."""
    interruptions: int
    """Number of times that its worker or the service was ended by something else."""
    last_reason: str | None
    """``LivepickError.reason`` of its last try; None if there was no error."""
    repick: bool
    """True if it already has picks of this content, by an older model."""

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return the claim that a row describes."""
        return cls(
            row["id"],
            *place_of(row),
            version_of(row),
            row["attempt"],
            float(row["landed_at"]),  # `returning` gives whole numbers as int
            row["tries"],
            row["crashes"],
            row["interruptions"],
            row["reason"],
            repick=row["picked_content"] == row["content"],
        )

    @property
    def path(self) -> Path:
        """Path of the micrograph."""
        return self.root / self.relative


@dataclass(frozen=True, slots=True)
class LateTry:
    """One more try of a micrograph that has failed, some time later."""

    tries: int
    """Tries so far, of the usual ones and of the late ones."""

    delay_seconds: float
    """Time until then."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Micrographs by state; each is counted once."""

    queued: int = 0
    """Waiting for their first picks."""
    picking: int = 0
    picked: int = 0
    failed: int = 0
    stale: int = 0
    """Micrographs with picks of an older model that are queued for the current one."""

    @property
    def total(self) -> int:
        """All micrographs ever seen."""
        return self.queued + self.picking + self.picked + self.failed + self.stale


class PickCount(NamedTuple):
    """Number of picks of one micrograph."""

    id: int
    model_version: int | None
    pick_count: int | None
    threshold: float | None
    """Lowest score of the picks."""


class Totals(NamedTuple):
    """Numbers of a session as a whole."""

    counts: Counts
    particles: int
    """Picks of all micrographs."""
    verdicts: dict[QualityVerdict, int]
    """Micrographs with picks that are good, doubtful and bad."""


@dataclass(frozen=True, slots=True)
class MicrographRow:
    """One micrograph, as the page and the status command show it."""

    id: int
    root: Path
    relative: Path
    version: FileVersion
    content: int
    landed_at: float
    state: MicrographState
    stale: bool
    """True if queued, with picks of this content by an older model."""
    attempt: int
    tries: int
    crashes: int
    interruptions: int
    changed_at: float
    reason: str | None
    error: str | None
    remedy: str | None
    picked_at: float | None
    model_version: int | None
    model_kind: str | None
    threshold: float | None
    pick_count: int | None
    pixel_size_angstrom: float | None
    shape_px: tuple[int, int] | None
    """Height and width."""
    provider: str | None
    quality: Quality | None = None
    """Quality figures. None without picks."""
    quality_verdict: QualityVerdict | None = None
    quality_reason: str | None = None
    """Why the verdict is not "good", in words; empty if it is."""
    notes: str | None = None
    """Oddities of a file that was read all the same, in words. None if there are none."""
    ctf: CtfFigures | None = None
    """CTF figures. None until they are fitted, or a CTF program has written them."""
    ctf_source: CtfSource | None = None
    """Who has measured the CTF figures. None: there are none."""
    ctf_outcome: CtfOutcome | None = None
    """Outcome of livepick's own fit. None: not tried yet."""
    ctf_score: float | None = None
    """Correlation of that fit with the spectrum, trusted or not. None: not fitted."""
    ctf_reason: str | None = None
    """Reason that there is no trusted fit, in words; None if there is one, or none was tried."""
    person_verdict: str | None = None
    """``excluded`` or ``included`` by a person. None: the figures decide."""

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return the micrograph that a row describes."""
        root, relative = place_of(row)
        made = {
            "root": root,
            "relative": relative,
            "version": version_of(row),
            "stale": row["state"] == "queued" and row["picked_content"] == row["content"],
            "shape_px": shape_of(row),
            "quality": quality_of(row),
            "ctf": ctf_of(row),
        }
        return cls(**made, **{name: row[name] for name in _AS_THEY_ARE})

    @property
    def path(self) -> Path:
        """Path of the micrograph."""
        return self.root / self.relative

    @property
    def median_score(self) -> float | None:
        """Median score of the picks; None if there are none."""
        return None if self.quality is None else self.quality.median_score

    @property
    def masked_fraction(self) -> float:
        """Fraction of the area excluded from picking, 0 to 1; 0 until it is known."""
        return 0.0 if self.quality is None else self.quality.masked_fraction


_AS_THEY_ARE = tuple(
    field.name
    for field in dataclasses.fields(MicrographRow)
    if field.name not in ("root", "relative", "version", "stale", "shape_px", "quality", "ctf")
)
"""Fields that a row has under the same name."""


@dataclass(frozen=True, slots=True, eq=False)
class RecoveredPicks:
    """A micrograph with the picks in its coordinates file, after the ledger was lost."""

    root: Path
    relative: Path
    version: FileVersion | None
    """None: the micrograph is not there any more."""
    picked_at: float
    """Unix seconds: when its coordinates file was written."""
    picks: Picks
    threshold: float
    model_version: int
    model_kind: str
    shape_px: tuple[int, int]
    pixel_size_angstrom: float
    quality: Quality
    ctf: CtfFigures | None
    verdict: QualityVerdict
    reason: str
    ctf_source: CtfSource = "program"
    """Who has measured the CTF figures, if there are any."""


@dataclass(frozen=True, slots=True)
class Hourly:
    """Totals over one hour."""

    landed: int
    picked: int
    picks: int

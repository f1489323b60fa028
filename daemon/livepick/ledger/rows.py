"""What the ledger gives out: its rows as values, and the words they are made of."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

from livepick.core.formats.micrograph import FileVersion
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import Verdict

__all__ = [
    "CTF_FIGURES",
    "QUALITY_FIGURES",
    "Arrival",
    "Claim",
    "Counts",
    "Hourly",
    "Measured",
    "MicrographRow",
    "ModelInUse",
    "Moment",
    "RunRow",
    "RunState",
    "Session",
    "State",
    "Visible",
    "ctf_of",
    "quality_of",
    "version_of",
]

State = Literal["queued", "picking", "picked", "failed"]
RunState = Literal["running", "promoted", "kept_aside", "failed", "superseded"]
"""``superseded``: ended for a newer edit of the config; goes on if the config goes back."""


QUALITY_FIGURES = tuple(field.name for field in dataclasses.fields(Quality))
CTF_FIGURES = tuple(field.name for field in dataclasses.fields(CtfFigures))
"""Columns of numbers that may be unknown."""


class Columns(Protocol):
    """A row of the ledger, by column."""

    def __getitem__(self, name: str, /) -> Any: ...


def version_of(row: Columns) -> FileVersion:
    """Return the content that a row is about."""
    return FileVersion(row["size_bytes"], row["mtime_ns"], row["inode"] % 2**64)


def _place_of(row: Columns) -> tuple[Path, Path]:
    return Path(row["root"]), Path(row["relative"])


def _shape_of(row: Columns) -> tuple[int, int] | None:
    return None if row["height_px"] is None else (row["height_px"], row["width_px"])


def quality_of(row: Columns) -> Quality | None:
    """Return what a row says of a micrograph's quality; None if it has no picks."""
    if row["masked_fraction"] is None:
        return None
    return Quality(*(row[name] for name in QUALITY_FIGURES))


def ctf_of(row: Columns) -> CtfFigures | None:
    """Return what another program has measured; None if nothing is known."""
    if row["defocus_u_angstrom"] is None:
        return None
    return CtfFigures(*(row[name] for name in CTF_FIGURES))


class Arrival(Enum):
    """What a file that landed is to the ledger."""

    NEW = "new"
    """Never queued before."""
    CHANGED = "changed"
    """A known path with other content."""
    AGAIN = "again"
    """The content that failed for a passing cause; it gets another go."""
    KNOWN = "known"
    """Nothing new."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to settle one micrograph: only the holder of the latest may."""

    id: int
    root: Path
    relative: Path
    version: FileVersion
    attempt: int
    """The fence: raised with each claim and each new content."""
    landed_at: float
    """Unix seconds."""
    tries: int
    """Retryable errors that this content has had so far."""
    crashes: int
    """Workers that died with it, one after the other."""
    repick: bool
    """Whether it has picks of this content already, by an older model."""

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return the claim that a row describes."""
        return cls(
            row["id"],
            *_place_of(row),
            version_of(row),
            row["attempt"],
            float(row["landed_at"]),  # `returning` gives whole numbers as int
            row["tries"],
            row["crashes"],
            repick=row["picked_content"] == row["content"],
        )

    @property
    def path(self) -> Path:
        """Where the micrograph is."""
        return self.root / self.relative


@dataclass(frozen=True, slots=True)
class Counts:
    """Micrographs by state; each is counted once."""

    queued: int = 0
    """Waiting for their first picks."""
    picking: int = 0
    picked: int = 0
    failed: int = 0
    stale: int = 0
    """Have picks of an older model and wait for those of the present one."""

    @property
    def total(self) -> int:
        """All micrographs ever seen."""
        return self.queued + self.picking + self.picked + self.failed + self.stale


@dataclass(frozen=True, slots=True)
class MicrographRow:
    """One micrograph, as the page and the status command show it."""

    id: int
    root: Path
    relative: Path
    version: FileVersion
    content: int
    landed_at: float
    state: State
    stale: bool
    """Queued, with picks of this content by an older model."""
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
    """None without picks."""
    quality_verdict: Verdict | None = None
    quality_reason: str | None = None
    """Why it is not good, in words; empty if it is."""
    ctf: CtfFigures | None = None
    """None until a CTF program has written them."""

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return the micrograph that a row describes."""
        root, relative = _place_of(row)
        made = {
            "root": root,
            "relative": relative,
            "version": version_of(row),
            "stale": row["state"] == "queued" and row["picked_content"] == row["content"],
            "shape_px": _shape_of(row),
            "quality": quality_of(row),
            "ctf": ctf_of(row),
        }
        as_they_are = {field.name for field in dataclasses.fields(cls)} - made.keys()
        return cls(**made, **{name: row[name] for name in as_they_are})

    @property
    def path(self) -> Path:
        """Where the micrograph is."""
        return self.root / self.relative

    @property
    def median_score(self) -> float | None:
        """Of the picks; None without any."""
        return None if self.quality is None else self.quality.median_score

    @property
    def masked_fraction(self) -> float:
        """Area taken out of picking, 0 to 1; 0 until it is known."""
        return 0.0 if self.quality is None else self.quality.masked_fraction


@dataclass(frozen=True, slots=True)
class Hourly:
    """What an hour has brought."""

    landed: int
    picked: int
    picks: int


class Moment(NamedTuple):
    """One micrograph in the course of a session; a tuple, for there are tens of thousands."""

    landed_at: float
    """Unix seconds."""
    pick_count: int
    median_score: float | None
    """None without a pick."""
    model_version: int


@dataclass(frozen=True, slots=True)
class Visible:
    """A micrograph whose coordinates are (to be) seen in the output folder."""

    id: int
    root: Path
    relative: Path
    threshold: float
    model_version: int
    model_kind: str

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return what a row lets be seen."""
        figures = (row["threshold"], row["model_version"], row["model_kind"])
        return cls(row["id"], *_place_of(row), *figures)


@dataclass(frozen=True, slots=True)
class Measured:
    """A picked micrograph as the session's table of figures has it."""

    root: Path
    relative: Path
    pick_count: int
    threshold: float
    model_version: int
    model_kind: str
    figures: tuple[float | None, ...]
    """As ``QUALITY_FIGURES``."""
    ctf: tuple[float | None, ...]
    """As ``CTF_FIGURES``."""
    verdict: Verdict
    reason: str

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return what a row lets be seen."""
        return cls(
            *_place_of(row),
            row["pick_count"],
            row["threshold"],
            row["model_version"],
            row["model_kind"],
            tuple(row[name] for name in QUALITY_FIGURES),
            tuple(row[name] for name in CTF_FIGURES),
            row["quality_verdict"],
            row["quality_reason"],
        )


@dataclass(frozen=True, slots=True)
class RunRow:
    """One training run."""

    version: int
    fingerprint: str
    state: RunState
    reason: str
    started_at: float
    ended_at: float | None
    figures: Mapping[str, Any]
    """What the run measured, by name."""

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
            json.loads(row["figures"]),
        )


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """The model that picks now."""

    version: int
    kind: str
    since: float
    """Unix seconds."""
    particle: str = ""
    """Fingerprint of the particle that it is for."""


@dataclass(frozen=True, slots=True)
class Session:
    """The microscope session that this ledger belongs to."""

    name: str
    started_at: float
    """Unix seconds."""

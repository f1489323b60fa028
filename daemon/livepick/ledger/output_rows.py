"""Micrographs of the ledger as the files in the output folder show them, as immutable values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from livepick.core.contracts.job import Result
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality_limits import QualityVerdict
from livepick.ledger.columns import CTF_FIGURES, QUALITY_FIGURES, Columns, place_of
from livepick.ledger.rows import CtfSource

__all__ = ["Measured", "MeasuredSummary", "Visible"]


@dataclass(frozen=True, slots=True)
class Visible:
    """A micrograph whose coordinates are in the output folder, or should be."""

    id: int
    root: Path
    relative: Path
    threshold: float
    model_version: int
    model_kind: str
    shape_px: tuple[int, int]
    pixel_size_angstrom: float
    verdict: QualityVerdict

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return the visible micrograph that a row describes."""
        return cls(
            row["id"],
            *place_of(row),
            row["threshold"],
            row["model_version"],
            row["model_kind"],
            (row["height_px"], row["width_px"]),
            row["pixel_size_angstrom"],
            row["quality_verdict"],
        )

    @classmethod
    def of_result(cls, root: Path, relative: Path, result: Result) -> Self:
        """Return a micrograph that a worker has just picked; it has no row and no verdict yet."""
        return cls(
            0,
            root,
            relative,
            result.threshold,
            result.model_version,
            result.model_kind,
            result.shape_px,
            result.pixel_size_angstrom,
            "good",
        )

    def micrograph(self, candidates: Picks, diameter_angstrom: float = 0.0) -> PickedMicrograph:
        """Return the micrograph with those of its candidates that count as picks."""
        return PickedMicrograph(
            self.root / self.relative,
            candidates.above(self.threshold),
            self.shape_px,
            self.pixel_size_angstrom,
            diameter_angstrom,
            self.model_version,
            self.model_kind,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """A picked micrograph as listed in the session's table of figures."""

    root: Path
    relative: Path
    pick_count: int
    threshold: float
    model_version: int
    model_kind: str
    pixel_size_angstrom: float
    figures: tuple[float | None, ...]
    """Quality figures, in the order of ``QUALITY_FIGURES``."""
    ctf: tuple[float | None, ...]
    """CTF figures, in the order of ``CTF_FIGURES``."""
    verdict: QualityVerdict
    reason: str
    ctf_source: CtfSource | None = None
    """Who has measured the CTF figures."""
    ctf_score: float | None = None
    """Correlation of livepick's fit; None if it made none."""

    @classmethod
    def of(cls, row: Columns) -> Self:
        """Return the measured micrograph that a row describes."""
        return cls(
            *place_of(row),
            row["pick_count"],
            row["threshold"],
            row["model_version"],
            row["model_kind"],
            row["pixel_size_angstrom"],
            tuple(row[name] for name in QUALITY_FIGURES),
            tuple(row[name] for name in CTF_FIGURES),
            row["quality_verdict"],
            row["quality_reason"],
            row["ctf_source"],
            row["ctf_score"],
        )

    @property
    def has_ctf(self) -> bool:
        """True if a defocus is known."""
        return self.ctf_source is not None

    @property
    def figure_of_merit(self) -> float | None:
        """Score of the fit that the CTF figures come from; None if another program made it."""
        return self.ctf_score if self.ctf_source == "fitted" else None


@dataclass(frozen=True, slots=True)
class MeasuredSummary:
    """Common properties of the micrographs in the session's table of figures."""

    last_id: int
    """Largest id."""
    pixel_sizes_angstrom: tuple[float, ...]
    """Each pixel size once, in the order in which the micrographs landed."""
    some_have_ctf: bool
    """True if a CTF figure of a micrograph is known."""
    all_have_ctf: bool
    """True if all CTF figures of all micrographs are known."""
    all_good_have_ctf: bool
    """True if those of all good micrographs are."""
    all_ctfs_have_resolution: bool
    """True if each CTF has the resolution to which it was fitted."""
    all_ctfs_are_fitted: bool
    """True if livepick has fitted each CTF."""

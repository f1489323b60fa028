"""Changes by a new model: both models' picks of the held-out micrographs, kept with the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from livepick.core.contracts.held_out_labels import Position
from livepick.core.contracts.job import Result
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.host.foreign_files import read_bounded

__all__ = [
    "BEFORE_AND_AFTER",
    "EXAMPLES",
    "BeforeAndAfter",
    "ModelPicks",
    "PickedByBoth",
    "PicksExample",
]

BEFORE_AND_AFTER = "before_and_after.json"
"""Name of the file in a run's folder."""

EXAMPLES = 3
"""Number of micrographs whose picks are kept."""

MOST_BYTES = 16 << 20
"""Largest file that is read."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class ModelPicks(_Record):
    """Picks of one model in all micrographs of the comparison, at its own threshold."""

    version: int
    picks_per_micrograph: float
    """Mean number of picks."""
    median_score: float | None
    """Median score of all picks; None without picks. Each model has its own scale of scores."""


class PicksExample(_Record):
    """Picks of both models in one micrograph."""

    path: Path
    version: FileVersion | None
    """Content that was picked; None if it is not known."""
    candidate_shared: list[Position]
    """Picks of the new model near one of the current model."""
    candidate_only: list[Position]
    """The other picks of the new model."""
    current_shared: list[Position]
    current_only: list[Position]


class BeforeAndAfter(_Record):
    """Picks of a new model and of the one before, in the held-out micrographs."""

    candidate: ModelPicks
    """The new model."""
    current: ModelPicks
    """The model that was in use."""
    micrographs: int
    """Number of micrographs that both models picked."""
    examples: list[PicksExample]
    """The micrographs that lose the most picks, that change as most do, and that gain the most."""

    @classmethod
    def of(cls, candidate: int, current: int, picked: Sequence["PickedByBoth"]) -> Self:
        """Return the comparison of two models, given by their versions, on some micrographs."""
        order = sorted(picked, key=lambda one: len(one.candidate_picks) - len(one.current_picks))
        ranks = np.unique(np.linspace(0, len(order) - 1, EXAMPLES).round().astype(int))
        return cls(
            candidate=_summary(candidate, [one.candidate_picks for one in picked]),
            current=_summary(current, [one.current_picks for one in picked]),
            micrographs=len(picked),
            examples=[_example(order[rank]) for rank in ranks],
        )

    @classmethod
    def read(cls, run: Path) -> Self | None:
        """Return the comparison in a run's folder; None if there is none that can be read."""
        try:
            data = read_bounded(run / BEFORE_AND_AFTER, limit_bytes=MOST_BYTES)
            return cls.model_validate_json(data)
        except (OSError, ValueError):
            return None

    def to_bytes(self) -> bytes:
        """Return the content of the run's file."""
        return self.model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class PickedByBoth:
    """Results of both models in one micrograph."""

    path: Path
    version: FileVersion | None
    """Content that was picked; None if it is not known."""
    radius_px: float
    """Largest distance of two picks of one particle, in pixels of the micrograph."""
    candidate: Result
    current: Result

    @property
    def candidate_picks(self) -> Picks:
        """Picks of the new model at its threshold."""
        return self.candidate.picks.above(self.candidate.threshold)

    @property
    def current_picks(self) -> Picks:
        """Picks of the current model at its threshold."""
        return self.current.picks.above(self.current.threshold)


def _summary(version: int, picks: Sequence[Picks]) -> ModelPicks:
    scores = np.concatenate([one.score for one in picks])
    return ModelPicks(
        version=version,
        picks_per_micrograph=len(scores) / len(picks),
        median_score=float(np.median(scores)) if len(scores) else None,
    )


def _example(one: PickedByBoth) -> PicksExample:
    new, old = one.candidate_picks, one.current_picks
    x_px, y_px = (np.subtract.outer(a, b) for a, b in ((new.x_px, old.x_px), (new.y_px, old.y_px)))
    is_near = np.hypot(x_px, y_px) <= one.radius_px
    in_old, in_new = is_near.any(axis=1), is_near.any(axis=0)
    return PicksExample(
        path=one.path,
        version=one.version,
        candidate_shared=_positions(new.where(np.flatnonzero(in_old))),
        candidate_only=_positions(new.where(np.flatnonzero(~in_old))),
        current_shared=_positions(old.where(np.flatnonzero(in_new))),
        current_only=_positions(old.where(np.flatnonzero(~in_new))),
    )


def _positions(picks: Picks) -> list[Position]:
    xy = np.column_stack([picks.x_px, picks.y_px]).astype(float)
    return [(round(x, 1), round(y, 1)) for x, y in xy.tolist()]

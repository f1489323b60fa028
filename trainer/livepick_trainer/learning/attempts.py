"""What was tried in a training, on disk: one file an attempt, and one of them all.

``attempt-N/`` holds an attempt's checkpoint until it is done, then its best weights and its
``attempt.json``; ``history.json`` is written once it is decided which attempt is kept.
A loss that is no number is the text ``NaN`` or ``Infinity`` in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter

from livepick.core.evaluation.matching import Figures
from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick_trainer.learning.curve_diagnosis import Finding, Settings
from livepick_trainer.learning.losses import LossScale
from livepick_trainer.learning.train import EpochFigures

__all__ = ["Attempt", "History"]

ATTEMPT, HISTORY = "attempt.json", "history.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One training from its first epoch to its last."""

    number: int
    """Counted from 1."""
    settings: Settings
    positive_weight: float
    """The class weight that it came to."""
    training_scale: LossScale
    held_out_scale: LossScale
    epochs: Sequence[EpochFigures]
    best_epoch: int | None
    """Whose weights were kept; None if no epoch's loss is a number."""
    findings: Sequence[Finding]
    """The most important first."""
    figures: Figures | None
    """Of the best weights on the held-out micrographs, against their seeds, in prepared
    pixels; None if there are no such weights."""

    @property
    def average_precision(self) -> float | None:
        """Of the best weights; what attempts are compared by."""
        return self.figures.average_precision if self.figures else None

    @property
    def fault(self) -> Finding | None:
        """The first finding that is worth a rerun."""
        return next((finding for finding in self.findings if finding.is_fault), None)

    def write(self, folder: Path) -> None:
        """Write ``attempt.json``, whole or not at all."""
        _write(folder / ATTEMPT, [self], _ATTEMPTS)

    @classmethod
    def read(cls, folder: Path) -> "Attempt | None":
        """Read ``attempt.json``; None if there is none; TrainerError if it is damaged."""
        return _read(folder / ATTEMPT, _ATTEMPTS)[0] if (folder / ATTEMPT).exists() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """All attempts of a training, in order."""

    attempts: Sequence[Attempt]
    kept: int
    """Number of the attempt whose weights are used."""
    why: str
    """Why that one, in a sentence."""

    @property
    def best(self) -> Attempt:
        """The attempt that is kept."""
        return self.attempts[self.kept - 1]

    def write(self, folder: Path) -> None:
        """Write ``history.json``, whole or not at all."""
        _write(folder / HISTORY, [self], _HISTORIES)

    @classmethod
    def read(cls, folder: Path) -> "History":
        """Read ``history.json``; TrainerError if it is missing or damaged."""
        return _read(folder / HISTORY, _HISTORIES)[0]


# In a list, because the types' own settings would overrule this one.
_STRICT_JSON = ConfigDict(ser_json_inf_nan="strings")
_ATTEMPTS = TypeAdapter(list[Attempt], config=_STRICT_JSON)
_HISTORIES = TypeAdapter(list[History], config=_STRICT_JSON)

_Record = TypeVar("_Record")


def _write(path: Path, entries: list[_Record], adapter: TypeAdapter[list[_Record]]) -> None:
    write_atomically(path, adapter.dump_json(entries, indent=1) + b"\n")


def _read(path: Path, adapter: TypeAdapter[list[_Record]]) -> list[_Record]:
    try:
        return adapter.validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainerError(
            f"{path} cannot be read: {error}",
            f"Remove the folder {path.parent}; its training then starts anew.",
        ) from error

"""Records of a training's attempts on disk: one file per attempt, and one for all of them.

``attempt-N/`` holds the checkpoint of an attempt while it is running, and afterwards its best
weights and its ``attempt.json``. ``history.json`` is written once the attempt to keep has been
chosen. In both files, a loss that is not finite is stored as the text ``NaN`` or ``Infinity``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter

from livepick.core.evaluation.matching import Figures
from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick_trainer.learning.attempt_settings import AttemptSettings
from livepick_trainer.learning.curve_diagnosis import Diagnosis
from livepick_trainer.learning.losses import LossScale
from livepick_trainer.learning.train import EpochFigures

__all__ = ["Attempt", "History"]

ATTEMPT, HISTORY = "attempt.json", "history.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One training from its first epoch to its last."""

    number: int
    """Number of the attempt, counted from 1."""
    settings: AttemptSettings
    positive_weight: float
    """Class weight that was used."""
    training_scale: LossScale
    held_out_scale: LossScale
    epochs: Sequence[EpochFigures]
    best_epoch: int | None
    """Epoch whose weights were kept; None if no epoch has a finite loss."""
    findings: Sequence[Diagnosis]
    """Findings on the learning curves, most important first."""
    figures: Figures | None
    """Figures of the best weights on the held-out micrographs, against their seeds, in prepared
    pixels; None if there are no such weights."""

    @property
    def average_precision(self) -> float | None:
        """Average precision of the best weights; attempts are compared by it."""
        return self.figures.average_precision if self.figures else None

    @property
    def fault(self) -> Diagnosis | None:
        """The first finding that is worth a rerun."""
        return next((finding for finding in self.findings if finding.is_fault), None)

    def write(self, folder: Path) -> None:
        """Write ``attempt.json`` atomically."""
        _write(folder / ATTEMPT, [self], _ATTEMPTS)

    @classmethod
    def read(cls, folder: Path) -> "Attempt | None":
        """Return the content of ``attempt.json``, or None if it does not exist.

        Raises
        ------
        TrainerError
            The file is damaged.
        """
        return _read(folder / ATTEMPT, _ATTEMPTS)[0] if (folder / ATTEMPT).exists() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """All attempts of a training, in order."""

    attempts: Sequence[Attempt]
    kept: int
    """Number of the attempt whose weights are used."""
    why: str
    """Reason for keeping that attempt, in one sentence."""

    @property
    def best(self) -> Attempt:
        """The attempt that was kept."""
        return self.attempts[self.kept - 1]

    def write(self, folder: Path) -> None:
        """Write ``history.json`` atomically."""
        _write(folder / HISTORY, [self], _HISTORIES)

    @classmethod
    def read(cls, folder: Path) -> "History":
        """Return the content of ``history.json``.

        Raises
        ------
        TrainerError
            The file is missing or damaged.
        """
        return _read(folder / HISTORY, _HISTORIES)[0]


# Wrapped in a list, because the settings of the types themselves would override this one.
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
            f"Remove the folder {path.parent}; the training then starts again.",
        ) from error

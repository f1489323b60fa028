"""The progress file that a trainer writes line by line while it runs, and its reader."""

import logging
from pathlib import Path
from typing import Literal

from livepick.core.contracts.run import _Record
from livepick.host.foreign_files import open_regular

__all__ = ["PROGRESS", "FindingKind", "Progress", "ProgressReader", "Stage"]

_log = logging.getLogger(__name__)


PROGRESS = "progress.jsonl"

MOST_BYTES = 16 << 20
"""Largest amount that is read at once."""


Stage = Literal[
    "prepare",
    "reseed",
    "classify",
    "select",
    "train",
    "retrain",
    "evaluate",
    "export",
    "publish",
    "done",
    "failed",
]
"""Stages of a run, in order; ``retrain`` is a second round with the model's own picks."""


FindingKind = Literal[
    "rate_too_high",
    "all_background",
    "rate_too_low",
    "underfitting",
    "overfitting",
    "training_ahead",
    "still_falling",
    "stagnation",
    "wrong_size",
    "few_good_classes",
]
"""Findings of a run: on the learning curves, faults before mere advice, and on the seeds."""


class Progress(_Record):
    """One line of ``progress.jsonl``."""

    at: float
    """Unix seconds."""
    stage: Stage
    done: int = 0
    total: int = 0
    note: str = ""
    """One sentence for the log; for ``failed`` it names the cause and the remedy."""
    training_loss: float | None = None
    validation_loss: float | None = None
    training_accuracy: float | None = None
    validation_accuracy: float | None = None
    finding: FindingKind | None = None
    """Finding on the learning curves; evidence and remedy are in ``note``."""
    rerun: bool = False
    """True if the training starts again with the first finding's remedy."""


class ProgressReader:
    """Reads ``progress.jsonl`` of a run as it grows."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._offset = 0
        self._logged = ""

    def new(self) -> list[Progress]:
        """Return the lines written since the last call; an incomplete line is returned later."""
        try:
            with open_regular(self._path) as file:
                file.seek(self._offset)
                data = file.read(MOST_BYTES)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._log_once(f"{self._path} cannot be read: {error.strerror}")
            return []
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == MOST_BYTES:
            whole = data  # no line of a trainer is that long
        self._offset += len(whole)
        lines = []
        for line in whole.splitlines():
            try:
                lines.append(Progress.model_validate_json(line))
            except ValueError as error:
                # A trainer killed in the middle of a line leaves half of it before the next line.
                _log.warning("%s: a line cannot be read: %s", self._path, error)
        return lines

    def _log_once(self, sentence: str) -> None:
        if sentence != self._logged:
            self._logged = sentence
            _log.warning("%s", sentence)

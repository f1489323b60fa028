"""Progress reports: one JSON line per step in ``progress.jsonl`` for the daemon, and a log line."""

import logging
import math
import time
from pathlib import Path

from livepick.core.contracts.progress import PROGRESS, FindingKind, Progress, Stage
from livepick_trainer.learning.train import EpochFigures

__all__ = ["Reporter"]

_log = logging.getLogger(__name__)


class Reporter:
    """Writer that appends to the progress file of one run.

    A trainer that was killed while writing leaves an incomplete line. This reporter ends that line
    before its own first one, so that only the incomplete line is lost.
    """

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / PROGRESS
        self._closed = not self._ends_within_a_line()

    def report(
        self,
        stage: Stage,
        note: str,
        *,
        done: int = 0,
        total: int = 0,
        figures: EpochFigures | None = None,
        finding: FindingKind | None = None,
        rerun: bool = False,
    ) -> None:
        """Append one step: a sentence, the progress of the stage, and an epoch's figures if any.

        A loss that is not finite is omitted.
        """
        line = Progress(
            at=time.time(),
            stage=stage,
            done=done,
            total=total,
            note=note,
            training_loss=_number(figures.training_loss) if figures else None,
            validation_loss=_number(figures.validation_loss) if figures else None,
            training_accuracy=figures.training_accuracy if figures else None,
            validation_accuracy=figures.validation_accuracy if figures else None,
            finding=finding,
            rerun=rerun,
        )
        text = line.model_dump_json(exclude_none=True, exclude_defaults=True) + "\n"
        with self._path.open("ab") as file:
            file.write((text if self._closed else "\n" + text).encode())
        self._closed = True
        _log.info("%s: %s", stage, note)

    def _ends_within_a_line(self) -> bool:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) == 0:
                    return False
                file.seek(-1, 2)
                return file.read(1) != b"\n"
        except FileNotFoundError:
            return False


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""Progress of a training run and forecast of its end, from the lines its trainer has written.

Training takes most of a run, so the forecast is based on the pace of the epochs. There is none
before the first epoch has ended: the time of a stage depends on the micrographs, the particle and
the machine, and is not known in advance. From then on, the forecast is the sum of

* the remaining epochs of this training, at the median time of an epoch so far, and
* for the second round, if it has not begun: half as many epochs (as the trainer gives it), and
  another sorting into classes, which takes as long as the first one.

A training that stops early ends before the forecast; one that is repeated with a remedy ends after
it. A forecast that has passed is dropped. Medians are used because a run may be interrupted for a
night.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from livepick.core.contracts.progress import Progress, Stage

__all__ = ["RunProgress", "forecast"]

CLOSING_SECONDS = 10.0
"""Estimated time for evaluation, export and publication, which are short."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Progress of a run."""

    stage: Stage
    done: int = 0
    total: int = 0
    """Number of steps of the stage; 0 if it does not count them."""
    training_loss: float | None = None
    validation_loss: float | None = None
    """Validation loss. Both losses are those of the last epoch of the stage."""
    ends_at: float | None = None
    """Unix seconds; None as long as the pace is unknown, or if this time has passed."""

    @property
    def fraction(self) -> float:
        """Completed fraction of the stage, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


def forecast(lines: Sequence[Progress], *, now: float) -> RunProgress | None:
    """Return the progress of a run from all lines of its progress file; None if there are none.

    Parameters
    ----------
    lines
        Lines, in the order in which the trainer wrote them.
    now
        Current time, in unix seconds.
    """
    if not lines:
        return None
    last = lines[-1]
    same = [line for line in lines if line.stage == last.stage]
    counted = next((line for line in reversed(same) if line.total), last)
    epoch = next((line for line in reversed(same) if line.training_loss is not None), None)
    seconds = _seconds_to_go(lines)
    ends_at = None if seconds is None else last.at + seconds
    return RunProgress(
        stage=last.stage,
        done=counted.done,
        total=counted.total,
        training_loss=epoch.training_loss if epoch else None,
        validation_loss=epoch.validation_loss if epoch else None,
        ends_at=ends_at if ends_at is not None and ends_at > now else None,
    )


def _seconds_to_go(lines: Sequence[Progress]) -> float | None:
    """Return the estimated time left after the last line, in seconds; None if unknown."""
    last = lines[-1]
    if last.stage in ("evaluate", "export", "publish"):
        return CLOSING_SECONDS
    if last.stage not in ("train", "retrain"):
        return None
    first_round = [line for line in lines if line.stage == "train"]
    rounds = [line for line in lines if line.stage == last.stage]
    seconds_an_epoch = _epoch_seconds(rounds) or _epoch_seconds(first_round)
    if seconds_an_epoch is None:
        return None
    epochs = max((line.total for line in first_round if line.training_loss is not None), default=0)
    sorting_seconds = _seconds(lines, "classify")
    if last.stage == "train":
        epochs_left = _epochs_left(rounds, epochs) + _second_round_epochs(epochs)
        return epochs_left * seconds_an_epoch + sorting_seconds + CLOSING_SECONDS
    epochs_left = _epochs_left(rounds, _second_round_epochs(epochs))
    is_sorted = any(line.training_loss is not None for line in rounds)
    sorting_left = 0.0 if is_sorted else max(0.0, sorting_seconds - _seconds(lines, "retrain"))
    return epochs_left * seconds_an_epoch + sorting_left + CLOSING_SECONDS


def _second_round_epochs(epochs: int) -> int:
    return -(-epochs // 2)


def _epoch_seconds(rounds: Sequence[Progress]) -> float | None:
    """Return the median time of an epoch; None before the first has ended."""
    gaps = [
        line.at - before.at
        for before, line in itertools.pairwise(rounds)
        if line.training_loss is not None
    ]
    return statistics.median(gaps) if gaps else None


def _epochs_left(rounds: Sequence[Progress], otherwise: int) -> int:
    last = next((line for line in reversed(rounds) if line.training_loss is not None), None)
    return otherwise if last is None else max(0, last.total - last.done)


def _seconds(lines: Sequence[Progress], stage: Stage) -> float:
    """Return the duration of a stage so far, in seconds, leaving out interruptions.

    It is the median gap between the lines of the stage times the number of gaps.
    """
    times = [line.at for line in lines if line.stage == stage]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return statistics.median(gaps) * len(gaps) if gaps else 0.0

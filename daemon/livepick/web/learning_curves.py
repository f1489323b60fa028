"""Learning curves of a whole training run: all its rounds and attempts, one after the other."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepick.core.contracts.progress import PROGRESS, ProgressReader
from livepick.core.contracts.training_report import Epoch, read_epochs

__all__ = ["Attempt", "Chart", "charts_of", "read_attempts"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Epochs of one attempt to train."""

    name: str
    """Such as ``round 2`` or ``round 1, attempt 2``."""
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Two curves over the epochs of a whole run."""

    title: str
    epochs: list[float]
    starts: list[tuple[int, str]]
    """First epoch and name of each attempt."""
    values: list[list[float | None]]
    """Values in training and on the held-out micrographs. A None between two attempts interrupts
    the lines."""

    @property
    def last(self) -> tuple[float | None, float | None]:
        """Last value of either curve."""
        return self.values[0][-1], self.values[1][-1]

    @property
    def data(self) -> dict[str, Any]:
        """Content for the browser."""
        return {"epochs": self.epochs, "starts": self.starts, "values": self.values}


def read_attempts(run: Path, bundle: Path) -> tuple[Attempt, ...]:
    """Return all attempts of a run, in order; empty before the first epoch.

    They are read from the progress of the run. If that is gone, the attempt whose weights are in
    the bundle is returned.
    """
    try:
        status = (run / PROGRESS).stat()
    except OSError:
        attempts: tuple[Attempt, ...] = ()
    else:
        attempts = _attempts(run, status.st_size, status.st_mtime_ns)
    if not attempts and (epochs := read_epochs(bundle)):
        return (Attempt("last round", epochs),)
    return attempts


@functools.lru_cache(maxsize=2)
def _attempts(run: Path, *_version: int) -> tuple[Attempt, ...]:
    """Return the attempts in a progress file; its size and time are the version of the content."""
    attempts: list[tuple[int, list[Epoch]]] = []
    last_done = 0
    for line in ProgressReader(run).new():
        if line.training_loss is None or line.validation_loss is None:
            continue
        number = 2 if line.stage == "retrain" else 1
        if not attempts or attempts[-1][0] != number or line.done <= last_done:
            attempts.append((number, []))
        last_done = line.done
        attempts[-1][1].append(
            Epoch(
                line.training_loss,
                line.validation_loss,
                line.training_accuracy,
                line.validation_accuracy,
            )
        )
    return tuple(_named(attempts))


def _named(attempts: Sequence[tuple[int, list[Epoch]]]) -> list[Attempt]:
    named: list[Attempt] = []
    rounds = [number for number, _ in attempts]
    for place, (number, epochs) in enumerate(attempts):
        attempt = rounds[: place + 1].count(number)
        more = f", attempt {attempt}" if rounds.count(number) > 1 else ""
        named.append(Attempt(f"round {number}{more}", tuple(epochs)))
    return named


def charts_of(attempts: Sequence[Attempt]) -> tuple[Chart, ...]:
    """Return the charts of a run's curves: of the losses and, if known, of the accuracies.

    Empty with fewer than two epochs.
    """
    if sum(len(attempt.epochs) for attempt in attempts) < 2:
        return ()
    epochs: list[float] = []
    starts: list[tuple[int, str]] = []
    table: list[tuple[float | None, ...]] = []
    count = 0
    for attempt in attempts:
        if epochs:
            epochs.append(count + 0.5)
            table.append((None,) * 4)
        starts.append((count + 1, attempt.name))
        for epoch in attempt.epochs:
            count += 1
            epochs.append(count)
            table.append(dataclasses.astuple(epoch))
    columns = [
        [None if value is None else round(value, 4) for value in column]
        for column in zip(*table, strict=True)
    ]
    charts = (
        Chart("Loss", epochs, starts, columns[:2]),
        Chart("Accuracy", epochs, starts, columns[2:]),
    )
    return tuple(chart for chart in charts if None not in chart.last)

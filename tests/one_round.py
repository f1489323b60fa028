"""Runs of the trainer without the second round, which takes half of the time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from livepick_trainer import stages
from livepick_trainer.pipeline.rounds import write_result
from livepick_trainer.pipeline.run_context import Run

__all__ = ["one_round"]


@contextmanager
def one_round() -> Iterator[None]:
    """Replace the stage ``retrain`` by one that keeps the network and the seeds."""

    def keep(_run: Run, draft: Path) -> None:
        write_result(draft, "there is no second round here", used=False)

    with mock.patch.object(stages, "retrain", keep):
        yield

"""What retraining tells the metrics."""

from typing import Protocol

from livepick.core.contracts.progress import Progress
from livepick.core.evaluation.model_comparison import Comparison
from livepick.retraining.eta import RunProgress

__all__ = ["Instruments"]


class Instruments(Protocol):
    """Counters and gauges of training; ``monitoring.metrics`` has them."""

    def training_is_running(self, *, running: bool) -> None:
        """Set whether a run is under way."""

    def training_at(self, progress: RunProgress | None) -> None:
        """Set how far the run under way is. None: there is none, or it has said nothing yet."""

    def trained(self, line: Progress) -> None:
        """Set and count what a line of the trainer's progress says of its learning."""

    def training_ended_as(self, result: str) -> None:
        """Count a run that has ended, and say when."""

    def judged(self, comparison: Comparison | None) -> None:
        """Set the figures of a new model and of the current one. None: there were none."""

    def training_failed(self, reason: str) -> None:
        """Count an error of training."""

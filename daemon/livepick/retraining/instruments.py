"""Interface through which retraining updates the metrics."""

from typing import Protocol

from livepick.core.contracts.progress import Progress
from livepick.core.evaluation.model_comparison import Comparison
from livepick.retraining.eta import RunProgress

__all__ = ["Instruments"]


class Instruments(Protocol):
    """Counters and gauges of training, implemented by ``monitoring.metrics``."""

    def training_is_running(self, *, running: bool) -> None:
        """Set whether a run is in progress."""

    def training_at(self, progress: RunProgress | None) -> None:
        """Set the progress of the current run. None: no run, or it has not reported."""

    def trained(self, line: Progress) -> None:
        """Update losses and counts from a line of the trainer's progress."""

    def training_ended_as(self, result: str) -> None:
        """Count a run that has ended, and set the time of its end."""

    def judged(self, comparison: Comparison | None) -> None:
        """Set the figures of a new model and of the current one. None: there are no figures."""

    def training_failed(self, reason: str) -> None:
        """Count a training error."""

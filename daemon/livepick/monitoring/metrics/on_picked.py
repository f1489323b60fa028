"""Metrics of the program that is called for each picked micrograph (``output.on_picked``)."""

from typing import get_args

from livepick.monitoring.metrics.instruments import InstrumentFactory
from livepick.picking.instruments import CallOutcome

__all__ = ["OnPickedMetrics"]


class OnPickedMetrics:
    """Calls of the program; all are zero without one."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._calls = make.counter(
            "on_picked_calls",
            "Does the program that is called with the picks work? Calls by outcome.",
            outcome=get_args(CallOutcome),
        )
        self._waiting = make.gauge(
            "on_picked_waiting", "Is that program fast enough? Micrographs that wait for a call."
        )

    def call_ended(self, outcome: CallOutcome) -> None:
        """Count a call."""
        self._calls.labels(outcome).inc()

    def calls_waiting(self, count: int) -> None:
        """Set the number of micrographs that wait for a call."""
        self._waiting.set(count)

"""Metrics of notices."""

from livepick.monitoring.metrics.instruments import InstrumentFactory

__all__ = ["NoticeMetrics"]


class NoticeMetrics:
    """Notices by outcome."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._notices = make.counter(
            "notices",
            "Do notices (the setting notify) arrive? Tries by outcome; given_up: there will be no"
            " other.",
            outcome=("sent", "failed", "given_up"),
        )

    def sent(self) -> None:
        """Count a notice that was sent."""
        self._notices.labels("sent").inc()

    def failed(self, *, given_up: bool) -> None:
        """Count a try that failed."""
        self._notices.labels("given_up" if given_up else "failed").inc()

"""Metrics of the page's own server."""

from livepick.monitoring.metrics.instruments import InstrumentFactory

__all__ = ["WebMetrics"]

CAUSES = ("deadline", "limit")


class WebMetrics:
    """Connections to the page, and whether others can read it."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._connections = make.gauge("web_connections", "How many clients are connected?")
        self._ended = make.counter(
            "web_connections_ended",
            "Do clients hold connections open? Connections ended by livepick: the client was too"
            " slow, or there were too many.",
            cause=CAUSES,
        )
        self._listeners = make.gauge("web_event_streams", "How many browsers show the page live?")
        self._insecure = make.gauge(
            "web_insecure",
            "Can other machines read the page without TLS or a password? 1 if web.insecure allows"
            " it.",
        )

    def connections(self, count: int) -> None:
        """Set the number of open connections."""
        self._connections.set(count)

    def connection_ended(self, cause: str) -> None:
        """Count a connection that livepick has ended: ``deadline`` or ``limit``."""
        self._ended.labels(cause).inc()

    def event_streams(self, count: int) -> None:
        """Set the number of event streams."""
        self._listeners.set(count)

    def insecure(self, *, is_insecure: bool) -> None:
        """Set whether other machines can read the page without TLS or a password."""
        self._insecure.set(is_insecure)

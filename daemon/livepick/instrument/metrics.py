"""Metrics of the service of an instrument."""

import platform

from livepick import __version__
from livepick.instrument.session_record import STATES
from livepick.instrument.session_view import Snapshot
from livepick.monitoring.metrics.instruments import CONTENT_TYPE, InstrumentFactory
from livepick.monitoring.metrics.scrapes import SCRAPE_HEADER, Scrapes

__all__ = ["CONTENT_TYPE", "SCRAPE_HEADER", "InstrumentMetrics"]


class InstrumentMetrics:
    """Sessions by state, restarts, and the folder of the sessions."""

    def __init__(self) -> None:
        make = InstrumentFactory()
        self._build = make.info("build", "Which version of livepick is running?")
        self._build.info({"version": __version__, "python": platform.python_version()})
        self._sessions = make.gauge(
            "instrument_sessions", "How many sessions are in each state?", state=STATES
        )
        self._crashes = make.counter(
            "instrument_session_crashes", "How often has a session ended unexpectedly?"
        )
        self._readable = make.gauge(
            "instrument_folder_readable", "Can the folder of the sessions be listed?"
        )
        self._applied = make.gauge("config_last_reload_successful", "Is the config on disk in use?")
        self._applied.set(1)
        self._stopped = make.gauge(
            "stopped_on_purpose", "Was this service stopped on purpose? Then nobody is called."
        )
        self.scrapes = Scrapes()
        self.registry = make.registry
        self.exposition = make.exposition
        """Returns the text that Prometheus scrapes, as bytes."""

    def show(self, snapshot: Snapshot, *, is_applied: bool) -> None:
        """Set all gauges."""
        for state, count in snapshot.counts.items():
            self._sessions.labels(state).set(count)
        self._readable.set(not snapshot.root_is_away)
        self._applied.set(is_applied)

    def stopped(self) -> None:
        """Say that the service is stopped on purpose."""
        self._stopped.set(1)

    def count_crash(self) -> None:
        """Count an unexpected end of a session."""
        self._crashes.inc()

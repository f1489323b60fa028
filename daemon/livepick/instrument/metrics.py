"""Metrics of the service of an instrument."""

import platform
from collections import Counter

from livepick import __version__
from livepick.instrument.session_record import CAUSES, STATES
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
        self._not_picked = make.gauge(
            "instrument_sessions_not_picked",
            "How many sessions are not picked until somebody acts, and why?",
            cause=CAUSES,
        )
        self._refused = make.gauge(
            "instrument_session_settings_refused",
            "How many sessions have a livepick.yaml with a fault, which is not applied?",
        )
        self._waiting = make.gauge(
            "instrument_sessions_waiting_for_turn",
            "How many sessions collect while others have the turn (sessions.at_once)?",
        )
        self._place = make.info("instrument", "Where is the overview of the sessions?")
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
        causes = Counter(view.not_picked for view in snapshot.sessions)
        for cause in CAUSES:
            self._not_picked.labels(cause).set(causes[cause])
        self._refused.set(sum(view.is_refused for view in snapshot.sessions))
        self._waiting.set(sum(view.waits_for_turn for view in snapshot.sessions))
        self._readable.set(not snapshot.root_is_away)
        self._applied.set(is_applied)

    def describe(self, page_url: str) -> None:
        """Set the URL of the overview."""
        self._place.info({"page_url": page_url})

    def stopped(self) -> None:
        """Say that the service is stopped on purpose."""
        self._stopped.set(1)

    def count_crash(self) -> None:
        """Count an unexpected end of a session."""
        self._crashes.inc()

"""Metrics of the times at which micrographs land."""

import collections
import itertools
import statistics
from collections.abc import Sequence

from livepick.config.alert_thresholds import GAPS, SESSION_SECONDS
from livepick.monitoring.metrics.instruments import InstrumentFactory

__all__ = ["LandingMetrics"]


class LandingMetrics:
    """When micrographs land, and whether the session is collecting. Times are in unix seconds."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._landings: collections.deque[float] = collections.deque(maxlen=GAPS + 1)
        self._last_seen = make.gauge(
            "last_micrograph_seen_timestamp_seconds",
            "When did the last micrograph land? Those that were there at the start do not count.",
        )
        self._gap_seconds = make.gauge(
            "micrograph_gap_seconds",
            f"How often does a micrograph land? Median of the last {GAPS} intervals; 0 until two"
            " have landed.",
        )
        self._session_active = make.gauge(
            "session_active",
            "Is the microscope collecting? 1 until no micrograph has landed for six hours; 0 while"
            " there is only what was in the folders at the start.",
        )

    def restore(self, landings: Sequence[float]) -> None:
        """Restore the landings from before this start, so that a restart hides or fires no alert.

        ``landings``: times of the last micrographs that arrived while the session was collecting,
        oldest first.
        """
        for landed_at in landings:
            self.landed(landed_at)

    def landed(self, landed_at: float) -> None:
        """Note a micrograph that landed while the session was collecting."""
        self._landings.append(landed_at)
        self._last_seen.set(landed_at)
        gaps = [after - before for before, after in itertools.pairwise(self._landings)]
        if gaps:
            self._gap_seconds.set(max(statistics.median(gaps), 0.0))

    def update_activity(self, now: float) -> None:
        """Set whether the session is collecting."""
        last = self._landings[-1] if self._landings else 0.0
        self._session_active.set(now - last < SESSION_SECONDS)

"""Times at which Prometheus has scraped the metrics."""

import time
from collections.abc import Callable

__all__ = ["SCRAPE_HEADER", "Scrapes"]

SCRAPE_HEADER = "x-prometheus-scrape-timeout-seconds"
"""Header of requests by Prometheus and by programs that scrape as it does, but not by people."""

RECENT_SECONDS = 60.0
"""A service that was scraped within this time is being watched."""


class Scrapes:
    """Remembers the last scrape. May be used from any thread.

    Parameters
    ----------
    clock
        Monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_at = float("-inf")

    def scraped(self) -> None:
        """Note that the metrics are being scraped."""
        self._last_at = self._clock()

    @property
    def is_watched(self) -> bool:
        """True if there was a scrape within the last minute."""
        return self._clock() - self._last_at < RECENT_SECONDS

    def since(self, at: float) -> bool:
        """Return True if there was a scrape after a time of the clock."""
        return self._last_at > at

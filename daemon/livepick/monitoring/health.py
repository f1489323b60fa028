"""Health of the service: every thread that picking depends on still makes progress."""

import time
from dataclasses import dataclass

from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ingest.watcher import Watcher
from livepick.picking.dispatch import Dispatch

__all__ = ["Health", "HealthCheck"]

DISPATCH_SECONDS = 90.0
"""The dispatch loop counts as hung after this time without a turn; new workers can take a minute.
"""

BEAT_SECONDS = 90.0
"""The main thread counts as hung after this time without a beat; the first beat comes after the
first scan."""

JOB_SECONDS = 180.0
"""The workers count as hung if no job finishes for this long beyond the time limit of a job."""

NO_WORKERS_SECONDS = 60.0
"""The workers count as hung if none can be started for this long."""

WATCH_SECONDS = 180.0
"""The watcher counts as hung if a scan of the folders is overdue by this long."""

RESCAN_SECONDS = 60.0
"""Longest interval between scans, unless one is configured."""


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the parts of the service."""

    ok: bool
    seconds_since: dict[str, float]
    """Seconds since the last sign of life, by part."""
    responds: bool = True
    """True if the parts that picking needs respond. False: only a restart helps. If it is True and
    ``ok`` is not, another part only meets unexpected errors, or no job finishes because the machine
    has no room for workers or a file system does not answer; a restart would not help."""


class HealthCheck:
    """Checks that the dispatch loop, the main thread and the watcher respond.

    Parameters
    ----------
    rescan_seconds
        Configured interval between scans; None: the watcher chooses it.
    unexpected
        Tells which parts only meet unexpected errors.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        watcher: Watcher,
        *,
        rescan_seconds: float | None,
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._unexpected = unexpected or UnexpectedErrors()
        self._dispatch = dispatch
        self._watcher = watcher
        self._rescan_seconds = rescan_seconds or RESCAN_SECONDS
        self._began_at = self._beat_at = time.monotonic()

    def beat(self) -> None:
        """Note that the main thread responds."""
        self._beat_at = time.monotonic()

    def health(self) -> Health:
        """Return the health of the parts; callable from any thread."""
        now, scans = time.monotonic(), self._watcher.health()
        dispatch_seconds = now - self._dispatch.progress_at
        beat_seconds = now - self._beat_at
        watch_seconds = min(now - self._began_at, scans.seconds_since_scan)
        overdue_seconds = watch_seconds - self._rescan_seconds - 3 * scans.last_scan_seconds
        # If every folder is gone there is nothing to scan; that does not count as a hang.
        nothing_to_scan = all(folder.available is False for folder in scans.folders)
        responds = (
            dispatch_seconds < DISPATCH_SECONDS
            and beat_seconds < BEAT_SECONDS
            and (overdue_seconds < WATCH_SECONDS or nothing_to_scan)
            and self._watcher.is_alive()
        )
        stuck = self._stalled_workers()
        for part, seconds in self._unexpected.stuck().items():
            stuck[part] = seconds
        return Health(
            ok=responds and not stuck,
            responds=responds,
            seconds_since={
                **{part: round(seconds, 1) for part, seconds in stuck.items()},
                "dispatch": round(dispatch_seconds, 1),
                "supervisor": round(beat_seconds, 1),
                "watch": round(watch_seconds, 1),
            },
        )

    def _stalled_workers(self) -> dict[str, float]:
        """Return the time since a job has finished, if that is too long."""
        dispatch = self._dispatch
        most_seconds = (
            dispatch.longest_seconds + JOB_SECONDS
            if dispatch.engine_fault is None
            else NO_WORKERS_SECONDS
        )
        seconds = dispatch.unfinished_seconds
        return {"workers": seconds} if seconds > most_seconds else {}

"""Metrics of the watched folders."""

import dataclasses

from livepick.ingest.skipped import SKIP_KINDS
from livepick.ingest.watch_health import FileEvents, WatchHealth
from livepick.monitoring.metrics.instruments import InstrumentFactory, RunningTotal
from livepick.monitoring.metrics.picking import PickingMetrics

__all__ = ["IngestMetrics"]

EVENT_TYPES = tuple(field.name for field in dataclasses.fields(FileEvents))


class IngestMetrics:
    """Watched folders, file events and scans.

    Parameters
    ----------
    make
        Creates the instruments.
    picking
        Metrics that also count the files which are not in the ledger.
    """

    def __init__(self, make: InstrumentFactory, picking: PickingMetrics) -> None:
        self._picking = picking
        self._excluded: int | None = None
        self._available = make.gauge(
            "watch_root_available", "Is the watched folder with this index available?", root=()
        )
        events = make.counter(
            "watch_events",
            "Does the file system report files? Polled folders have no events.",
            type=EVENT_TYPES,
        )
        self._events = {kind: RunningTotal(events.labels(kind)) for kind in EVENT_TYPES}
        self._restarts = RunningTotal(
            make.counter("watch_restarts", "How often did event watching have to be restarted?")
        )
        self._overflows = RunningTotal(
            make.counter(
                "watch_overflows", "Are file events lost? Only a rescan finds those files."
            )
        )
        self._skipped = make.gauge(
            "skipped_files",
            "Which files in the watched folders look like micrographs and are left out?",
            kind=tuple(SKIP_KINDS),
        )
        self._scan_seconds = make.gauge(
            "scan_duration_seconds", "How long does a scan of the watched folders take?"
        )
        self._last_scan = make.gauge(
            "last_scan_timestamp_seconds", "When were the watched folders last scanned?"
        )
        self._rescan_interval = make.gauge(
            "rescan_interval_seconds",
            "How often is a watched folder scanned? The longest interval of all folders.",
        )

    def watched(self, health: WatchHealth) -> None:
        """Set the metrics of the watcher.

        A folder that has not been checked yet, or not been there yet, has no series.
        Images that were excluded at the first scan already do not count as skipped.
        """
        for index, folder in enumerate(health.folders):
            if folder.available is not None and not folder.is_awaited:
                self.folder_available(index, available=folder.available)
        for kind, total in self._events.items():
            total.raise_to(getattr(health.events, kind))
        self._overflows.raise_to(health.overflows)
        self._restarts.raise_to(health.restarts)
        if health.last_scan_at > 0:
            before = health.excluded if self._excluded is None else self._excluded
            self._picking.skipped(max(health.excluded - before, 0))
            self._excluded = health.excluded
        for kind in SKIP_KINDS:
            count = sum(files.count for files in health.skipped if files.kind == kind)
            self._skipped.labels(kind).set(count)
        self._picking.settling(health.watching)
        self._rescan_interval.set(health.interval_seconds)
        self._last_scan.set(health.last_scan_at)
        self._scan_seconds.set(health.last_scan_seconds)

    def folder_available(self, index: int, *, available: bool) -> None:
        """Set whether a watched folder is available; folders are numbered as in the config."""
        self._available.labels(str(index)).set(available)

"""Metrics of the watched folders."""

from pathlib import Path

from livepick.ingest.watch_health import FileEvents, FolderHealth, WatchHealth
from livepick.ledger.session_rows import SkippedFiles
from livepick.monitoring.metrics.exporter import Metrics


def test_counters_follow_the_counts_of_the_watcher():
    """Events count by type; images that the first scan excluded are not new."""
    metrics = Metrics()
    sample = metrics.registry.get_sample_value

    def watched(events, excluded, scanned_at=1e9):
        health = WatchHealth(
            folders=(FolderHealth(Path("/in"), available=True, detail="ext4", mode="inotify"),),
            last_scan_at=scanned_at,
            seconds_since_scan=1,
            last_scan_seconds=0.1,
            interval_seconds=60,
            watching=1,
            excluded=excluded,
            oversized=0,
            events=events,
            overflows=0,
            restarts=2,
            errors=0,
            skipped=(
                SkippedFiles("product", excluded, "a_ctf.mrc", "fits"),
                SkippedFiles("product", 1, "gain.mrc", "references"),
            ),
        )
        metrics.ingest.watched(health)
        return sample("livepick_micrographs_total", {"state": "skipped"})

    nothing = FileEvents()
    assert watched(nothing, 0, scanned_at=0) == 0
    assert watched(FileEvents(created=3, closed=2), 40) == 0
    assert watched(FileEvents(created=4, closed=2), 43) == 3
    assert watched(FileEvents(created=4, closed=2), 41) == 3
    assert watched(FileEvents(created=4, closed=2), 42) == 4
    assert sample("livepick_skipped_files", {"kind": "product"}) == 43
    assert sample("livepick_skipped_files", {"kind": "link"}) == 0

    assert sample("livepick_watch_events_total", {"type": "created"}) == 4
    assert sample("livepick_watch_events_total", {"type": "closed"}) == 2
    assert sample("livepick_watch_events_total", {"type": "moved"}) == 0
    assert sample("livepick_watch_restarts_total") == 2

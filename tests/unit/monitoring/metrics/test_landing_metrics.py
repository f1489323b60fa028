"""Metrics of the times at which micrographs land."""

from livepick.monitoring.metrics.exporter import Metrics


def test_a_restart_continues_where_the_session_was():
    """Otherwise a restart would silence the alert of a stalled acquisition, or raise it."""
    metrics = Metrics()
    metrics.session.describe(version="1", python="3", session="s", started_at=50)
    metrics.landings.restore([100, 130, 131, 170])
    metrics.picking.restore(last_picked_at=165, workers=2)
    sample = metrics.registry.get_sample_value

    assert sample("livepick_session_started_timestamp_seconds") == 50
    assert sample("livepick_last_micrograph_seen_timestamp_seconds") == 170
    assert sample("livepick_last_micrograph_picked_timestamp_seconds") == 165
    assert sample("livepick_micrograph_gap_seconds") == 30
    assert sample("livepick_micrographs_discovered_total") == 0
    assert sample("livepick_workers", {"state": "idle"}) == 2


def test_a_session_is_over_six_hours_after_its_last_micrograph():
    """Nobody is called at night about a microscope that was left on purpose.

    Files that were there at the start do not count.
    """
    metrics = Metrics()

    def active_at(now):
        metrics.landings.update_activity(now)
        return metrics.registry.get_sample_value("livepick_session_active")

    assert active_at(1e9) == 0
    metrics.picking.landed(1e9, collected=False)
    assert active_at(1e9) == 0
    metrics.picking.landed(1e9, collected=True)
    assert active_at(1e9 + 6 * 3600 - 1) == 1
    assert active_at(1e9 + 6 * 3600 + 1) == 0

"""Metrics of the session and its health."""

from livepick.monitoring.metrics.exporter import Metrics


def test_health_is_checked_at_each_scrape():
    """A part that sets its own health could hang too, and its last 1 would stay forever."""
    metrics = Metrics()
    well = [True]
    metrics.session.check_health(lambda: well[0])
    sample = metrics.registry.get_sample_value

    assert sample("livepick_healthy") == 1
    well[0] = False
    assert sample("livepick_healthy") == 0

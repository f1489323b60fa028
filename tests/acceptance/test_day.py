"""The short form of ``make day``: three sessions of one instrument, without training."""

import shutil

import pytest

from day import Day, Plan, alert_rules

PROMETHEUS = shutil.which("prometheus")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def day(tmp_path):
    """Return a day that ends with the test."""
    made = Day(tmp_path, Plan(micrographs=5))
    yield made
    made.end()


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is missing (Debian's prometheus)")
def test_each_session_is_found_picked_and_ended_without_a_critical_alert(day):
    """A session and the service are killed in between; a service that stays away is an alert."""
    day.watch_alerts(PROMETHEUS, alert_rules())
    assert day.run() == []

    foreign = day.state / "noon" / "morning_000.png"
    foreign.touch()
    assert day.faults() == [f"{foreign} is in the folder of noon"]

    day.kill_service()
    day.service = None
    day.until(lambda: ("LivepickDown", "critical") in day.fired, "its absence is noticed")

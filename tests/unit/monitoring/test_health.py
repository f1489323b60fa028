"""Health: what counts as a part that no longer responds."""

import time
from types import SimpleNamespace

import pytest

from livepick.errors import EngineError
from livepick.host.unexpected_errors import STUCK_SECONDS, UnexpectedErrors
from livepick.monitoring.health import (
    BEAT_SECONDS,
    DISPATCH_SECONDS,
    JOB_SECONDS,
    NO_WORKERS_SECONDS,
    RESCAN_SECONDS,
    WATCH_SECONDS,
    HealthCheck,
)

MARGIN_SECONDS = 5.0


class Parts:
    """A dispatch loop and a watcher that stop on demand."""

    def __init__(self):
        self.progress_at = time.monotonic()
        self.unfinished_seconds = 0.0
        self.longest_seconds = 364.0
        self.engine_fault = None
        self.alive = True
        self.scans = SimpleNamespace(
            seconds_since_scan=0.0,
            last_scan_seconds=2.0,
            folders=[SimpleNamespace(available=True)],
        )

    def health(self):
        return self.scans

    def is_alive(self):
        return self.alive


@pytest.fixture
def parts():
    return Parts()


@pytest.fixture
def check(parts):
    check = HealthCheck(parts, parts, rescan_seconds=None)
    check._began_at -= 3600  # it has been running for an hour
    return check


def test_parts_that_respond_are_healthy(check):
    health = check.health()

    assert health.ok
    assert set(health.seconds_since) == {"dispatch", "supervisor", "watch"}


def test_jobs_that_do_not_finish_are_unhealthy(parts, check):
    """A restart would not help: the limits of the jobs end what can be ended."""
    parts.unfinished_seconds = parts.longest_seconds + JOB_SECONDS - MARGIN_SECONDS
    assert check.health().ok
    parts.unfinished_seconds += 2 * MARGIN_SECONDS
    health = check.health()
    assert (health.ok, health.responds) == (False, True)
    assert health.seconds_since["workers"] == parts.unfinished_seconds


def test_a_machine_on_which_no_worker_starts_is_unhealthy(parts, check):
    parts.engine_fault = EngineError("worker processes do not start", "Look in the log.")
    assert check.health().ok
    parts.unfinished_seconds = NO_WORKERS_SECONDS + MARGIN_SECONDS
    assert not check.health().ok


def test_a_dispatch_loop_without_a_turn_is_unhealthy(parts, check):
    parts.progress_at -= DISPATCH_SECONDS - MARGIN_SECONDS
    assert check.health().ok
    parts.progress_at -= 2 * MARGIN_SECONDS
    assert not check.health().ok


def test_a_main_thread_without_a_beat_is_unhealthy(check):
    """Its next beat makes it healthy again."""
    check._beat_at -= BEAT_SECONDS + MARGIN_SECONDS
    assert not check.health().ok
    check.beat()
    assert check.health().ok


def test_a_watcher_that_has_ended_is_unhealthy(parts, check):
    parts.alive = False
    assert not check.health().ok


def test_an_overdue_scan_is_unhealthy_unless_every_folder_is_gone(parts, check):
    """A slow file system gets three times the duration of its last scan."""
    limit = RESCAN_SECONDS + 3 * parts.scans.last_scan_seconds + WATCH_SECONDS
    parts.scans.seconds_since_scan = limit - MARGIN_SECONDS
    assert check.health().ok
    parts.scans.seconds_since_scan = limit + MARGIN_SECONDS
    assert not check.health().ok

    parts.scans.folders[0].available = False
    assert check.health().ok


def test_a_service_that_has_just_started_is_healthy_before_its_first_scan(parts):
    parts.scans.seconds_since_scan = float("inf")
    assert HealthCheck(parts, parts, rescan_seconds=None).health().ok


def test_a_part_that_only_meets_unexpected_errors_is_unhealthy(parts, clock):
    """A restart would interrupt picking, so the watchdog is still fed."""
    unexpected = UnexpectedErrors(clock=clock)
    check = HealthCheck(parts, parts, rescan_seconds=None, unexpected=unexpected)
    unexpected.passed_over("training", "run 0001", KeyError("x"))
    clock.now += STUCK_SECONDS - MARGIN_SECONDS
    assert check.health().ok
    clock.now += 2 * MARGIN_SECONDS
    health = check.health()
    assert (health.ok, health.responds) == (False, True)
    assert max(health.seconds_since, key=health.seconds_since.get) == "training"
    unexpected.works("training")

    assert check.health().ok

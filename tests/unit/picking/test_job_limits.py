"""Default limits of jobs."""

import pytest

from livepick.config.sections import Picking
from livepick.picking import job_limits
from livepick.picking.job_limits import JobLimits

GIB = 1 << 30


@pytest.mark.parametrize(
    ("workers", "size_bytes", "seconds"),
    [(1, 64e6, 364), (16, 64e6, 1324), (2, 4e9, 8300), (1, 0, 300), (1, None, 800)],
)
def test_a_job_has_the_time_in_which_a_slow_share_delivers_its_file(workers, size_bytes, seconds):
    """The share delivers a megabyte per second to all workers together."""
    assert JobLimits(workers).limits(size_bytes).seconds == seconds


@pytest.mark.parametrize(
    ("installed_gib", "workers", "share_gib", "alone_gib"),
    [(32, 2, 9.6, 19.2), (16, 15, 1, 9.6), (512, 1, 16, 307.2), (1, 1, 1, 1)],
)
def test_workers_share_a_part_of_the_memory(
    monkeypatch, installed_gib, workers, share_gib, alone_gib
):
    """A job that runs alone may use the part of all."""
    monkeypatch.setattr(job_limits, "recent_total_bytes", lambda: installed_gib * GIB)
    limits = JobLimits(workers)
    assert limits.limits(0).memory_bytes == pytest.approx(share_gib * GIB, abs=workers)
    assert limits.limits(0, alone=True).memory_bytes == pytest.approx(alone_gib * GIB, abs=1)


def test_settings_replace_the_defaults():
    limits = JobLimits.of(Picking(time_limit_seconds=60, memory_limit_gib=2), 4)
    assert limits.limits(1e12, alone=True).memory_bytes == 2 * GIB
    assert limits.limits(0).seconds == 60
    assert limits.limits(0).memory_bytes == 2 * GIB

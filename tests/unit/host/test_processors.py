"""Number of processors: affinity, and the quotas of control groups of either version."""

import pytest

from livepick.host import processors


@pytest.fixture(autouse=True)
def _cores(monkeypatch):
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: set(range(64)))


def test_without_a_control_group_all_processors_may_be_used(machine):
    assert processors.usable_processors() == 64


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        ("0::/\n", {"cgroup/cpu.max": "200000 100000\n"}, 2),
        (
            "0::/a/b\n",
            {"cgroup/a/b/cpu.max": "max 100000\n", "cgroup/a/cpu.max": "350000 100000"},
            3,
        ),
        ("0::/a\n", {"cgroup/a/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cgroup/cpu.max": "9600000 100000\n"}, 64),
        (
            "3:cpu,cpuacct:/job\n0::/\n",
            {
                "cgroup/cpu/job/cpu.cfs_quota_us": "400000",
                "cgroup/cpu/job/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (
            "3:cpu,cpuacct:/\n",
            {"cgroup/cpu/cpu.cfs_quota_us": "-1", "cgroup/cpu/cpu.cfs_period_us": "100000"},
            64,
        ),
    ],
    ids=["container", "of-the-parent", "less-than-one", "more-than-cores", "version-1", "none"],
)
def test_a_quota_counts_in_whole_processors(machine, groups, files, count):
    """The lowest one of all levels."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        machine(name, text)
    assert processors.usable_processors() == count

"""Memory of the machine, of control groups and of processes."""

import os

import pytest

from livepick.host import memory

GIB = 1 << 30


def test_without_a_control_group_it_is_that_of_the_machine(machine):
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory.total_bytes() == installed


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "123456\n"}),
        ("0::/a/b\n", {"a/b/memory.high": "123456\n", "a/memory.max": "200000\n"}),
        (
            "4:memory:/job\n1:cpu:/\n0::/\n",
            {"memory/job/memory.limit_in_bytes": "123456\n"},
        ),
        ("0::/\n", {"memory.max": "123456\n"}),
    ],
)
def test_a_limit_of_a_control_group_counts_wherever_it_is(machine, groups, files):
    """In either version of control groups; the lowest one of all levels."""
    machine("proc/self/cgroup", groups)
    for name, text in files.items():
        machine(f"cgroup/{name}", text)
    assert memory.total_bytes() == 123456


def test_kills_for_memory_are_counted(machine):
    machine("proc/self/cgroup", "0::/a\n4:memory:/b\n")
    assert memory.kills_for_memory() == 0
    machine("proc/vmstat", "nr_free_pages 7\noom_kill 1\n")
    machine("cgroup/a/memory.events", "low 0\noom 4\noom_kill 2\noom_group_kill 0\n")
    machine("cgroup/memory/b/memory.oom_control", "under_oom 0\noom_kill 3\n")
    assert memory.kills_for_memory() == 6


def test_memory_of_a_process_grows_with_what_it_has():
    """It is 0 for a process that has ended."""
    before = memory.process_bytes(os.getpid())
    kept = bytearray(b"x" * (64 << 20))
    grown = memory.process_bytes(os.getpid()) - before
    assert grown >= len(kept) * 3 // 4
    assert memory.process_bytes(2**22 + 1) == 0


def test_the_memory_of_the_last_seconds_is_read_once(machine, monkeypatch):
    """A limit that is changed counts after a few seconds."""
    now = [1000.0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    machine("proc/self/cgroup", "0::/\n")
    machine("cgroup/memory.max", "123456\n")
    assert memory.recent_total_bytes() == 123456
    machine("cgroup/memory.max", "99999\n")
    assert memory.recent_total_bytes() == 123456
    now[0] += memory.RECENT_SECONDS
    assert memory.recent_total_bytes() == 99999

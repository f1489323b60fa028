"""Memory of the machine and of processes, and kills by the out-of-memory killer.

The limit of a control group (a systemd unit, a container, a batch job) counts like the memory of
the machine. Both versions of control groups are read.
"""

import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from livepick.host.control_groups import own_groups, with_parents

__all__ = ["kills_for_memory", "process_bytes", "recent_total_bytes", "total_bytes"]

RECENT_SECONDS = 10.0
"""Time for which ``recent_total_bytes`` returns the same value."""

_PROC = Path("/proc")

_COUNTED = ("RssAnon:", "RssShmem:", "VmSwap:")
"""Memory that a process has for itself; pages of files can be dropped at any time."""


def total_bytes() -> int:
    """Return the memory that this process and its children may use together."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([installed, *_limits()])


def recent_total_bytes() -> int:
    """Return ``total_bytes`` as of the last seconds, for callers that ask for every job.

    A limit that an administrator changes counts soon.
    """
    return _total_bytes_in(int(time.monotonic() / RECENT_SECONDS))


@functools.lru_cache(maxsize=1)
def _total_bytes_in(interval: int) -> int:
    del interval  # another one makes the cache read again
    return total_bytes()


def process_bytes(pid: int) -> int:
    """Return the memory of a process, swapped pages included; 0 if it has ended."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(_COUNTED))


def kills_for_memory() -> int:
    """Return a counter that rises when the system kills a process because memory ran out."""
    files = [_PROC / "vmstat"]
    for folder in own_groups("memory"):
        files += [folder / "memory.events", folder / "memory.oom_control"]
    return sum(_counter(file) for file in files)


def _counter(file: Path) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _limits() -> Iterator[int]:
    """Yield the limits of our control group and of those around it."""
    for group in own_groups("memory"):
        for folder in with_parents(group):
            for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
                try:
                    text = (folder / name).read_text().strip()
                except OSError:
                    continue
                if text.isdigit():  # not "max"
                    yield int(text)

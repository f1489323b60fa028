"""Processors that this process and its children may use together."""

import os
from collections.abc import Iterator
from pathlib import Path

from livepick.host.control_groups import own_groups, with_parents

__all__ = ["usable_processors"]


def usable_processors() -> int:
    """Return the number of processors that may be used, at least 1.

    It is the lowest of: the processors that this process may run on (``taskset``, a batch job),
    and the quota of each control group around it, in whole processors. A container with a quota of
    2 on a machine with 64 cores sees all 64 of them, and gets the time of 2.
    """
    affinity = len(os.sched_getaffinity(0))
    return max(1, min([affinity, *(int(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Yield the quotas of our control group and of those around it, in processors."""
    for group in own_groups("cpu"):
        for folder in with_parents(group):
            words = _words(folder / "cpu.max") or [
                *_words(folder / "cpu.cfs_quota_us"),
                *_words(folder / "cpu.cfs_period_us"),
            ]
            # Without a quota, the first word is "max" or -1.
            if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
                yield int(words[0]) / int(words[1])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []

"""Disk usage on the page, and the problems that it makes."""

import pytest

from livepick.host.disks import Disk, Space
from livepick.monitoring.disk_usage import disk_problems, disk_usages
from livepick.monitoring.human_units import size

GIB = 2**30


@pytest.mark.parametrize(("role", "level"), [("watch", "attention"), ("state", "bad")])
def test_a_full_disk_is_severe_only_where_livepick_writes(tmp_path, role, level):
    """As in the alert: a file server of old data may be full for years."""
    (problem,) = disk_problems(disk_usages([Disk(role, tmp_path, Space(0, 100 * GIB, 1))]))

    assert (problem.level, "is full" in problem.sentence) == (level, True)


def test_a_disk_with_several_folders_is_shown_once(tmp_path):
    """It is also one problem only."""
    low = Space(5 * GIB, 100 * GIB, 1)
    usages = disk_usages(
        [
            Disk("watch", tmp_path / "in", low),
            Disk("watch", tmp_path / "in2", Space(50 * GIB, 100 * GIB, 2)),
            Disk("output", tmp_path / "out", low),
        ]
    )

    assert [usage.roles for usage in usages] == [("watched", "output"), ("watched",)]
    assert usages[0].folders == (str(tmp_path / "in"), str(tmp_path / "out"))
    (problem,) = disk_problems(usages)
    assert problem.level == "attention"
    assert "watched and output folders is almost full: 5.0 GiB of 100 GiB" in problem.sentence


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 bytes"), (999, "999 bytes"), (1.5 * 2**10, "1.5 KiB"), (20.4 * 2**30, "20 GiB"),
        (1000 * 2**30, "1.0 TiB"), (2**50, "1,024 TiB"),
    ],
)  # fmt: skip
def test_sizes_are_short(amount, words):
    assert size(amount) == words

"""The room on disks: what is low, what is full, and what is said of it."""

import os
from types import SimpleNamespace

import pytest

from livepick.host.disks import LOW_FRACTION, TIGHT_GIB, Disk, Space, space_of
from livepick.monitoring.disk_usage import disk_problems, disk_usages
from livepick.monitoring.human_units import size
from livepick.monitoring.metrics.exporter import Metrics

GIB = 2**30


def test_a_folder_has_the_room_of_its_disk(tmp_path):
    """One that is not there has none that is known."""
    space = space_of(tmp_path)

    assert 0 < space.free_bytes < space.size_bytes
    assert space.device == tmp_path.stat().st_dev
    assert space_of(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("blocks", "free", "flags"), [(0, 0, 0), (100, 0, os.ST_RDONLY | os.ST_NOSUID)]
)
def test_a_disk_that_does_not_say_has_no_room_that_is_known(
    tmp_path, monkeypatch, blocks, free, flags
):
    """Some network file systems, and images that nothing can be written to."""
    said = SimpleNamespace(
        f_blocks=blocks, f_bfree=free, f_bavail=free, f_frsize=4096, f_flag=flags
    )
    monkeypatch.setattr(os, "statvfs", lambda _: said)
    assert space_of(tmp_path) is None

    said.f_blocks, said.f_bfree, said.f_bavail = 100, 20, 10
    space = space_of(tmp_path)
    assert (space.free_bytes, space.size_bytes) == (10 * 4096, 100 * 4096)


def test_low_and_full_begin_where_the_limits_say():
    """The first is a share, the second an amount: a small disk may be full and not low."""
    terabytes = Space(int(LOW_FRACTION * 100 * GIB), 100 * GIB, 1)
    assert not terabytes.is_low
    assert Space(terabytes.free_bytes - 1, terabytes.size_bytes, 1).is_low
    assert not terabytes.is_full
    assert Space(int(TIGHT_GIB * GIB) - 1, GIB, 1).is_full
    assert not Space(int(TIGHT_GIB * GIB) - 1, GIB, 1).is_low


def test_the_gauges_have_what_the_page_has(tmp_path):
    """Of several watched folders the tightest, as one full disk stops its microscope."""
    metrics = Metrics()
    metrics.host.disks(
        [
            Disk("watch", tmp_path / "a", Space(50, 100, 1)),
            Disk("watch", tmp_path / "b", Space(60, 1000, 2)),
            Disk("output", tmp_path / "out", Space(30, 40, 3)),
        ]
    )

    def gauge(name, role):
        return metrics.registry.get_sample_value(f"livepick_disk_{name}_bytes", {"path_role": role})

    assert (gauge("free", "watch"), gauge("size", "watch")) == (60, 1000)
    assert (gauge("free", "output"), gauge("free", "state")) == (30, 0)


def test_a_disk_with_several_roles_is_marked_so_for_all_but_the_first(tmp_path):
    """So that an alert on it comes once; of the folder that is not there yet nothing is told."""
    metrics, one = Metrics(), Space(30, 40, 3)
    disks = [Disk("watch", tmp_path / "in", one), Disk("state", tmp_path / "state", one)]

    def shared():
        metrics.host.disks(disks)
        sample = metrics.registry.get_sample_value
        return [
            sample("livepick_disk_shared", {"path_role": role})
            for role in ("output", "state", "watch")
        ]

    assert shared() == [0, 0, 1]
    disks.append(Disk("output", tmp_path / "out", one))
    assert shared() == [0, 1, 1]
    disks[0] = Disk("watch", tmp_path / "in", Space(30, 40, 4))
    assert shared() == [0, 1, 0]


@pytest.mark.parametrize(("role", "level"), [("watch", "attention"), ("state", "bad")])
def test_a_full_disk_is_grave_where_livepick_writes(tmp_path, role, level):
    """As the alert: the file server of old data may be full for years."""
    (problem,) = disk_problems(disk_usages([Disk(role, tmp_path, Space(0, 100 * GIB, 1))]))

    assert (problem.level, "is full" in problem.sentence) == (level, True)


def test_a_disk_is_shown_once_with_all_that_is_on_it(tmp_path):
    """And complained of once."""
    low = Space(5 * GIB, 100 * GIB, 1)
    usages = disk_usages(
        [
            Disk("watch", tmp_path / "in", low),
            Disk("watch", tmp_path / "in2", Space(50 * GIB, 100 * GIB, 2)),
            Disk("output", tmp_path / "out", low),
        ]
    )

    assert [room.roles for room in usages] == [("watched", "output"), ("watched",)]
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

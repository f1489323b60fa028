"""Metrics of the disks."""

from livepick.host.disks import Disk, Space
from livepick.monitoring.metrics.exporter import Metrics


def test_of_several_watched_folders_the_fullest_disk_is_exported(tmp_path):
    """The fullest counts, because one full disk stops its microscope."""
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


def test_a_disk_with_several_roles_is_marked_as_shared_for_all_but_the_first(tmp_path):
    """An alert on it fires once; a folder that does not exist yet has no disk."""
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

"""Free space of disks, and the limits at which it is low or used up."""

import os
from types import SimpleNamespace

import pytest

from livepick.host.disks import LOW_FRACTION, TIGHT_GIB, Space, space_of

GIB = 2**30


def test_a_folder_has_the_space_of_its_file_system(tmp_path):
    """The space of a missing folder is unknown."""
    space = space_of(tmp_path)

    assert 0 < space.free_bytes < space.size_bytes
    assert space.device == tmp_path.stat().st_dev
    assert space_of(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("blocks", "free", "flags"), [(0, 0, 0), (100, 0, os.ST_RDONLY | os.ST_NOSUID)]
)
def test_the_space_of_some_file_systems_is_unknown(tmp_path, monkeypatch, blocks, free, flags):
    """Some network file systems report no size; a read-only image is always full."""
    reported = SimpleNamespace(
        f_blocks=blocks, f_bfree=free, f_bavail=free, f_frsize=4096, f_flag=flags
    )
    monkeypatch.setattr(os, "statvfs", lambda _: reported)
    assert space_of(tmp_path) is None

    reported.f_blocks, reported.f_bfree, reported.f_bavail = 100, 20, 10
    space = space_of(tmp_path)
    assert (space.free_bytes, space.size_bytes) == (10 * 4096, 100 * 4096)


def test_low_and_full_are_separate_limits():
    """Low is a fraction, full is an amount: a small disk may be full but not low."""
    terabytes = Space(int(LOW_FRACTION * 100 * GIB), 100 * GIB, 1)
    assert not terabytes.is_low
    assert Space(terabytes.free_bytes - 1, terabytes.size_bytes, 1).is_low
    assert not terabytes.is_full
    assert Space(int(TIGHT_GIB * GIB) - 1, GIB, 1).is_full
    assert not Space(int(TIGHT_GIB * GIB) - 1, GIB, 1).is_low

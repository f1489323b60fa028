"""Type of the file system of a path, from the kernel's list of mounts."""

import os

import pytest

from livepick.host import filesystem
from livepick.host.filesystem import file_system_type, is_network


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    """Return a function that writes a list of mounts on the device of ``tmp_path``."""
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"

    def write(*places):
        lines = [
            f"36 35 {number} / {str(place).replace(' ', chr(92) + '040')} rw shared:1 - {kind} x rw"
            for place, kind in places
        ]
        (tmp_path / "mountinfo").write_text("\n".join(lines))
        monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "mountinfo")

    return write


def test_the_nearest_mount_counts(tmp_path, mounts):
    """Also if its name has blanks, the path does not exist yet, or it hides another mount."""
    (tmp_path / "a share").mkdir()
    mounts(("/", "ext4"), (tmp_path / "a share", "autofs"), (tmp_path / "a share", "nfs4"))
    assert file_system_type(tmp_path / "a share" / "new" / "file") == "nfs4"
    assert file_system_type(tmp_path) == "ext4"


def test_without_a_list_of_mounts_the_type_is_unknown(tmp_path, monkeypatch):
    """Only Linux has one."""
    monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "none")
    assert file_system_type(tmp_path) == ""


@pytest.mark.parametrize(("kind", "network"), [("nfs4", True), ("cifs", True), ("ext4", False)])
def test_network_file_systems_are_known_by_type(kind, network):
    """Other machines may write to them at the same time."""
    assert is_network(kind) is network

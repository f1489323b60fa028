"""The file system of a path: SQLite's WAL and inotify need a local one, and a mount may be lost."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Mount",
    "awaited_mount",
    "away",
    "file_system_type",
    "is_mounted",
    "is_network",
    "mount_of",
]

_MOUNTS = Path("/proc/self/mountinfo")
_FSTAB = Path("/etc/fstab")

# fmt: off
_NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs",
    "beegfs", "beegfs_nodev", "orangefs", "pvfs2", "panfs", "glusterfs", "ocfs2", "gfs2", "9p",
    "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs",
    "fuse.rclone", "fuse.davfs2", "fuse.moosefs", "fuse.juicefs", "fuse.mfs",
})
# fmt: on


def away(folders: Iterable[Path]) -> str | None:
    """Return which of some folders looks like a share that is not mounted; None if none does.

    Such a folder does not exist, cannot be listed, or is empty.
    """
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                if next(entries, None) is None:
                    return f"{folder} is empty; is the share mounted?"
        except OSError as error:
            return f"{folder} cannot be read: {error.strerror}"
    return None


def is_network(kind: str) -> bool:
    """Return True if other machines can write to a file system of this type at the same time."""
    return kind in _NETWORK


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    point: str
    """Folder that it is mounted on."""
    kind: str
    """Type, as ``ext4``."""
    source: str
    """Device or share; equal for bind mounts of the same file system."""

    def is_file_system_of(self, other: "Mount") -> bool:
        """Return True if both are mounts of the same file system."""
        return (self.kind, self.source) == (other.kind, other.source)


def file_system_type(path: Path) -> str:
    """Return the type of the file system that holds ``path``, as ``ext4``; "" if unknown.

    A path that does not exist yet counts as the nearest parent that does.
    """
    mount = mount_of(path)
    return "" if mount is None else mount.kind


def mount_of(path: Path) -> Mount | None:
    """Return the mount that holds ``path``, or its nearest parent that exists; None if unknown."""
    place = path.resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        device = place.stat().st_dev
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    best, best_length = None, -1
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        mount = _unescaped(fields[4])
        if place.is_relative_to(mount):
            # btrfs gives files another device number than its mount, so the longest path decides;
            # where one mount hides another, the device number decides.
            weight = 2 * len(mount) + (fields[2] == number)
            if weight >= best_length:
                kind, source = [*right.split(" "), "", ""][:2]
                best, best_length = Mount(mount, kind, _unescaped(source)), weight
    return best


def is_mounted(point: str) -> bool:
    """Return True if something is mounted on a folder; True also if that is unknown."""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return True
    return any(_unescaped(line.split(" ", 5)[4]) == point for line in lines)


def awaited_mount(path: Path) -> str | None:
    """Return the folder around ``path`` that ``/etc/fstab`` mounts and that is not mounted now."""
    try:
        lines = _FSTAB.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = path.resolve()
    for line in lines:
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        point = _unescaped(fields[1])
        if point.startswith("/") and place.is_relative_to(point) and not is_mounted(point):
            return point
    return None


def _unescaped(mount: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        mount = mount.replace(code, character)
    return mount

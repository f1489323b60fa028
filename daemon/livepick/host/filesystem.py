"""Type of the file system of a path: SQLite's WAL and inotify need a local one."""

import os
from pathlib import Path

__all__ = ["file_system_type", "is_network"]

_MOUNTS = Path("/proc/self/mountinfo")

# fmt: off
_NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs",
    "beegfs", "beegfs_nodev", "orangefs", "pvfs2", "panfs", "glusterfs", "ocfs2", "gfs2", "9p",
    "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs",
    "fuse.rclone", "fuse.davfs2", "fuse.moosefs", "fuse.juicefs", "fuse.mfs",
})
# fmt: on


def is_network(kind: str) -> bool:
    """Return True if other machines can write to a file system of this type at the same time."""
    return kind in _NETWORK


def file_system_type(path: Path) -> str:
    """Return the type of the file system that holds ``path``, as ``ext4``; "" if unknown.

    A path that does not exist yet counts as the nearest parent that does.
    """
    place = path.resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        device = place.stat().st_dev
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    best, best_length = "", -1
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        mount = _unescaped(fields[4])
        if place.is_relative_to(mount):
            # btrfs gives files another device number than its mount, so the longest path decides;
            # where one mount hides another, the device number decides.
            weight = 2 * len(mount) + (fields[2] == number)
            if weight >= best_length:
                best, best_length = right.split()[0], weight
    return best


def _unescaped(mount: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        mount = mount.replace(code, character)
    return mount

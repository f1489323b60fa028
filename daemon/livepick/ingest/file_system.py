"""File system of a folder: it decides how the folder is watched."""

from dataclasses import dataclass
from pathlib import Path

from livepick.host.filesystem import file_system_type

__all__ = ["FileSystem", "file_system"]

_LOCAL = frozenset(
    [
        "bcachefs",
        "btrfs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "jfs",
        "overlay",
        "ramfs",
        "reiserfs",
        "tmpfs",
        "xfs",
        "zfs",
    ]
)
_STABLE_INODES = frozenset(
    ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "afs", "gfs2", "ocfs2"]
)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system of a folder, as far as it matters for watching."""

    kind: str
    """Type as in ``mount``: ``ext4``, ``nfs4``, ``fuse.bindfs``; ``unknown`` if not found."""

    @property
    def local(self) -> bool:
        """True if every write goes through this kernel, so that inotify reports it."""
        return self.kind in _LOCAL

    @property
    def stable_inodes(self) -> bool:
        """True if a file keeps its inode number; FUSE and SMB may assign new ones at any time."""
        return self.local or self.kind in _STABLE_INODES


def file_system(folder: Path) -> FileSystem:
    """Return the file system that holds a folder."""
    return FileSystem(file_system_type(folder) or "unknown")

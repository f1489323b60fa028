"""Folders in which storage systems keep what was deleted, earlier copies, and thumbnails.

A file in a recycle bin or a snapshot is a complete micrograph with its proper name, so only the
name of its folder tells that it does not belong to the session. Folders whose name begins with a
dot are hidden, and left out for that reason alone; those of them that belong to a storage system
are named here so that an operator sees what they are.
"""

from typing import Final

__all__ = ["is_housekeeping_name"]

_NAMES: Final = frozenset(
    [
        # Synology
        "#recycle",
        "#snapshot",
        "@eadir",
        "@sharebin",
        "@sharesnap",
        "@synoeastream",
        "@synoresource",
        "@tmp",
        ".synologyworkingdirectory",
        # Netgear, Buffalo
        "recycle bin",
        "trashbox",
        # Nextcloud and ownCloud
        "files_trashbin",
        "files_versions",
        # QNAP
        "@recently-snapshot",
        "@recycle",
        "@transcode",
        "network recycle bin",
        "@__thumb",
        ".@__thumb",
        ".@backup_config",
        ".@upload_cache",
        ".qsync",
        ".qsync_sn",
        ".streams",
        # Snapshots of other file servers: NetApp, Isilon, EMC, ZFS, snapper, CephFS
        "~snapshot",
        ".ckpt",
        ".snap",
        ".snapshot",
        ".snapshots",
        ".zfs",
        # Samba, TrueNAS, Unraid, Windows servers
        "recycle.bin",
        "recycled",
        "recycler",
        "$recycle.bin",
        "$extend",
        ".deleted",
        ".recycle",
        ".recycle.bin",
        "dfsrprivate",
        "system volume information",
        # macOS, and file servers for it
        "__macosx",
        "network trash folder",
        "temporary items",
        ".appledb",
        ".appledesktop",
        ".appledouble",
        ".documentrevisions-v100",
        ".fseventsd",
        ".mobilebackups",
        ".spotlight-v100",
        ".temporaryitems",
        ".trash",
        ".trashes",
        # Linux and cluster file systems
        "lost+found",
        ".glusterfs",
        ".gvfs",
        ".thumbnails",
        "thumbnails",
        # programs that transfer or synchronize files
        ".dropbox.cache",
        ".rsync-partial",
        ".stfolder",
        ".stversions",
        ".sync",
        ".~tmp~",
    ]
)
"""Names in lower case."""

_BEGINNINGS: Final = (
    *("._", ".nfs", ".trash-", ".fuse_hidden", ".smbdelete", "@gmt-", "found.0"),
    "network recycle bin ",
)
"""Beginnings of names in lower case: AppleDouble, files deleted while open, the trash of a user,
the versions of a file on a Samba server, what a file system check recovered, and numbered recycle
bins of QNAP."""


def is_housekeeping_name(name: str) -> bool:
    """Return True if a storage system made a file or folder of this name for itself."""
    lower = name.lower()
    return lower in _NAMES or lower.startswith(_BEGINNINGS)

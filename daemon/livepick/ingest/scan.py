"""What is in a watched folder: an own recursive ``scandir``, and the file system it is on.

60 000 entries take a tenth of a second; watchdog's snapshots take eight times that and 51 MiB,
and its polling observer never recovers when the folder vanishes for a moment.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from livepick.core.formats.micrograph import FileVersion
from livepick.host.filesystem import file_system_type
from livepick.ingest.presets import Rules, is_ignored_name, is_image_name

__all__ = ["FileSystem", "Found", "Scan", "file_system", "look"]

MAX_DEPTH = 32
"""Of folders below a watched one; deeper is a mistake, or links that go round."""

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
    """The file system that a folder is on, as far as watching goes."""

    kind: str
    """As ``mount`` calls it: ``ext4``, ``nfs4``, ``fuse.bindfs``; ``unknown`` if not found."""

    @property
    def local(self) -> bool:
        """Whether every write passes this kernel, so that inotify hears of it."""
        return self.kind in _LOCAL

    @property
    def stable_inodes(self) -> bool:
        """Whether a file keeps its inode number; FUSE and SMB hand out new ones at will."""
        return self.local or self.kind in _STABLE_INODES


@dataclass(frozen=True, slots=True)
class Found:
    """A file that can be a micrograph."""

    relative: str
    """Path below the watched folder."""

    version: FileVersion
    blocked: str | None
    """What it has to wait for beside itself, in words."""


def file_system(folder: Path) -> FileSystem:
    """Return the file system that holds a folder."""
    return FileSystem(file_system_type(folder) or "unknown")


def look(root: Path, relative: str, rules: Rules, *, follow_symlinks: bool) -> Found | None:
    """Look at one file below ``root``; None unless it can be a micrograph.

    Raises
    ------
    OSError
        It is gone, or the system would not tell.
    """
    *folders, name = relative.split("/")
    if not is_image_name(name) or any(map(is_ignored_name, folders)):
        return None
    if not rules.selects(relative):
        return None
    path = root / relative
    status = path.stat() if follow_symlinks else path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return None

    def exists(sibling: str) -> bool:
        return os.path.lexists(path.parent / sibling)

    if rules.gives_way(name, exists):
        return None
    return Found(relative, FileVersion.of(status), rules.blocked(name, exists))


@dataclass
class Scan:
    """One pass over a watched folder, or over a folder below it.

    Iterating gives the finds folder by folder, so that the caller can do something else in
    between; the counts are right when it is done. Those of a folder are made one by one, for a
    session has tens of thousands: exhaust them before going on.

    Raises
    ------
    OSError
        The first folder cannot be listed. Those below are counted in ``unreadable`` instead.
    """

    root: Path
    rules: Rules
    follow_symlinks: bool
    skip: frozenset[str] = frozenset()
    """Paths of folders that are watched by themselves."""

    below: str = ""
    """Where to start, below ``root``; empty for all of it."""

    entries: int = 0
    """Names seen, whatever they are."""

    excluded: int = 0
    """Image files that the globs leave out, or that give way to a better version."""

    unreadable: list[str] = field(default_factory=list)
    """Folders that could not be listed, and why."""

    def __iter__(self) -> Iterator[Iterator[Found]]:
        waiting = [(self.below, self._identities_above())]
        first = True
        while waiting:
            relative, above = waiting.pop()
            try:
                with os.scandir(self.root / relative) as entries:
                    listed = list(entries)
            except OSError as error:
                if first:
                    raise
                self._note(relative, error)
                continue
            first = False
            self.entries += len(listed)
            yield self._files(relative, listed)
            waiting += self._folders(relative, listed, above)

    def _identities_above(self) -> frozenset[tuple[int, int]]:
        """Return the identities of the first folder and of those from there up to ``root``."""
        if not self.follow_symlinks:
            return frozenset()
        first = self.root / self.below
        depth = len(first.parts) - len(self.root.parts)
        statuses = [folder.stat() for folder in [first, *first.parents[:depth]]]
        return frozenset((status.st_dev, status.st_ino) for status in statuses)

    def _files(self, folder: str, listed: list[os.DirEntry[str]]) -> Iterator[Found]:
        names = {entry.name for entry in listed}
        for entry in listed:
            if not is_image_name(entry.name):
                continue
            relative = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if not entry.is_file(follow_symlinks=self.follow_symlinks):
                    continue
                if not self.rules.selects(relative) or self.rules.gives_way(
                    entry.name, names.__contains__
                ):
                    self.excluded += 1
                    continue
                # Unlike entry.stat, which the entry would keep as long as the list is there.
                status = os.stat(entry.path, follow_symlinks=self.follow_symlinks)  # noqa: PTH116
            except FileNotFoundError:  # moved on since it was listed
                continue
            except OSError as error:
                self._note(relative, error)
                continue
            if status.st_size > 0:
                blocked = self.rules.blocked(entry.name, names.__contains__)
                yield Found(relative, FileVersion.of(status), blocked)

    def _folders(
        self, folder: str, listed: list[os.DirEntry[str]], above: frozenset[tuple[int, int]]
    ) -> Iterator[tuple[str, frozenset[tuple[int, int]]]]:
        """Yield the folders to go into, each with the identities of those above it.

        A link that leads to a folder above itself would go round for ever; the identities are
        only needed, and only asked for, where links are followed.
        """
        for entry in listed:
            relative = f"{folder}/{entry.name}" if folder else entry.name
            if is_ignored_name(entry.name) or entry.path in self.skip:
                continue
            try:
                if not entry.is_dir(follow_symlinks=self.follow_symlinks):
                    continue
                identities = above
                if self.follow_symlinks:
                    status = entry.stat()
                    identity = (status.st_dev, status.st_ino)
                    if identity in above:
                        continue
                    identities = above | {identity}
            except OSError as error:
                self._note(relative, error)
                continue
            if relative.count("/") < MAX_DEPTH:
                yield relative, identities

    def _note(self, relative: str, error: OSError) -> None:
        self.unreadable.append(f"{relative}: {error.strerror or error}")

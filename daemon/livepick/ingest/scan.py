"""Recursive listing of a watched folder with ``scandir``.

Whatever looks like a micrograph and is left out is counted, by why it is. The service and
``livepick check`` use the same listing, so they take and leave out the same files.

60 000 entries take a tenth of a second. watchdog's snapshots take eight times as long and 51 MiB,
and its polling observer never recovers if the folder vanishes for a moment.
"""

import errno
import os
import stat
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from livepick.core.formats.file_version import FileVersion
from livepick.ingest.left_out_names import (
    is_left_out_folder,
    left_out_file_kind,
    left_out_folder_kind,
    may_be_watched_folder,
)
from livepick.ingest.presets import Rules, is_image_name
from livepick.ingest.products import is_product_folder_name
from livepick.ingest.skipped import BY_RULES, Tally

__all__ = ["Found", "Scan", "examine_file"]

MAX_DEPTH = 32
"""Largest depth of folders below a watched one; anything deeper is a mistake or circular links."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that can be a micrograph."""

    relative: str
    """Path below the watched folder."""

    version: FileVersion
    blocked: str | None
    """Reason, in words, why it has to wait for another file; None: it does not have to."""


def examine_file(
    root: Path,
    relative: str,
    rules: Rules,
    *,
    follow_symlinks: bool,
    movies: Container[str] = frozenset(),
) -> Found | None:
    """Check one file below ``root``; return None unless it can be a micrograph.

    ``movies`` are the paths of files that are no micrographs, whatever their names.

    Raises
    ------
    OSError
        The file is gone, or its status cannot be read.
    """
    *folders, name = relative.split("/")
    if not is_image_name(name) or any(map(is_left_out_folder, folders)):
        return None
    path = root / relative
    status = path.stat() if follow_symlinks else path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return None
    folder = "/".join(folders)

    def is_beside(other: str) -> bool:
        return os.path.lexists(path.parent / other) and _joined(folder, other) not in movies

    if rules.left_out(relative, is_beside) is not None:
        return None
    return Found(relative, FileVersion.of(status), rules.blocked(name, is_beside))


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A folder to be listed."""

    relative: str
    above: frozenset[tuple[int, int]]
    """Identities of the folders above it, if links are followed."""

    beside: frozenset[str] = frozenset()
    """Names in the folder above it, if it may hold products of what is there."""


@dataclass
class Scan:
    """One pass over a watched folder, or over a folder below it.

    Iterating yields the files found, folder by folder, so that the caller can do other work in
    between; the counts are correct once it has finished. The files of a folder are yielded lazily,
    because a session has tens of thousands: exhaust them before continuing.

    Raises
    ------
    OSError
        The first folder cannot be listed. Those below are counted as ``unreadable`` instead.
    """

    root: Path
    rules: Rules
    follow_symlinks: bool
    skip: frozenset[str] = frozenset()
    """Paths of folders that are watched separately."""

    below: str = ""
    """Path below ``root`` to start from; empty for all of it."""

    movies: Container[str] = frozenset()
    """Paths of files that are no micrographs, whatever their names."""

    entries: int = 0
    """Number of names seen, of any kind."""

    skipped: Tally = field(default_factory=Tally)
    """Files that look like micrographs and were left out."""

    @property
    def excluded(self) -> int:
        """Number of image files left out by their names, or because a better version exists."""
        return self.skipped.count(*BY_RULES)

    def __iter__(self) -> Iterator[Iterator[Found]]:
        waiting = [_Waiting(self.below, self._identities_above())]
        first = True
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(self.root / folder.relative) as entries:
                    listed = list(entries)
            except OSError as error:
                if first:
                    raise
                if not isinstance(error, FileNotFoundError):  # moved on since it was seen
                    self._unreadable(folder.relative, error)
                continue
            first = False
            self.entries += len(listed)
            yield self._files(folder, listed)
            waiting += self._folders(folder, listed)

    def _identities_above(self) -> frozenset[tuple[int, int]]:
        """Return the identities of the first folder and of those from there up to ``root``."""
        if not self.follow_symlinks:
            return frozenset()
        first = self.root / self.below
        depth = len(first.parts) - len(self.root.parts)
        statuses = [folder.stat() for folder in [first, *first.parents[:depth]]]
        return frozenset((status.st_dev, status.st_ino) for status in statuses)

    def _files(self, folder: _Waiting, listed: list[os.DirEntry[str]]) -> Iterator[Found]:
        names = {entry.name for entry in listed}
        is_beside = self._beside(folder, names)
        for entry in listed:
            relative = _joined(folder.relative, entry.name)
            try:
                if not is_image_name(entry.name):
                    self._count_other_file(relative, entry)
                    continue
                if not entry.is_file(follow_symlinks=self.follow_symlinks):
                    self._count_no_file(relative, entry)
                    continue
                left_out = self.rules.left_out(relative, is_beside)
                if left_out is not None:
                    self.skipped.add(left_out.kind, relative, left_out.rule)
                    continue
                # Not entry.stat: the entry would keep its result for as long as the list exists.
                status = os.stat(entry.path, follow_symlinks=self.follow_symlinks)  # noqa: PTH116
            except FileNotFoundError:  # moved on since it was listed
                continue
            except OSError as error:
                self._unreadable(relative, error)
                continue
            if status.st_size == 0:
                self.skipped.add("empty", relative)
                continue
            yield Found(relative, FileVersion.of(status), self.rules.blocked(entry.name, is_beside))

    def _beside(self, folder: _Waiting, names: set[str]) -> Callable[[str], bool]:
        """Return the function that returns True if a name is in a folder, or in the one above."""

        def is_beside(name: str) -> bool:
            if name.startswith("../"):
                return name[3:] in folder.beside
            return name in names and _joined(folder.relative, name) not in self.movies

        return is_beside

    def _count_other_file(self, relative: str, entry: os.DirEntry[str]) -> None:
        """Count a file that looks like an image, but whose name is not that of a micrograph."""
        kind = left_out_file_kind(entry.name)
        if kind is not None and not entry.is_dir(follow_symlinks=False):
            self.skipped.add(kind, relative)

    def _count_no_file(self, relative: str, entry: os.DirEntry[str]) -> None:
        """Count what has the name of a micrograph and is not a file."""
        if entry.is_symlink():
            if not self.follow_symlinks:
                self.skipped.add("link", relative)
            elif not entry.is_dir():
                is_there = os.path.exists(entry.path)  # noqa: PTH110 - of a DirEntry
                self.skipped.add("special_file" if is_there else "broken_link", relative)
        elif not entry.is_dir(follow_symlinks=False):
            self.skipped.add("special_file", relative)

    def _folders(self, folder: _Waiting, listed: list[os.DirEntry[str]]) -> Iterator[_Waiting]:
        """Yield the folders to descend into, each with the identities of those above it.

        A link to a folder above itself would cause an endless loop; the identities are only needed,
        and only read, if links are followed.
        """
        names: frozenset[str] | None = None
        for entry in listed:
            relative = _joined(folder.relative, entry.name)
            if entry.path in self.skip:
                continue
            try:
                if not entry.is_dir(follow_symlinks=self.follow_symlinks):
                    self._count_link(relative, entry)
                    continue
                if (left_out := left_out_folder_kind(entry.name)) is not None:
                    self.skipped.add(left_out, f"{relative}/")
                    continue
                identities = self._identities(folder, relative, entry)
            except OSError as error:
                if not is_image_name(entry.name):  # those are counted as files
                    self._unreadable(relative, error)
                continue
            if identities is None:
                continue
            if relative.count("/") >= MAX_DEPTH:
                self.skipped.add("too_deep", f"{relative}/")
                continue
            beside: frozenset[str] = frozenset()
            if is_product_folder_name(entry.name):
                names = frozenset(one.name for one in listed) if names is None else names
                beside = names
            yield _Waiting(relative, identities, beside)

    def _identities(
        self, folder: _Waiting, relative: str, entry: os.DirEntry[str]
    ) -> frozenset[tuple[int, int]] | None:
        """Return the identities of a folder and of those above it; None if it is above itself."""
        if not self.follow_symlinks:
            return folder.above
        status = entry.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in folder.above:
            self.skipped.add("link_loop", relative)
            return None
        return folder.above | {identity}

    def _count_link(self, relative: str, entry: os.DirEntry[str]) -> None:
        """Count a link that may be one to a folder.

        Its target is not looked at, because it may be on a share that hangs.
        """
        if entry.is_symlink() and may_be_watched_folder(entry.name):
            self.skipped.add("broken_link" if self.follow_symlinks else "link", relative)

    def _unreadable(self, relative: str, error: OSError) -> None:
        if error.errno == errno.ELOOP:
            self.skipped.add("broken_link", relative)
            return
        self.skipped.add("unreadable", relative, error.strerror or str(error))

"""The record of the files that livepick wrote to an output folder, in that folder.

``OUT/.livepick/written`` has one line for each file written or removed, and is only appended to, so
a file costs the same however long the session is. The line is on the disk before the file gets its
name: a kill between the two leaves a line without its file, never a file without a line. The line
also has the digest of the file that is replaced, because after such a kill that one is still there.

A line is ``+ DIGEST FORMER SIZE MTIME_NS<tab>NAME<tab>`` for a file written and ``-<tab>NAME<tab>``
for one removed; ``-`` stands for no digest. A line that a kill or a full disk cut short is ignored.
"""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from livepick.host.folder_files import read_file, write_whole

__all__ = ["NONE", "Journal", "Written", "digest_of", "digest_of_file"]

NAME = "written"
NONE = "-"
"""Digest of a file that was not there, or that was not read."""

_CHUNK = 1 << 20

_LINE = re.compile(
    r"^(-|\+ (?:[0-9a-f]{32}|-) (?:[0-9a-f]{32}|-) \d+ -?\d+)\t([^\t\n]+)\t$", re.MULTILINE
)


class Written(NamedTuple):
    """A file as livepick wrote it."""

    digest: str
    former: str
    """Digest of the file that it replaced."""
    size: int
    mtime_ns: int

    def is_like(self, status: os.stat_result) -> bool:
        """Return True if a file of this status need not be read to know that it is this one."""
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


def digest_of(data: bytes) -> str:
    """Return the digest of a file with this content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_of_file(file: BinaryIO) -> str:
    """Return the digest of an open file's content, from its start."""
    file.seek(0)
    digest = hashlib.blake2b(digest_size=16)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


class Journal:
    """The record of an output folder. The folder is passed as an open descriptor of ``.livepick``.

    Raises
    ------
    OSError
        From every method with a folder: it cannot be read or written.
    """

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}  # packed, because a session has tens of thousands
        self._identity: tuple[int, int] | None = None
        self._ends_torn = False
        self._line_count = 0
        self._size = 0
        """Size of the record as far as it was read or written; another process may have added."""

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._lines))

    def get(self, name: str) -> Written | None:
        """Return the file of this name as livepick wrote it; None if it did not."""
        line = self._lines.get(name)
        return None if line is None else _parsed(line)

    def load(self, folder: int) -> None:
        """Read the record, if it is another one than before."""
        identity = _identity(folder)
        if identity is not None and identity != self._identity:
            self._read(folder, identity)

    def refresh(self, folder: int) -> bool:
        """Read the record again if another process has added to it; return True if it has."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(NAME, dir_fd=folder, follow_symlinks=False).st_size != self._size:
                self._read(folder, _identity(folder))
                return True
        return False

    def _read(self, folder: int, identity: tuple[int, int] | None) -> None:
        data = read_file(folder, NAME) or b""
        self._lines = {}
        for packed, name in _LINE.findall(os.fsdecode(data)):
            self._put(name, packed)
        self._ends_torn = bool(data) and not data.endswith(b"\n")
        self._identity = identity
        self._line_count = data.count(b"\n")
        self._size = len(data)

    def compact(self, folder: int) -> None:
        """Write the record again without the lines that later ones replace, if it has many.

        Only for the service at its start: another process may be appending.
        """
        if self._line_count > 2 * len(self._lines) + 1000:
            self._write_all(folder)

    def append(self, folder: int, entries: Iterable[tuple[str, Written | None]]) -> None:
        """Record files, and wait until that is on the disk; None: the file was removed.

        If the record has gone, it is written again from memory.
        """
        lines = [(name, _packed(written)) for name, written in entries]
        if _identity(folder) is None and self._lines:
            self._write_all(folder)
        text = b"".join(_line(name, packed) for name, packed in lines)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(NAME, flags, 0o666, dir_fd=folder)
        try:
            whole = (b"\n" if self._ends_torn else b"") + text
            self._ends_torn = True  # until all of it is written
            if os.write(descriptor, whole) < len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._ends_torn = False
            os.fdatasync(descriptor)
            status = os.fstat(descriptor)
            if status.st_size == self._size + len(whole):  # else it is read again when in doubt
                self._size = status.st_size
            self._identity = (status.st_dev, status.st_ino)
        finally:
            os.close(descriptor)
        for name, line in lines:
            self._put(name, line)

    def forget(self, names: Iterable[str]) -> None:
        """Forget files, until the record is read again."""
        for name in names:
            self._lines.pop(name, None)

    def _put(self, name: str, packed: str) -> None:
        if packed == NONE:
            self._lines.pop(name, None)
        else:
            self._lines[name] = packed

    def _write_all(self, folder: int) -> None:
        data = b"".join(_line(*entry) for entry in self._lines.items())
        write_whole(folder, NAME, data)
        self._size = len(data)
        self._identity = _identity(folder)
        self._ends_torn = False
        self._line_count = len(self._lines)


def _identity(folder: int) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
        return status.st_dev, status.st_ino
    return None


def _line(name: str, packed: str) -> bytes:
    return os.fsencode(f"{packed}\t{name}\t\n")


def _packed(written: Written | None) -> str:
    if written is None:
        return NONE
    return f"+ {written.digest} {written.former} {written.size} {written.mtime_ns}"


def _parsed(line: str) -> Written:
    _, digest, former, size, mtime_ns = line.split(" ")
    return Written(digest, former, int(size), int(mtime_ns))

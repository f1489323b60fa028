"""Files below a folder, reached without following links: neither a folder nor a file may be one.

Paths are taken apart, and each part is opened in the folder that was opened before it
(``openat`` with ``O_NOFOLLOW``), so a link that is planted at any moment cannot lead out of the
folder. The folder itself may be reached through links.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from livepick.host.atomic_files import TEMPORARY_PREFIX

__all__ = [
    "ObstacleError",
    "draft",
    "is_draft",
    "open_below",
    "open_file",
    "put_in_place",
    "read_file",
    "status_of",
    "write_whole",
]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RENAME_NOREPLACE = 1
_NOT_KNOWN = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of ``renameat2`` on file systems, such as NFS, that cannot rename without replacing."""

_HEX = frozenset("0123456789abcdef")

_rename: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


class ObstacleError(OSError):
    """A link, or a file, is where a folder belongs.

    Parameters
    ----------
    code
        Error number of the system.
    depth
        Number of parts of the path through the obstacle.
    """

    def __init__(self, code: int, depth: int) -> None:
        super().__init__(code, os.strerror(code))
        self.depth = depth


@contextlib.contextmanager
def open_below(root: int, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """Open a folder below an open one; ``create`` makes missing ones, synced to disk.

    Raises
    ------
    FileNotFoundError
        A folder does not exist, and ``create`` is False.
    ObstacleError
        A part of the path is a link or a file.
    """
    if not parts:
        yield root
        return
    with contextlib.ExitStack() as opened:
        folder = root
        for depth, part in enumerate(parts, 1):
            try:
                folder = _enter(folder, part, create=create)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    raise ObstacleError(error.errno, depth) from error
                raise
            opened.callback(os.close, folder)
        yield folder


def _enter(folder: int, part: str, *, create: bool) -> int:
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, dir_fd=folder)
        os.fsync(folder)
    return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def status_of(folder: int, name: str) -> os.stat_result | None:
    """Return the status of what has this name in a folder, itself a link or not; None: nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def open_file(folder: int, name: str) -> BinaryIO:
    """Open a regular file for reading.

    Raises
    ------
    FileNotFoundError
        There is none.
    OSError
        It is a link, a folder or a device, or cannot be read.
    """
    # O_NONBLOCK: opening a named pipe must not wait for its writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")  # noqa: TRY301 - closed below
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(folder: int, name: str) -> bytes | None:
    """Return the content of a regular file; None if there is none. Raises as ``open_file``."""
    try:
        with open_file(folder, name) as file:
            return file.read()
    except FileNotFoundError:
        return None


def is_draft(name: str) -> bool:
    """Return True if this is the name of an unfinished file of livepick."""
    middle = name.removeprefix(TEMPORARY_PREFIX).removesuffix(".tmp")
    return name == f"{TEMPORARY_PREFIX}{middle}.tmp" and bool(middle) and set(middle) <= _HEX


@contextlib.contextmanager
def draft(folder: int) -> Iterator[tuple[str, BinaryIO]]:
    """Open a new temporary file for reading and writing; it is removed unless it was renamed."""
    name = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o666, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield name, file
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def put_in_place(folder: int, draft: str, name: str, *, new: bool) -> None:
    """Rename a draft, and sync the folder; ``new``: nothing must have the name yet.

    Raises
    ------
    FileExistsError
        Something has the name, and ``new`` is True.
    """
    if new:
        _rename_without_replacing(folder, draft, name)
    else:
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _rename_without_replacing(folder: int, draft: str, name: str) -> None:
    code = errno.ENOSYS
    if _rename is not None:
        old, new = os.fsencode(draft), os.fsencode(name)
        if _rename(folder, old, folder, new, _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
    if code not in _NOT_KNOWN:
        raise OSError(code, os.strerror(code), name)
    if status_of(folder, name) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


def write_whole(folder: int, name: str, data: bytes) -> None:
    """Write or replace a file atomically, synced to disk. Raises OSError."""
    with draft(folder) as (temporary, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        put_in_place(folder, temporary, name, new=False)

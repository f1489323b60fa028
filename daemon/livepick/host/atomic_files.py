"""Atomic writing of files: written beside their destination, synced, and renamed into place."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "TEMPORARY_PREFIX",
    "fsync_folder",
    "make_folder",
    "replace_unchanged",
    "write_atomically",
    "write_synced",
]

TEMPORARY_PREFIX = ".livepick-"
"""Prefix of our own unfinished files, which may be removed at the start."""


def fsync_folder(folder: Path) -> None:
    """Make renames and new names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes, *, like: os.stat_result | None = None) -> None:
    """Write ``data`` so that ``path`` is at every moment the old file, the new one, or absent.

    Parameters
    ----------
    path, data
        The destination, and the content.
    like
        Status of a file whose owner, group and permissions the new one gets; None: those of any
        new file of this process. Root, as by sudo, gives it to the owner of the folder, who could
        not read or replace it otherwise.

    Raises
    ------
    OSError
        The file cannot be written. Nothing was changed, and no temporary file is left behind.
    """
    with _draft(path.parent) as (draft, file):
        _fill(file, data, path.parent, like)
        _put_in_place(draft, path)


def replace_unchanged(
    path: Path, former: bytes, data: bytes, *, like: os.stat_result | None = None
) -> bool:
    """Write ``data`` in the place of a file that others edit, if it still has the content it had.

    The comparison comes last, when ``data`` is on the disk: an edit that is made while a new
    content is computed and written is not lost.

    Parameters
    ----------
    path, former, data
        The file, the content that was read, and the new content.
    like
        As in ``write_atomically``.

    Returns
    -------
    bool
        False if the file has another content, or is gone; nothing was changed then.

    Raises
    ------
    OSError
        The file cannot be read or written. Nothing was changed.
    """
    with _draft(path.parent) as (draft, file):
        _fill(file, data, path.parent, like)
        try:
            is_unchanged = path.read_bytes() == former
        except FileNotFoundError:
            is_unchanged = False
        if is_unchanged:
            _put_in_place(draft, path)
        else:
            draft.unlink()
    return is_unchanged


def make_folder(path: Path) -> None:
    """Make a folder unless it is there. Root gives it to the owner of the one that it is in.

    Raises
    ------
    OSError
        It cannot be made.
    """
    path.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _give_to_owner(descriptor, path.parent)
        finally:
            os.close(descriptor)


def _give_to_owner(descriptor: int, folder: Path) -> None:
    """Give a file to the owner of a folder if this process is root's and that one is not."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    if owner.st_uid != 0:
        with contextlib.suppress(OSError):  # a file system without owners
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a temporary file, and remove it if something fails."""
    draft = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield draft, file
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _fill(file: BinaryIO, data: bytes, folder: Path, like: os.stat_result | None) -> None:
    """Write a temporary file, and wait until it is on the disk."""
    file.write(data)
    if like is not None:
        _make_alike(file.fileno(), like)
    else:
        _give_to_owner(file.fileno(), folder)
    file.flush()
    os.fsync(file.fileno())


def _put_in_place(draft: Path, path: Path) -> None:
    draft.replace(path)
    fsync_folder(path.parent)


def _make_alike(descriptor: int, like: os.stat_result) -> None:
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))

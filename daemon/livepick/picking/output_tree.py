"""The output folder: where the files of a micrograph are, and how they are written.

The tree of the watched folder is mirrored below the output folder, because file names are unique
only within a folder. A single watched folder is mirrored directly. If there are several, each gets
a folder with its own name, plus as many parent folders as are needed to tell them apart. This is
done always, not just on collision, so that the location of a file does not depend on which one came
first. When a second folder is added to a session, the coordinates of the first move at the next
start (``output_sync``); the list then names the new locations.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from livepick.core.formats.image_names import image_stem
from livepick.errors import MicrographError, OutputError
from livepick.host.atomic_files import (
    TEMPORARY_PREFIX,
    fsync_folder,
    replace_if_different,
    write_atomically,
)

__all__ = [
    "Branches",
    "remove_file",
    "sweep",
    "write_file",
    "write_if_different",
    "write_large_if_different",
]

_PERMANENT = (
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EILSEQ,
    errno.EINVAL,
    errno.ELOOP,
)
"""Errors caused by a file name, which a retry does not fix."""

_REMEDY = "Free disk space, or give the service's user write permission there; livepick retries."


class Branches:
    """The sub-folder of each watched folder in the mirrored tree.

    Parameters
    ----------
    roots
        All watched folders that the session has or had.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self._branches = _branches(sorted(set(roots)))

    def place(self, root: Path, relative: Path) -> Path:
        """Return the path of a micrograph in the mirrored tree, without its suffix.

        Raises
        ------
        MicrographError
            No STAR file could hold such a name.
        """
        _check_name(relative)
        branch = self._branches.get(root, Path(root.name))
        return branch / relative.parent / image_stem(relative)


def write_file(path: Path, data: bytes) -> None:
    """Write a file of a micrograph, or replace it; create its folder if needed.

    Raises
    ------
    OutputError
        Writing to the folder failed; a later try may succeed.
    MicrographError
        The micrograph's name cannot be used as a file name here.
    """
    try:
        _make_folders(path.parent)
        write_atomically(path, data)
    except OSError as error:
        if error.errno in _PERMANENT:
            raise MicrographError(
                f"{path} cannot be created: {error.strerror}",
                "Rename the micrograph, or the file or folder that is in the way.",
            ) from error
        raise _refused(path, error) from error


def remove_file(path: Path) -> None:
    """Remove a file of a micrograph, if it exists.

    Raises
    ------
    OutputError
        Removing it failed; a later try may succeed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _PERMANENT:
            raise _refused(path, error) from error


def write_if_different(path: Path, data: bytes) -> bool:
    """Write a file unless it has this content already; return True if it was written.

    Raises
    ------
    OutputError
        Writing to the folder failed; a later try may succeed.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == data:
                return False
        _make_folders(path.parent)
        write_atomically(path, data)
    except OSError as error:
        raise _refused(path, error) from error
    return True


def write_large_if_different(path: Path, write: Callable[[BinaryIO], None]) -> bool:
    """Let ``write`` write a file; keep it if it differs from ``path``, and return True then.

    Raises
    ------
    OutputError
        Writing to the folder failed; a later try may succeed.
    """
    try:
        _make_folders(path.parent)
        return replace_if_different(path, write)
    except OSError as error:
        raise _refused(path, error) from error


def sweep(directory: Path) -> int:
    """Remove unfinished files left behind by a killed service; return how many."""
    count = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            if name.startswith(TEMPORARY_PREFIX) and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    Path(folder, name).unlink()
                    count += 1
    return count


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} could not be written: {error.strerror}", _REMEDY)


def _branches(roots: Sequence[Path]) -> dict[Path, Path]:
    """Return the output subfolder of each watched folder."""
    if len(roots) == 1:
        return {roots[0]: Path()}
    parts = {root: root.relative_to(root.anchor).parts for root in roots}
    depth = 1
    while len({names[-depth:] for names in parts.values()}) < len(roots):
        depth += 1
    return {root: Path(*names[-depth:]) for root, names in parts.items()}


def _make_folders(folder: Path) -> None:
    """Create a folder and its parents, synced to disk so that they survive a power cut."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    fsync_folder(folder.parent)


def _check_name(relative: Path) -> None:
    text = str(relative)
    if text.isprintable() and '"' not in text:
        return
    raise MicrographError(
        f"{text!r} has a character that a STAR file cannot contain (a line break or a quotation"
        " mark)",
        "Rename the micrograph.",
    )

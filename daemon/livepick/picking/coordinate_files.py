"""Coordinates files in the output folder: one for each micrograph, and the session's list of them.

``MICROGRAPH_autopick.star`` is the name that RELION's own pickers use. The tree of the watched
folder is mirrored below the output folder, because file names are unique only within a folder. A
single watched folder is mirrored directly. If there are several, each gets a folder with its own
name, plus as many parent folders as are needed to tell them apart. This is done always, not just on
collision, so that the location of a file does not depend on which one came first. When a second
folder is added to a session, the coordinates of the first move at the next start; the list then
names the new locations.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from livepick.core.formats.relion_star import ListEntry, coordinates_star, list_star
from livepick.core.imaging.picks import Picks
from livepick.errors import MicrographError, OutputError
from livepick.host.atomic_files import TEMPORARY_PREFIX, fsync_folder, write_atomically
from livepick.ledger.rows import Visible

__all__ = ["LIST", "SUFFIX", "CoordinateFiles", "write_if_different"]

SUFFIX = "_autopick.star"
"""File name suffix by which RELION finds the coordinates of a micrograph."""

LIST = "autopick.star"
"""Name of the session's list of coordinates files."""

_PERMANENT = (
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EILSEQ,
    errno.EINVAL,
    errno.ELOOP,
)
"""Errors caused by a file name, which a retry does not fix."""


class CoordinateFiles:
    """The coordinates files of a session, as RELION STAR.

    Parameters
    ----------
    directory
        Output folder; it is created when the first file is written.
    roots
        All watched folders that the session has or had.
    """

    def __init__(self, directory: Path, roots: Iterable[Path]) -> None:
        self.directory = directory
        self._branches = _branches(sorted(set(roots)))

    def place(self, root: Path, relative: Path) -> Path:
        """Return the path of a micrograph's coordinates file.

        Raises
        ------
        MicrographError
            RELION could not read such a name.
        """
        _check_name(relative)
        branch = self._branches.get(root, Path(root.name))
        return self.directory / branch / relative.parent / f"{relative.stem}{SUFFIX}"

    def write(self, root: Path, relative: Path, picks: Picks, *, version: int, kind: str) -> None:
        """Write the coordinates of a micrograph, or replace them.

        Parameters
        ----------
        root, relative
            Watched folder, and path of the micrograph below it.
        picks
            Picks above the threshold. If there are none, the file has no rows.
        version, kind
            Version and kind of the model that made them.

        Raises
        ------
        OutputError
            Writing to the folder failed; a later try may succeed.
        MicrographError
            The micrograph's name cannot be used as a file name here.
        """
        path = self.place(root, relative)
        try:
            _make_folders(path.parent)
            write_atomically(path, coordinates_star(picks, version=version, kind=kind))
        except OSError as error:
            raise _translated(path, error) from error

    def remove(self, root: Path, relative: Path) -> None:
        """Remove the coordinates of a micrograph, if there are any.

        Raises
        ------
        OutputError
            Removing them failed; a later try may succeed.
        """
        try:
            path = self.place(root, relative)
            path.unlink(missing_ok=True)
        except MicrographError:
            return  # there can be none
        except OSError as error:
            if error.errno not in _PERMANENT:
                raise _translated(path, error) from error

    def is_missing(self, root: Path, relative: Path) -> bool:
        """Return True if the coordinates file of a micrograph does not exist."""
        return not os.path.lexists(self.place(root, relative))

    def write_list(self, entries: Iterable[Visible]) -> bool:
        """Write the session's list if it differs from the existing one; return True if it did.

        Raises
        ------
        OutputError
            Writing to the folder failed; a later try may succeed.
        """
        listed = list_star(
            [
                ListEntry(
                    entry.root / entry.relative,
                    self.place(entry.root, entry.relative),
                    entry.model_version,
                    entry.model_kind,
                )
                for entry in entries
            ]
        )
        return write_if_different(self.directory / LIST, listed)

    def sweep(self) -> int:
        """Remove unfinished files left behind by a killed service; return how many."""
        count = 0
        for folder, _, names in os.walk(self.directory):
            for name in names:
                if name.startswith(TEMPORARY_PREFIX) and name.endswith(".tmp"):
                    with contextlib.suppress(OSError):
                        Path(folder, name).unlink()
                        count += 1
        return count


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
        raise OutputError(f"{path} could not be written: {error.strerror}", _REMEDY) from error
    return True


_REMEDY = "Free disk space, or give the service's user write permission there; livepick retries."


def _translated(path: Path, error: OSError) -> MicrographError | OutputError:
    if error.errno in _PERMANENT:
        return MicrographError(
            f"{path} cannot be created: {error.strerror}",
            "Rename the micrograph, or the file or folder that is in the way.",
        )
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

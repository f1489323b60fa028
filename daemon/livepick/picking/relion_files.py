"""Coordinates files for RELION: one for each micrograph, and the session's lists of them.

``MICROGRAPH_autopick.star`` is the name that RELION's own pickers use. RELION 4 and later read the
list ``autopick.star``; RELION 3.1 derives the place of each file from the name of the micrograph,
and knows the folder by ``coords_suffix_autopick.star``.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from livepick.core.formats.image_names import without_image_suffix
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.relion_star import ListEntry, coordinates_star, list_star, suffix_star
from livepick.errors import MicrographError
from livepick.ledger.output_rows import Visible
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_tree import Branches
from livepick.picking.relion_project import RelionProject, after_job

__all__ = ["LIST", "MICROGRAPHS", "SUFFIX", "SUFFIX_LIST", "RelionFiles", "relion_place"]

SUFFIX = "_autopick.star"
"""File name suffix by which RELION finds the coordinates of a micrograph."""

LIST = "autopick.star"
"""Name of the session's list of coordinates files."""

SUFFIX_LIST = "coords_suffix_autopick.star"
"""Name of the file by which RELION 3.1 knows a folder of coordinates."""

MICROGRAPHS = "micrographs.star"
"""Name of the list of micrographs that livepick writes."""


_log = logging.getLogger(__name__)


def _all_are_final(kind: str) -> bool:
    del kind
    return True


def relion_place(
    root: Path, relative: Path, branches: Branches, project: RelionProject | None
) -> Path:
    """Return the path of a micrograph's coordinates file below their folder.

    Raises
    ------
    MicrographError
        No STAR file could hold such a name.
    """
    mirrored = branches.place(root, relative)
    name = None if project is None else project.name(root / relative)
    if name is not None and ".." not in (below := after_job(name)).parts:
        mirrored = Path(without_image_suffix(below))
    return mirrored.parent / f"{mirrored.name}{SUFFIX}"


class RelionFiles:
    """The coordinates files of a session for RELION. Thread-safe.

    Parameters
    ----------
    folder
        Folder of the coordinates: the output folder, or with a project that of its job.
    branches
        Sub-folders of the watched folders; used without a project.
    project
        RELION project that takes the coordinates. None: names are absolute paths.
    verdicts
        Quality verdicts of the micrographs in the list.
    micrographs_star
        List of micrographs in the project that the coordinates are for.
    """

    def __init__(
        self,
        folder: OutputFolder,
        branches: Branches,
        *,
        project: RelionProject | None = None,
        verdicts: Collection[str] = ("good", "doubtful", "bad"),
        micrographs_star: str | None = None,
    ) -> None:
        self.folder = folder
        self.directory = folder.path
        self._branches = branches
        self._project = project
        self._verdicts = verdicts
        self._micrographs_star = micrographs_star
        self._is_final: Callable[[str], bool] = _all_are_final
        self._has_told = False
        self._owners: dict[Path, tuple[Path, Path]] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the format."""
        return "relion"

    def publish_if(self, is_final: Callable[[str], bool]) -> None:
        """Write only the picks of those kinds of models for which the function returns True."""
        self._is_final = is_final

    def place(self, root: Path, relative: Path) -> Path:
        """Return the path of a micrograph's coordinates file. Raises MicrographError."""
        return self.directory / relion_place(root, relative, self._branches, self._project)

    def write(self, root: Path, relative: Path, micrograph: PickedMicrograph) -> None:
        """Write or replace the coordinates of a micrograph.

        Raises
        ------
        OutputError
            Writing to the folder failed; a later try may succeed.
        OccupiedError
            Something that livepick did not write is in the way.
        MicrographError
            The micrograph's name cannot be used, or another one has the file: RELION leaves the
            job out of a name, so micrographs of two jobs may have the same.
        """
        if not self._is_final(micrograph.model_kind):
            return
        path = self._own_place(root, relative)
        if path is None:
            raise MicrographError(
                f"{root / relative} would have the same coordinates file in RELION as"
                f" {Path(*self._owners[self.place(root, relative)])}",
                "Watch the micrographs of one job only, or leave one out with watch.exclude.",
            )
        self.folder.write(path, coordinates_star(micrograph))

    def remove(self, root: Path, relative: Path) -> None:
        """Remove the coordinates of a micrograph, if there are any. Raises OutputError."""
        path = self._own_place(root, relative)
        if path is not None:
            with self._lock:
                self._owners.pop(path, None)
            self.folder.remove(path)

    def is_missing(self, entry: Visible) -> bool:
        """Return True if the coordinates file of a micrograph should exist and does not."""
        if not self._is_final(entry.model_kind):
            return False
        path = self._own_place(entry.root, entry.relative)
        return path is not None and self.folder.is_due(path)

    def write_list(self, entries: Iterable[Visible]) -> bool:
        """Write the session's lists if they differ; return True if one did. Raises OutputError.

        What has been published stays in the list; otherwise RELION would drop its particles.
        """
        waiting = 0

        def listed() -> Iterator[ListEntry]:
            nonlocal waiting
            for entry in entries:
                if entry.verdict not in self._verdicts:
                    continue
                path = self._own_place(entry.root, entry.relative)
                if path is not None and self._is_listed(entry, path):
                    yield self._entry(entry, path)
                elif path is not None:
                    waiting += not self._is_final(entry.model_kind)

        def fill(file: BinaryIO) -> None:
            file.writelines(list_star(listed()))

        changed = self.folder.write_large_if_different(self.directory / LIST, fill)
        if waiting and not self._has_told:
            self._tell(waiting)
        if self._project is not None:
            names = self._micrographs_star or str(self._project.job / MICROGRAPHS)
            changed |= self.folder.write_if_different(
                self.directory / SUFFIX_LIST, suffix_star(names)
            )
        return changed

    def _is_listed(self, entry: Visible, path: Path) -> bool:
        """Return True unless it is not final, or RELION would take another file for the picks."""
        if self.folder.wrote(path):
            return True
        return self._is_final(entry.model_kind) and not self.folder.is_there(path)

    def _tell(self, waiting: int) -> None:
        """Log once that RELION waits for final picks."""
        self._has_told = True
        _log.info(
            "RELION gets picks as soon as they are final, so those of %d micrographs wait; with"
            " output.relion.publish: all it gets them at once",
            waiting,
        )

    def _entry(self, entry: Visible, coordinates: Path) -> ListEntry:
        micrograph = entry.root / entry.relative
        name = str(micrograph)
        if self._project is not None:
            name = self._project.name(micrograph) or name
            coordinates = coordinates.relative_to(self._project.folder)
        return ListEntry(name, coordinates, entry.model_version, entry.model_kind)

    def _own_place(self, root: Path, relative: Path) -> Path | None:
        """Return the path of a micrograph's coordinates file; None if it is another one's file.

        The first micrograph that claims a file keeps it until it is removed or gets another name.
        Without a project, the names that the ledger accepts are all different.
        """
        path = self.place(root, relative)
        if self._project is None:
            return path
        with self._lock:
            owner = self._owners.get(path, (root, relative))
            if owner != (root, relative) and self.place(*owner) == path:
                return None
            self._owners[path] = (root, relative)
        return path

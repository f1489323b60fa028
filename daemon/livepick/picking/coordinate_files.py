"""Coordinates files in the output folder, one for each micrograph, in formats without a list.

Each format has a folder of its own name below the output folder, in which the tree of the watched
folders is mirrored.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from livepick.core.formats.cryolo_cbox import write_cbox
from livepick.core.formats.csv_coordinates import write_csv
from livepick.core.formats.eman_box import write_box
from livepick.core.formats.eman_json import write_info
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.relion_star import particles_star
from livepick.core.formats.topaz import write_topaz
from livepick.ledger.output_rows import Visible
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_tree import Branches

__all__ = ["CoordinateFiles", "FileFormat", "file_formats"]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format with one file for each micrograph."""

    name: str
    """Name of the format, and of its folder."""

    suffix: str
    """End of the file's name, after the name of the micrograph."""

    write: Callable[[PickedMicrograph], bytes]

    folder: str = ""
    """Folder that the program expects around the files of one folder of micrographs."""

    def place(self, mirrored: Path) -> Path:
        """Return the path of the file of a micrograph; ``mirrored``: its place in the tree."""
        return mirrored.parent / self.folder / f"{mirrored.name}{self.suffix}"


def file_formats(*, flip_tiff: bool) -> dict[str, FileFormat]:
    """Return the formats by name.

    Parameters
    ----------
    flip_tiff
        True if ``star`` files are for a program that turns the rows of a TIFF over.
    """

    def star(micrograph: PickedMicrograph) -> bytes:
        return particles_star(micrograph, turned=flip_tiff)

    formats = (
        FileFormat("star", ".star", star),
        FileFormat("eman", ".box", write_box),
        FileFormat("eman-json", "_info.json", write_info, folder="info"),
        FileFormat("cbox", ".cbox", write_cbox),
        FileFormat("topaz", ".txt", write_topaz),
        FileFormat("csv", ".csv", write_csv),
    )
    return {one.name: one for one in formats}


class CoordinateFiles:
    """The coordinates files of a session in one format.

    Parameters
    ----------
    file_format
        The format.
    folder
        Output folder.
    branches
        Sub-folders of the watched folders.
    """

    def __init__(self, file_format: FileFormat, folder: OutputFolder, branches: Branches) -> None:
        self._format = file_format
        self.folder = folder
        self._directory = folder.path / file_format.name
        self._branches = branches

    @property
    def name(self) -> str:
        """Name of the format."""
        return self._format.name

    def place(self, root: Path, relative: Path) -> Path:
        """Return the path of a micrograph's coordinates file. Raises MicrographError."""
        return self._format.place(self._directory / self._branches.place(root, relative))

    def write(self, root: Path, relative: Path, micrograph: PickedMicrograph) -> None:
        """Write or replace the coordinates of a micrograph. Raises as ``OutputFolder.write``."""
        self.folder.write(self.place(root, relative), self._format.write(micrograph))

    def remove(self, root: Path, relative: Path) -> None:
        """Remove the coordinates of a micrograph, if there are any. Raises OutputError."""
        self.folder.remove(self.place(root, relative))

    def is_missing(self, entry: Visible) -> bool:
        """Return True if the coordinates file of a micrograph does not exist, or is not ours."""
        return self.folder.is_due(self.place(entry.root, entry.relative))

    def write_list(self, entries: Iterable[Visible]) -> bool:
        """Do nothing: the format has no list."""
        del entries
        return False

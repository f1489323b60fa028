"""Interfaces of a format and of a table to the synchronization of the output folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.ledger.output_rows import Visible
from livepick.ledger.reader import LedgerReader
from livepick.picking.output_folder import OutputFolder

__all__ = ["Export", "SessionTable"]


class Export(Protocol):
    """The coordinates files of a session in one format, as in ``picking.coordinate_files``.

    Every method raises OutputError if writing to the folder fails for now, MicrographError if a
    micrograph cannot have a file, and OccupiedError if a file of somebody else is in its place.
    """

    @property
    def name(self) -> str:
        """Name of the format."""

    @property
    def folder(self) -> OutputFolder:
        """Folder that has the files."""

    def place(self, root: Path, relative: Path) -> Path:
        """Return the path of a micrograph's coordinates file."""

    def write(self, root: Path, relative: Path, micrograph: PickedMicrograph) -> None:
        """Write or replace the coordinates of a micrograph."""

    def remove(self, root: Path, relative: Path) -> None:
        """Remove the coordinates of a micrograph, if there are any."""

    def is_missing(self, entry: Visible) -> bool:
        """Return True if the coordinates file of a micrograph should exist and does not."""

    def write_list(self, entries: Iterable[Visible]) -> bool:
        """Write the session's list if it differs; return True if it did."""


class SessionTable(Protocol):
    """A file about the session as a whole, as in ``picking.micrograph_table``."""

    def write(self, ledger: LedgerReader) -> bool:
        """Write the file if it differs; return True if it did. Raise OutputError as above."""

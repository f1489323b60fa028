"""Files that a session has written, for people: where they are, and their bytes as they are."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from livepick.config.schema import Config
from livepick.host.foreign_files import open_regular
from livepick.picking.cryosparc_files import FILES, FOLDER
from livepick.picking.downloads import Downloads
from livepick.picking.relion_files import LIST, SUFFIX_LIST

__all__ = ["OpenedFile", "SessionFile", "open_file", "session_files", "shown_files"]

REPORT_FILE = "session_report.html"

PIECE_BYTES = 256 << 10
"""Bytes that are read at once."""

_PURPOSES: Final = {
    "micrographs.csv": "all figures of each micrograph, for a spreadsheet or pandas",
    "micrographs.star": "all micrographs, for RELION",
    "good_micrographs.star": "the good micrographs, for RELION",
    "micrographs_ctf.star": "the micrographs with a CTF, for RELION's Particle extraction",
    "micrograph_quality.star": "all figures of each micrograph, as STAR",
    "autopick.star": "the coordinates files of all micrographs, for RELION 4 and later",
    "coords_suffix_autopick.star": "the same for RELION 3.1",
    "cryosparc/picks.cs": "all picks, for cryoSPARC",
    "cryosparc/picks.csg": "its group, for cryoSPARC's Import Result Group",
    REPORT_FILE: "the session report, as it was written",
}
"""Files that are shown and served, in this order, and what they are for."""


@dataclass(frozen=True, slots=True)
class SessionFile:
    """A file that a session writes."""

    name: str
    path: str
    purpose: str


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file that is open, so that its content stays the same when another takes its place."""

    file: BinaryIO
    size_bytes: int
    written_at: float
    """Unix seconds."""
    tag: str
    """HTTP's ``ETag``."""
    close: Callable[[], None]
    """Function that closes the file."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the content, as long as the file was when it was opened; then close it.

        Raises
        ------
        OSError
            It cannot be read, or became shorter: then the download must not look complete.
        """
        left = self.size_bytes
        try:
            while left:
                piece = self.file.read(min(PIECE_BYTES, left))
                if not piece:
                    raise OSError(f"{self.file.name} became shorter while it was read")
                left -= len(piece)
                yield piece
        finally:
            self.close()


def session_files(config: Config, downloads: Downloads) -> dict[str, Path]:
    """Return the paths of the files that may be served, by name; they need not exist."""
    known: Mapping[str, Path] = downloads.lists()
    report = config.output.directory / REPORT_FILE
    paths = {**known, REPORT_FILE: report}
    return {name: paths[name] for name in _PURPOSES}


def shown_files(config: Config, downloads: Downloads) -> list[SessionFile]:
    """Return the files that a session with these settings writes; none is looked for.

    The output folder may be on a disk that hangs, and the page must not.
    """
    hidden = {REPORT_FILE}
    if "cryosparc" not in config.output.formats:
        hidden |= {f"{FOLDER}/{name}" for name in FILES}
    if "relion" not in config.output.formats:
        hidden.add(LIST)
    if not downloads.has_project:
        hidden.add(SUFFIX_LIST)
    paths = downloads.lists()
    return [
        SessionFile(name, str(paths[name]), purpose)
        for name, purpose in _PURPOSES.items()
        if name not in hidden
    ]


def open_file(files: Mapping[str, Path], name: str) -> OpenedFile | None:
    """Open one of the files; None if it has another name, or cannot be opened."""
    path = files.get(name)
    if path is None:
        return None
    with ExitStack() as ending:
        try:
            file = ending.enter_context(open_regular(path))
            status = os.fstat(file.fileno())
        except OSError:
            return None
        tag = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
        return OpenedFile(file, status.st_size, status.st_mtime, tag, ending.pop_all().close)
    return None

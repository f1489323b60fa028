"""Search for coordinates files: in a folder, or in a list that RELION has written."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from livepick.core.formats.header import printable
from livepick.core.formats.name_matching import listed_name, micrograph_name
from livepick.core.formats.relion_star import read_list
from livepick.core.formats.text_lines import BadLineError, TextFile
from livepick.core.formats.topaz import is_topaz
from livepick.errors import CoordinatesError
from livepick.host.foreign_files import errors_of_file, open_regular

__all__ = [
    "CHECK",
    "MOST_BYTES",
    "SUFFIXES",
    "Source",
    "listed_suffixes",
    "reading",
    "search_coordinates",
    "text_file",
]

SUFFIXES = (".star", ".csv", ".box", ".cbox", ".cs", "_info.json", ".txt", ".tab")
"""Endings of coordinates files, in lower case."""

_TOPAZ = (".txt", ".tab")
"""Suffixes of Topaz's tables; in a folder, other files of these suffixes are left out."""

_LISTS = {
    "autopick.star",
    "backup_selection.star",
    "coords_import.star",
    "corrected_micrographs.star",
    "default_pipeline.star",
    "filtered_micrographs.star",
    "good_micrographs.star",
    "job.star",
    "job_pipeline.star",
    "manualpick.star",
    "micrograph_quality.star",
    "micrographs.csv",
    "micrographs.star",
    "micrographs_ctf.star",
    "micrographs_selected.star",
    "micrographs_without_picks.star",
    "relion_output_nodes.star",
    "summary.star",
}
"""Files of a job folder that list the micrographs of a session, without coordinates."""

_LIST_PREFIX = "coords_suffix_"
"""Beginning of the name of RELION 3.1's list, which is not a table."""

MOST_BYTES = 1 << 30
"""Largest coordinates file that is read: several million particles in a STAR file."""

CHECK = "Check its permissions and its format."
"""Remedy for a file that cannot be read."""


@dataclass(frozen=True, slots=True)
class Source:
    """A coordinates file."""

    path: Path
    micrograph: str
    """Name of its micrograph, unless the file itself names micrographs: with the folders below the
    place that was searched, without a suffix."""


def search_coordinates(place: Path) -> list[Source]:
    """Return the coordinates files at ``place``: a file, a folder or a list by RELION.

    Sub-folders are included; hidden files and lists of a whole session are left out.

    Raises
    ------
    CoordinatesError
        ``place`` is missing or cannot be searched, or holds no coordinates file.
    """
    try:
        return _found(place)
    except OSError as error:
        raise CoordinatesError(
            f"{printable(place)} cannot be searched: {error.strerror}",
            "Check the path and its permissions.",
        ) from error
    except ValueError as error:
        raise CoordinatesError(
            f"{printable(place)} cannot be searched: {error}", "Check the path."
        ) from error


def _found(place: Path) -> list[Source]:
    if place.is_file():
        return _listed(place) or [Source(place, micrograph_name(Path(place.name)))]
    if not place.is_dir() and place.exists():
        raise CoordinatesError(
            f"{place} is not a regular file",
            "Name a coordinates file, or a folder that contains some.",
        )
    if not place.is_dir():
        raise CoordinatesError(
            f"{place} does not exist", "Name a coordinates file, or a folder that contains some."
        )
    found = [
        Source(path, micrograph_name(path.relative_to(place)))
        for path in sorted(_files_below(place))
        if _is_coordinates(path)
    ]
    if not found:
        raise CoordinatesError(
            f"{place} contains no coordinates files",
            f"Their names end in {listed_suffixes()}, for example mic_0001_autopick.star.",
        )
    return found


def _files_below(place: Path) -> Iterator[Path]:
    """Yield the files in a folder and its sub-folders, without those behind links.

    Raises
    ------
    CoordinatesError
        A folder cannot be searched. One that holds no work of a user may be closed.
    """

    def refuse(error: OSError) -> None:
        folder = Path(error.filename)
        if folder != place and (folder.name.startswith(".") or folder.name == "lost+found"):
            return
        raise CoordinatesError(
            f"{printable(folder)} cannot be searched: {error.strerror}",
            "Give the user that runs livepick permission to read the folder, or name another one.",
        ) from error

    for folder, _, names in os.walk(place, onerror=refuse):
        yield from (Path(folder, name) for name in names)


def _is_coordinates(path: Path) -> bool:
    name = path.name.lower()
    if not name.endswith(SUFFIXES) or name.startswith((".", _LIST_PREFIX)) or name in _LISTS:
        return False
    if not path.is_file():
        return False
    if not name.endswith(_TOPAZ):
        return True
    with open_regular(path) as file:
        head = file.readline(1000).replace(b"\0", b"")  # UTF-16 has one beside each letter
    return is_topaz(head.decode(errors="replace"))


def _listed(path: Path) -> list[Source]:
    """Return the coordinates files in a list by RELION; none if the file is not such a list."""
    if path.suffix.lower() != ".star":
        return []
    if path.name.lower().startswith(_LIST_PREFIX):
        raise CoordinatesError(
            f"{path} has no coordinates: it only marks a folder of them for RELION 3.1",
            f"Name the folder: {path.parent}.",
        )
    with reading(path):
        listed = read_list(path, text_file(path))
    if listed == []:
        raise CoordinatesError(f"{path} lists no coordinates files", "Pick some particles first.")
    return [Source(one.path, listed_name(one.micrograph)) for one in listed or []]


def text_file(path: Path) -> TextFile:
    """Return the lines of a coordinates file."""
    return TextFile(path, limit_bytes=MOST_BYTES)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise CoordinatesError for whatever goes wrong while a coordinates file is read."""
    with errors_of_file(path, CoordinatesError, CHECK):
        try:
            yield
        except BadLineError as error:
            raise CoordinatesError(f"{printable(path)} {error}", error.remedy) from error


def listed_suffixes() -> str:
    """Return the endings of coordinates files as words of a sentence."""
    *first, last = SUFFIXES
    return f"{', '.join(first)} or {last}"

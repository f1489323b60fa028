"""Coordinates files of any format: which files a folder holds, and the positions in them.

A file holds one micrograph, given by the file's name, or many, named in a column. Each format has
a module of its own, which converts its positions to the convention of ``core.imaging.picks``. Each
position of a file without scores gets the score 1.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from livepick.core.formats.cryolo_cbox import read_cbox
from livepick.core.formats.cryosparc_cs import read_cs
from livepick.core.formats.csv_coordinates import read_csv
from livepick.core.formats.eman_box import read_box
from livepick.core.formats.name_matching import micrograph_stem
from livepick.core.formats.positions import Positions
from livepick.core.formats.relion_star import read_star
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError

__all__ = [
    "SUFFIXES",
    "coordinates_files",
    "read_all_positions",
    "read_coordinates",
    "search_coordinates",
]

SUFFIXES = (".star", ".csv", ".box", ".cbox", ".cs")
"""Suffixes of coordinates files, in lower case."""

SESSION_LISTS = {
    "autopick.star",
    "manualpick.star",
    "micrographs.star",
    "micrographs_ctf.star",
    "job.star",
    "job_pipeline.star",
    "default_pipeline.star",
}
"""Files of a RELION job folder that list the micrographs of a session, without coordinates."""


def search_coordinates(place: Path) -> list[Path]:
    """Return the coordinates files at ``place``, a file or a folder.

    Sub-folders are included; hidden files and lists of a whole session are left out.

    Raises
    ------
    CoordinatesError
        ``place`` is missing or cannot be searched, or holds no coordinates file.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise CoordinatesError(
            f"{place} does not exist", "Name a coordinates file, or a folder that contains some."
        )
    found = [
        path
        for path in sorted(place.rglob("*"))
        if not path.name.startswith(".")
        and path.name not in SESSION_LISTS
        and path.suffix.lower() in SUFFIXES
        and path.is_file()
    ]
    if not found:
        raise CoordinatesError(
            f"{place} contains no coordinates files",
            f"Their names end in {_listed(SUFFIXES)}, for example mic_0001_autopick.star.",
        )
    return found


def coordinates_files(place: Path) -> dict[str, Path]:
    """Return the coordinates files at ``place``, each of one micrograph, by micrograph stem.

    Raises
    ------
    CoordinatesError
        ``place`` is missing, holds no coordinates file, or two for the same micrograph.
    """
    found: dict[str, Path] = {}
    for path in search_coordinates(place):
        stem = micrograph_stem(path)
        if stem in found:
            raise _duplicate(found[stem], path, stem)
        found[stem] = path
    return found


def read_coordinates(path: Path) -> Picks:
    """Read the coordinates of one micrograph.

    Raises
    ------
    CoordinatesError
        The file cannot be read, lacks the columns, holds a value that is not a number, or
        covers several micrographs.
    """
    found = _positions_in(path)
    if len(found) > 1:
        raise CoordinatesError(
            f"{path} holds the particles of {len(found)} micrographs",
            "Use one coordinates file for each micrograph, as in RELION's AutoPick folder.",
        )
    return next(iter(found.values())).picks() if found else Picks.empty()


def read_all_positions(place: Path) -> dict[str, Positions]:
    """Read the coordinates of all micrographs in the file or folder ``place``.

    Returns
    -------
    dict
        Positions by micrograph stem; a micrograph without a position has no entry.

    Raises
    ------
    CoordinatesError
        ``place`` is missing or empty, a file cannot be read, lacks the columns or holds a
        value that is not a number, or two files are for the same micrograph.
    """
    found: dict[str, Positions] = {}
    sources: dict[str, str] = {}
    for path in search_coordinates(place):
        for name, positions in _positions_in(path).items():
            source = str(path) if name is None else f"{path} for {name}"
            stem = micrograph_stem(path if name is None else PurePosixPath(name))
            if stem in sources:
                raise _duplicate(sources[stem], source, stem)
            sources[stem] = source
            if len(positions):
                found[stem] = positions
    return found


def _duplicate(one: object, other: object, stem: str) -> CoordinatesError:
    return CoordinatesError(
        f"{one} and {other} are both for the micrograph {stem}",
        "Keep one of them, or name a folder that contains only one.",
    )


def _positions_in(path: Path) -> dict[str | None, Positions]:
    """Return a file's positions by micrograph; the key None: given by the file's own name."""
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".cs":
            return read_cs(path, data)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CoordinatesError(
            f"{path} cannot be read: {error}", "Check its permissions and its format."
        ) from error
    match path.suffix.lower():
        case ".star":
            return read_star(path, text)
        case ".csv":
            return read_csv(path, text)
        case ".box":
            return {None: read_box(path, text)}
        case ".cbox":
            return {None: read_cbox(path, text)}
        case other:
            raise CoordinatesError(
                f"{path} ends in {other or 'nothing'}, which is not a coordinates format that"
                " livepick reads",
                f"Use a file that ends in {_listed(SUFFIXES)}.",
            )


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last

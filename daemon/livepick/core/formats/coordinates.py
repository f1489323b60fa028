"""Readers for coordinates files: STAR, CSV, EMAN box, crYOLO cbox and cryoSPARC cs.

A file holds one micrograph, given by the file's name, or many, named in a column. STAR and CSV use
the coordinates of ``core.imaging.picks``; ``core.formats.box_formats`` converts the others to them.
Each position of a file without scores gets the score 1. ``rlnOriginXAngst`` of RELION 3.1 and later
is applied where the pixel size is known; ``rlnOriginX`` of earlier versions, in pixels, is not.
"""

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.box_formats import read_box, read_cbox, read_cs
from livepick.core.formats.name_matching import micrograph_stem
from livepick.core.formats.positions import Positions, finite_numbers
from livepick.core.formats.star import Table, star_tables, table_with
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

_STAR_COLUMNS = ("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit")
_CSV_COLUMNS = ("x_px", "y_px", "score")
_MICROGRAPH_COLUMNS = ("rlnMicrographName", "micrograph", "micrograph_name")
_ORIGINS = ["rlnOriginXAngst", "rlnOriginYAngst"]
_PIXEL_SIZES = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
"""Columns of the optics table, in order of preference. The second is the pixel size of the movies,
which are seldom binned."""


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
            f"{place} does not exist", "Name a coordinates file or a folder of them."
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
            f"{place} holds no coordinates files",
            f"They end in {_listed(SUFFIXES)}, as mic_0001_autopick.star.",
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
            raise _twice(found[stem], path, stem)
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
            "Give one coordinates file a micrograph, as RELION's autopick folder has them.",
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
                raise _twice(sources[stem], source, stem)
            sources[stem] = source
            if len(positions):
                found[stem] = positions
    return found


def _twice(one: object, other: object, stem: str) -> CoordinatesError:
    return CoordinatesError(
        f"{one} and {other} are both for the micrograph {stem}",
        "Keep one of them, or name a folder that holds only one.",
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
            f"{path} cannot be read: {error}", "Name a coordinates file that you may read."
        ) from error
    match path.suffix.lower():
        case ".star":
            return _from_star(path, text)
        case ".csv":
            return _from_table(path, _csv_table(text), _CSV_COLUMNS, None)
        case ".box":
            return {None: read_box(path, text)}
        case ".cbox":
            return {None: read_cbox(path, text)}
        case other:
            raise CoordinatesError(
                f"{path} ends in {other or 'nothing'}, which is no coordinates format of ours",
                f"Give a file that ends in {_listed(SUFFIXES)}.",
            )


def _from_star(path: Path, text: str) -> dict[str | None, Positions]:
    tables = star_tables(text)
    table = table_with(tables, _STAR_COLUMNS[:2])
    if "rlnMicrographCoordinates" in table.columns:
        raise CoordinatesError(
            f"{path} only names the coordinates files of a session",
            "Name the folder that they are in.",
        )
    return _from_table(path, table, _STAR_COLUMNS, _pixel_size(path, tables))


def _pixel_size(path: Path, tables: list[Table]) -> float | None:
    """Return the micrographs' pixel size if the optics groups agree on one."""
    for name in _PIXEL_SIZES:
        for table in tables:
            words = table.column(name)
            if words and table.name == "optics":
                sizes = np.unique(finite_numbers(str(path), [[word] for word in words], [name]))
                return float(sizes[0]) if len(sizes) == 1 and sizes[0] > 0 else None
    return None


def _csv_table(text: str) -> Table:
    rows = [row for row in csv.reader(io.StringIO(text)) if row and not row[0].startswith("#")]
    return Table([name.strip() for name in rows[0]], rows[1:]) if rows else Table()


def _from_table(
    path: Path, table: Table, names: tuple[str, str, str], pixel_size_angstrom: float | None
) -> dict[str | None, Positions]:
    x_name, y_name, score_name = names
    if x_name not in table.columns or y_name not in table.columns:
        raise CoordinatesError(
            f"{path} has the columns {', '.join(table.columns) or '(none)'}",
            f"It needs {x_name} and {y_name} in pixels of the micrograph, and may have"
            f" {score_name}.",
        )
    wanted = [x_name, y_name, *([score_name] if score_name in table.columns else [])]
    origins = set(_ORIGINS) <= set(table.columns)
    wanted += _ORIGINS if origins else []
    numbers = finite_numbers(str(path), _columns(path, table, wanted), wanted)
    score = numbers[:, 2] if score_name in wanted else np.ones(len(numbers))

    def some(chosen: NDArray[np.intp]) -> Positions:
        return Positions(
            numbers[chosen, 0],
            numbers[chosen, 1],
            score[chosen],
            origin_xy_angstrom=numbers[chosen, -2:] if origins else None,
            pixel_size_angstrom=pixel_size_angstrom,
        )

    return _by_micrograph(path, table, some)


def _columns(path: Path, table: Table, wanted: list[str]) -> list[list[str]]:
    places = [table.columns.index(name) for name in wanted]
    last = max(places)
    for i, row in enumerate(table.rows):
        if len(row) <= last:
            raise CoordinatesError(
                f"{path} row {i + 1} is {' '.join(row)!r}, with {len(row)} columns",
                f"Each row needs a number for each of {', '.join(wanted)}.",
            )
    return [[row[place] for place in places] for row in table.rows]


def _by_micrograph(
    path: Path, table: Table, some: Callable[[NDArray[np.intp]], Positions]
) -> dict[str | None, Positions]:
    column = next((name for name in _MICROGRAPH_COLUMNS if name in table.columns), None)
    if column is None:
        return {None: some(np.arange(len(table.rows)))}
    members: dict[str | None, list[int]] = {}
    for i, (name,) in enumerate(_columns(path, table, [column])):
        members.setdefault(name.strip(), []).append(i)
    return {name: some(np.array(rows)) for name, rows in members.items()}


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last

"""RELION STAR files: the coordinates of micrographs, and a session's list of such files.

RELION recognizes ``data_`` and ``loop_`` anywhere in a line, even in a comment, and reads
``# version`` as the version of the file, so our comments contain neither. It looks up the first
block of the list by its name, and ends it at an empty line. A second block of the list names the
model that made the coordinates of each micrograph.

RELION cuts off what is behind the point of a coordinate, so whole pixels are written, and it turns
the rows of a TIFF over when it reads one.

When reading, ``rlnOriginXAngst`` of RELION 3.1 and later is applied where the pixel size is known;
``rlnOriginX`` of earlier versions, in pixels, is not.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from livepick import __version__
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import (
    Positions,
    check_table,
    finite_numbers,
    positions_in_table,
    row_place,
)
from livepick.core.formats.star import (
    Table,
    star_file,
    star_row,
    star_start,
    star_tables,
    star_word,
    table_start,
    table_with,
)
from livepick.errors import CoordinatesError

__all__ = [
    "MODELS_BLOCK",
    "MOST_LIST_BYTES",
    "ListEntry",
    "ListedFile",
    "coordinates_star",
    "list_star",
    "micrograph_names",
    "model_of",
    "particles_star",
    "read_list",
    "read_star",
    "suffix_star",
]

MOST_LIST_BYTES = 256 << 20
"""Largest list of micrographs that is read: several hundred thousand micrographs."""

MODELS_BLOCK = "livepick_micrographs"
"""Name of the block of the list that names the model of each micrograph."""

_X, _Y, _SCORE = _COLUMNS = ("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit")
_NAME, _PLACE = "rlnMicrographName", "rlnMicrographCoordinates"
MOST_TRIED = 100
"""Number of paths in a list that are tried in each folder above it."""

_PIXEL_SIZES = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
"""Columns of the optics table, in order of preference. The second is the pixel size of the movies,
which are seldom binned."""

_MODEL = re.compile(r"^# livepick \S+: picks of model (\d+) \((\w+)\)$", re.MULTILINE)
"""The comment in a coordinates file, as ``_comment`` writes it."""

_CLASS_NUMBER = 0
_PSI_DEGREES = 0.0
"""Class number and angle without a reference, as RELION's reference-free picking writes them."""


@dataclass(frozen=True, slots=True)
class ListEntry:
    """A micrograph in a session's list."""

    micrograph: str
    """Name of the micrograph; RELION compares it by its exact text."""

    coordinates: PurePath
    model_version: int
    model_kind: str


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A coordinates file in a RELION list, with the name of its micrograph."""

    micrograph: str
    path: Path


def read_list(path: Path, text: str) -> list[ListedFile] | None:
    """Return the coordinates files that RELION's ``autopick.star`` lists; None if it is no list.

    Their paths are relative to the project folder, which is searched for upwards from the list.

    Raises
    ------
    CoordinatesError
        A row is incomplete, or names a file that is in no folder above the list.
    """
    table = table_with(star_tables(text), (_NAME, _PLACE))
    if not {_NAME, _PLACE} <= set(table.columns):
        return None
    check_table(path, table)
    names, places = table.column(_NAME) or [], table.column(_PLACE) or []
    above = [*path.absolute().parents, *path.resolve().parents]
    project = next(
        (one for one in above if any(_is_file(one / place) for place in places[:MOST_TRIED])),
        above[0],
    )
    for i, place in enumerate(places):
        if not _is_file(project / place):
            raise CoordinatesError(
                f"{row_place(path, i, table.lines)} names {place}, which is not in {project}",
                "Leave the list in its RELION project, or name the folder of the coordinates files"
                " in its place.",
            )
    return [ListedFile(n, project / p) for n, p in zip(names, places, strict=True)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def read_star(path: Path, text: str) -> dict[str | None, Positions]:
    """Read the positions in a RELION STAR file, by micrograph.

    Raises
    ------
    CoordinatesError
        The file is a list of files, has several tables of coordinates, lacks the columns, has a
        column twice, or a value is missing or not a finite number.
    """
    tables = star_tables(text)
    found = [table for table in tables if {_X, _Y} <= set(table.columns)]
    if len(found) > 1:
        blocks = " and ".join(f"data_{table.name}" for table in found)
        raise CoordinatesError(
            f"{path} has several tables of coordinates: {blocks}", "Keep one table in the file."
        )
    table = table_with(tables, (_X, _Y))
    if _PLACE in table.columns:
        raise CoordinatesError(
            f"{path} is only a list of coordinates files",
            "Name the list itself, or take it out of the folder.",
        )
    return positions_in_table(path, table, _COLUMNS, _pixel_size(path, tables))


def _pixel_size(path: Path, tables: list[Table]) -> float | None:
    """Return the micrographs' pixel size if the optics groups agree on one."""
    for name in _PIXEL_SIZES:
        for table in tables:
            words = table.column(name)
            if words and table.name == "optics":
                sizes = np.unique(finite_numbers(path, [[word] for word in words], {name: 0}))
                return float(sizes[0]) if len(sizes) == 1 and sizes[0] > 0 else None
    return None


def coordinates_star(micrograph: PickedMicrograph) -> bytes:
    """Return the coordinates file of one micrograph, with the columns of RELION's own pickers.

    The coordinates are whole pixels, and the rows of a TIFF are turned over.
    """
    rows = [
        [
            f"{x:13.6f}",
            f"{y:13.6f}",
            f"{score:12.6f}",
            f"{_CLASS_NUMBER:12d}",
            f"{_PSI_DEGREES:12.6f}",
        ]
        for (x, y), score in zip(
            micrograph.whole_xy(turned=True).tolist(), micrograph.picks.score.tolist(), strict=True
        )
    ]
    table = Table([_X, _Y, _SCORE, "rlnClassNumber", "rlnAnglePsi"], rows)
    return star_file([table], comment=_comment(micrograph))


def particles_star(micrograph: PickedMicrograph, *, turned: bool) -> bytes:
    """Return a file of particles that names their micrograph, as Warp and cryoSPARC read it.

    Parameters
    ----------
    micrograph
        The micrograph and its picks.
    turned
        True for a program that turns the rows of a TIFF over.
    """
    name = star_word(micrograph.path.name)
    scores = micrograph.picks.score.tolist()
    rows = [
        [name, f"{x:.6f}", f"{y:.6f}", f"{score:.6f}"]
        for (x, y), score in zip(micrograph.whole_xy(turned=turned).tolist(), scores, strict=True)
    ]
    table = Table([_NAME, _X, _Y, _SCORE], rows, "particles")
    return star_file([table], comment=_comment(micrograph))


def micrograph_names(text: str) -> list[str]:
    """Return the names of the micrographs in a STAR file, such as RELION's lists of them.

    Raises
    ------
    ValueError
        A name has a NUL character: the file is not text.
    """
    if "\0" in text:
        raise ValueError("it has a NUL character, so it is not text")
    return [name for table in star_tables(text) for name in table.column("rlnMicrographName") or []]


def model_of(text: str) -> tuple[int, str]:
    """Return version and kind of the model that made the picks in a coordinates file of ours."""
    found = _MODEL.search(text)
    return (0, "unknown") if found is None else (int(found[1]), found[2])


def _comment(micrograph: PickedMicrograph) -> str:
    return (
        f"livepick {__version__}: picks of model {micrograph.model_version}"
        f" ({micrograph.model_kind})"
    )


def suffix_star(micrographs_star: str) -> bytes:
    """Return ``coords_suffix_NAME.star``, by which RELION 3.1 knows a folder of coordinates.

    Parameters
    ----------
    micrographs_star
        The list of micrographs that the coordinates are for.
    """
    return f"{micrographs_star}\n".encode()


def list_star(entries: Iterable[ListEntry]) -> Iterator[bytes]:
    """Yield the list of a session's coordinates files, in parts: a session has many."""
    yield star_start(f"livepick {__version__}").encode()
    yield table_start("coordinate_files", [_NAME, _PLACE]).encode()
    models = []
    for entry in entries:
        name = star_word(entry.micrograph)
        models.append(star_row([name, str(entry.model_version), entry.model_kind]).encode())
        yield star_row([name, star_word(str(entry.coordinates))]).encode()
    columns = [_NAME, "livepickModelVersion", "livepickModelKind"]
    yield table_start(MODELS_BLOCK, columns).encode()
    yield from models
    yield b"\n"

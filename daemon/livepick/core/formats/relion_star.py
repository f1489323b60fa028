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

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from livepick import __version__
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.position_table import PositionTable
from livepick.core.formats.positions import (
    Positions,
    Vector,
    check_columns,
    check_rows,
    finite_numbers,
    row_place,
)
from livepick.core.formats.star import (
    Table,
    star_file,
    star_parts,
    star_row,
    star_start,
    star_word,
    table_start,
)
from livepick.core.formats.text_lines import Lines
from livepick.errors import CoordinatesError
from livepick.host.foreign_files import is_file

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

MOST_LISTED = 400_000
"""Maximum number of micrographs in a list."""

MODELS_BLOCK = "livepick_micrographs"
"""Name of the block of the list that names the model of each micrograph."""

_X, _Y, _SCORE = _COLUMNS = ("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit")
_NAME, _PLACE = "rlnMicrographName", "rlnMicrographCoordinates"
MOST_TRIED = 100
"""Number of paths in a list that are tried in each folder above it."""

MOST_BLOCKS_SHOWN = 10
"""Maximum number of tables that an error names."""

_NONE: Vector = np.zeros(0)

_PIXEL_SIZES = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
"""Columns of the optics table, in order of preference. The second is the pixel size of the movies,
which are seldom binned."""

_MODEL = re.compile(r"^# livepick \S+: picks of model (\d+) \((\w+)\)$", re.MULTILINE)
"""The comment in a coordinates file, as ``_comment`` writes it."""

_CLASS_NUMBER = 0
_PSI_DEGREES = 0.0
"""Class number and angle without a reference, as RELION's reference-free picking writes them."""


_ROW = f"%6d.000000 %6d.000000 %12.6f {_CLASS_NUMBER:12d} {_PSI_DEGREES:12.6f}\n"
"""A row of coordinates, of a width of 13, 13, 12, 12 and 12, as RELION writes them."""


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


def read_list(path: Path, lines: Lines) -> list[ListedFile] | None:
    """Return the coordinates files that RELION's ``autopick.star`` lists; None if it is no list.

    Their paths are relative to the project folder, which is searched for upwards from the list.

    Raises
    ------
    CoordinatesError
        A row is incomplete, names a file that is in no folder above the list, or there are too
        many rows.
    """
    if not any(_PLACE in line for block in lines for line in block):
        return None
    listed: list[tuple[str, str, int]] = []
    columns: list[str] | None = None
    for part in star_parts(lines):
        if columns is None and {_NAME, _PLACE} <= set(part.columns):
            columns = part.columns
            check_columns(path, columns)
        if columns is None or part.columns is not columns:
            continue
        check_rows(path, part)
        names, places = part.column(_NAME) or [], part.column(_PLACE) or []
        listed += zip(names, places, part.lines, strict=True)
        if len(listed) > MOST_LISTED:
            raise CoordinatesError(
                f"{path} lists more than {MOST_LISTED:,} coordinates files",
                "Name the folder of the coordinates files in its place.",
            )
    if columns is None:
        return None
    above = [*path.absolute().parents, *path.resolve().parents]
    places = [place for _, place, _ in listed]
    project = next(
        (one for one in above if any(is_file(one / place) for place in places[:MOST_TRIED])),
        above[0],
    )
    for i, (_, place, line) in enumerate(listed):
        if not is_file(project / place):
            row = row_place(path, Table(lines=[line], rows_before=i), 0)
            raise CoordinatesError(
                f"{row} names {place}, which is not in {project}",
                "Leave the list in its RELION project, or name the folder of the coordinates files"
                " in its place.",
            )
    return [ListedFile(name, project / place) for name, place, _ in listed]


def read_star(path: Path, lines: Lines) -> dict[str | None, Positions]:
    """Read the positions in a RELION STAR file, by micrograph.

    Raises
    ------
    CoordinatesError
        The file is a list of files, has several tables of coordinates, lacks the columns, has a
        column twice, a value is missing or not a finite number, or there are too many rows.
    """
    first: list[str] | None = None
    table: PositionTable | None = None
    columns: list[str] = []
    blocks: list[str] = []
    sizes = _PixelSizes(path)
    for part in star_parts(lines):
        if not part.columns:
            continue
        if not part.rows_before:
            first = first or part.columns
            if {_X, _Y} <= set(part.columns) and len(blocks) < MOST_BLOCKS_SHOWN:
                blocks.append(f"data_{part.name}")
                columns = columns or part.columns
                if table is None:
                    _check_is_no_list(path, columns)
                    table = PositionTable(path, lines, columns, _COLUMNS)
        sizes.add(part)
        if table is not None and part.columns is columns:
            table.add(part)
    if len(blocks) > 1:
        raise CoordinatesError(
            f"{path} has several tables of coordinates: {' and '.join(blocks)}",
            "Keep one table in the file.",
        )
    if table is None:
        _check_is_no_list(path, first or [])
        table = PositionTable(path, lines, first or [], _COLUMNS)
    return table.positions(sizes.agreed())


def _check_is_no_list(path: Path, columns: list[str]) -> None:
    if _PLACE in columns:
        raise CoordinatesError(
            f"{path} is only a list of coordinates files",
            "Name the list itself, or take it out of the folder.",
        )


class _PixelSizes:
    """The pixel sizes of the micrographs in the tables of optics groups."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._of_table: dict[str, Vector | None] = {}
        """Pixel sizes in each column of the present table; None if a row lacks one."""
        self._found: dict[str, Vector] = {}

    def add(self, part: Table) -> None:
        """Add the rows of a part of any table. Raises CoordinatesError."""
        if not part.rows_before:
            self._end_table()
        if part.name != "optics":
            return
        for name in _PIXEL_SIZES:
            if name not in part.columns or (known := self._of_table.get(name, _NONE)) is None:
                continue
            words = part.column(name)
            if words is None:
                self._of_table[name] = None
                continue
            one = Table([name], [[word] for word in words], rows_before=part.rows_before)
            sizes = finite_numbers(self._path, one, {name: 0})[:, 0]
            self._of_table[name] = np.unique(np.concatenate([known, sizes]))

    def _end_table(self) -> None:
        for name, sizes in self._of_table.items():
            if sizes is not None and len(sizes):
                self._found.setdefault(name, sizes)
        self._of_table.clear()

    def agreed(self) -> float | None:
        """Return the pixel size if the optics groups agree on one."""
        self._end_table()
        for name in _PIXEL_SIZES:
            if (sizes := self._found.get(name)) is not None:
                return float(sizes[0]) if len(sizes) == 1 and sizes[0] > 0 else None
        return None


def coordinates_star(micrograph: PickedMicrograph) -> bytes:
    """Return the coordinates file of one micrograph, with the columns of RELION's own pickers.

    The coordinates are whole pixels, and the rows of a TIFF are turned over.
    """
    x, y = micrograph.whole_xy(turned=True).T.tolist()
    numbers = itertools.chain.from_iterable(zip(x, y, micrograph.picks.score.tolist(), strict=True))
    columns = [_X, _Y, _SCORE, "rlnClassNumber", "rlnAnglePsi"]
    return "".join(
        [
            star_start(_comment(micrograph)),
            table_start("", columns),
            # All rows at once: for each micrograph this is written by the one dispatch thread.
            _ROW * len(x) % tuple(numbers),
            "\n",
        ]
    ).encode()


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


def micrograph_names(lines: Iterable[list[str]]) -> list[str]:
    """Return the names of the micrographs in a STAR file, such as RELION's lists of them.

    Each name is there once. A table in which a row lacks the name is passed over.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, is not text, or names too many micrographs.
    """
    names: dict[str, None] = {}
    of_table: dict[str, None] = {}
    is_whole = True
    for part in star_parts(lines):
        if not part.rows_before:
            names |= of_table
            of_table, is_whole = {}, True
        found = part.column(_NAME)
        is_whole = is_whole and (found is not None or not part.rows)
        of_table.update(dict.fromkeys(found or []))
        if not is_whole:
            of_table.clear()
        if len(names) + len(of_table) > MOST_LISTED:
            raise ValueError(f"it names more than {MOST_LISTED:,} micrographs")
    return list(names | of_table)


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

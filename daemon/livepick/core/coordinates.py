"""Coordinates files in: RELION STAR, and CSV with columns ``x_px``, ``y_px`` and ``score``.

Coordinates come out as ``Picks`` in the convention of ``core.picks``, which both formats share.
A file without scores gives each position the score 1.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from livepick.core.picks import Picks
from livepick.errors import TruthError

__all__ = ["SUFFIXES", "coordinates_files", "micrograph_stem", "read_coordinates"]

SUFFIXES = (".star", ".csv")
"""Of coordinates files, in lower case."""

SESSION_LIST = "autopick.star"
"""Names the micrographs of a session and holds no coordinates."""

_MARKS = ("_autopick", "_manualpick", "_truth", "_picks")
_STAR_COLUMNS = ("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit")
_CSV_COLUMNS = ("x_px", "y_px", "score")
_MICROGRAPH = "rlnMicrographName"
_WORD = re.compile(r"""\"[^"]*"|'[^']*'|\S+""")


@dataclass(frozen=True, slots=True)
class _Table:
    columns: list[str]
    rows: list[list[str]]


def micrograph_stem(path: Path) -> str:
    """Return the micrograph that a coordinates file is for, as the stem of its name.

    ``mic_7_autopick.star``, ``mic_7_truth.csv`` and ``mic_7.mrc`` are all of ``mic_7``. Only
    one extension goes, because micrographs have dots in their names.
    """
    stem = path.stem
    for mark in _MARKS:
        stem = stem.removesuffix(mark)
    return stem


def coordinates_files(place: Path) -> dict[str, Path]:
    """Return the coordinates files at ``place``, a file or a folder, by micrograph stem.

    Sub-folders are included; hidden files and the list of a whole session are left out.

    Raises
    ------
    TruthError
        ``place`` is missing, holds no such file, or two for the same micrograph.
    """
    if place.is_file():
        return {micrograph_stem(place): place}
    if not place.is_dir():
        raise TruthError(f"{place} does not exist", "Name a coordinates file or a folder of them.")
    found: dict[str, Path] = {}
    for path in sorted(place.rglob("*")):
        hidden = path.name.startswith(".") or path.name == SESSION_LIST
        if hidden or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        stem = micrograph_stem(path)
        if stem in found:
            raise TruthError(
                f"{found[stem]} and {path} are both for the micrograph {stem}",
                "Keep one of them, or name a folder that holds only one.",
            )
        found[stem] = path
    if not found:
        raise TruthError(
            f"{place} holds no coordinates files",
            f"They end in {' or '.join(SUFFIXES)}, as mic_0001_autopick.star.",
        )
    return found


def read_coordinates(path: Path) -> Picks:
    """Read the coordinates of one micrograph.

    Raises
    ------
    TruthError
        The file cannot be read, has not the columns, holds something that is no number, or
        is of several micrographs.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TruthError(
            f"{path} cannot be read: {error}", "Name a STAR or CSV file that you may read."
        ) from error
    match path.suffix.lower():
        case ".star":
            return _from_table(path, _star_table(text), _STAR_COLUMNS)
        case ".csv":
            return _from_table(path, _csv_table(text), _CSV_COLUMNS)
        case other:
            raise TruthError(
                f"{path} ends in {other or 'nothing'}, which is no coordinates format of ours",
                f"Give a file that ends in {' or '.join(SUFFIXES)}.",
            )


def _csv_table(text: str) -> _Table:
    rows = [row for row in csv.reader(io.StringIO(text)) if row and not row[0].startswith("#")]
    if not rows:
        return _Table([], [])
    return _Table([name.strip() for name in rows[0]], rows[1:])


def _star_table(text: str) -> _Table:
    """Return the first table with coordinates, else with anything; STAR files hold several."""
    tables = [table for table in _star_tables(text) if table.columns]
    for table in tables:
        if set(_STAR_COLUMNS[:2]) <= set(table.columns):
            return table
    return tables[0] if tables else _Table([], [])


def _words(line: str) -> list[str]:
    words = [word.strip("\"'") for word in _WORD.findall(line)]
    comment = next((i for i, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:comment]


def _star_tables(text: str) -> Iterator[_Table]:
    table, in_loop = _Table([], []), False
    for line in text.splitlines():
        words = _words(line)
        if not words:
            continue
        if words[0].startswith("data_"):
            yield table
            table, in_loop = _Table([], []), False
        elif words[0] == "loop_":
            in_loop = True
        elif words[0].startswith("_") and not table.rows and in_loop:
            table.columns.append(words[0][1:])
        elif words[0].startswith("_") and not in_loop and len(words) == 2:
            table.columns.append(words[0][1:])  # a table of one row has a line a column
            table.rows[:] = [[*(table.rows[0] if table.rows else []), words[1]]]
        else:
            table.rows.append(words)
    yield table


def _from_table(path: Path, table: _Table, names: tuple[str, str, str]) -> Picks:
    x_name, y_name, score_name = names
    if x_name not in table.columns or y_name not in table.columns:
        raise TruthError(
            f"{path} has the columns {', '.join(table.columns) or '(none)'}",
            f"It needs {x_name} and {y_name} in pixels of the micrograph, and may have"
            f" {score_name}.",
        )
    if _MICROGRAPH in table.columns:
        _refuse_several(path, table)
    wanted = [x_name, y_name, *([score_name] if score_name in table.columns else [])]
    places = [table.columns.index(name) for name in wanted]
    numbers = np.ones((len(table.rows), 3), dtype=np.float32)
    for i, row in enumerate(table.rows):
        try:
            numbers[i, : len(places)] = [float(row[place]) for place in places]
        except (ValueError, IndexError) as error:
            raise TruthError(
                f"{path} row {i + 1} is {' '.join(row)!r}: {error}",
                f"Each row needs a number for each of {', '.join(wanted)}.",
            ) from error
    if not np.isfinite(numbers).all():
        bad = int(np.flatnonzero(~np.isfinite(numbers).all(axis=1))[0])
        raise TruthError(
            f"{path} row {bad + 1} holds {' '.join(table.rows[bad])}",
            "Coordinates and scores must be finite numbers.",
        )
    return Picks.sorted(numbers[:, 0], numbers[:, 1], numbers[:, 2])


def _refuse_several(path: Path, table: _Table) -> None:
    place = table.columns.index(_MICROGRAPH)
    micrographs = {row[place] for row in table.rows if place < len(row)}
    if len(micrographs) > 1:
        raise TruthError(
            f"{path} holds the particles of {len(micrographs)} micrographs",
            "Give one coordinates file a micrograph, as RELION's autopick folder has them.",
        )

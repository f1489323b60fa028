"""Tables with a position in each row, for one micrograph or many.

A table is read in parts. Its numbers are kept in compact columns, and each name of a micrograph
once, so that the memory depends little on how the rows are written.
"""

import itertools
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.positions import (
    ONE_MICROGRAPH_BYTES,
    NumberColumns,
    Positions,
    check_columns,
    check_rows,
    finite_numbers,
    row_place,
    same_scores,
)
from livepick.core.formats.star import Table
from livepick.core.formats.text_lines import Lines
from livepick.errors import CoordinatesError

__all__ = ["PositionTable", "read_rows"]

_MICROGRAPH_COLUMNS = ("rlnMicrographName", "micrograph", "micrograph_name", "image_name")
_OTHER_IMAGES = {"rlnTomoName": "tomograms", "rlnImageName": "several micrographs"}
"""Columns of positions that are not all in one micrograph."""

_ORIGINS = ["rlnOriginXAngst", "rlnOriginYAngst"]

_NAMED_BYTES = 1200
"""Memory that each micrograph takes, besides its positions and twice its name."""

_ROW_BYTES = 5
"""Memory of a row's micrograph."""

_SORT_BYTES = 20
"""Memory that each row takes when the rows are brought into the order of the micrographs."""


class PositionTable:
    """The positions in a table, by micrograph.

    Parameters
    ----------
    path
        The file that holds the table, for errors.
    lines
        Its lines.
    columns
        Names of the columns.
    names
        Names of the columns for x, y and score; the score column may be missing.

    Raises
    ------
    CoordinatesError
        The columns for x and y are missing, a column is there twice, or the rows are for several
        micrographs without their names.
    """

    def __init__(
        self, path: Path, lines: Lines, columns: list[str], names: tuple[str, str, str]
    ) -> None:
        x_name, y_name, score_name = names
        if x_name not in columns or y_name not in columns:
            raise CoordinatesError(
                f"{path} has the columns {', '.join(columns) or '(none)'}",
                f"It needs {x_name} and {y_name} in pixels of the micrograph, and may have"
                f" {score_name}.",
            )
        column = next((name for name in _MICROGRAPH_COLUMNS if name in columns), None)
        for other, what in _OTHER_IMAGES.items():
            if column is None and other in columns:
                raise CoordinatesError(
                    f"{path} has positions in {what} ({other}), without the names of micrographs",
                    f"Use a file with the column {_MICROGRAPH_COLUMNS[0]}.",
                )
        check_columns(path, columns)
        self._has_score = score_name in columns
        self._has_origins = set(_ORIGINS) <= set(columns)
        wanted = [x_name, y_name, *([score_name] if self._has_score else [])]
        wanted += _ORIGINS if self._has_origins else []
        self._path = path
        self._places = {name: columns.index(name) for name in wanted}
        self._column = column
        self._name_place = -1 if column is None else columns.index(column)
        row_bytes = ONE_MICROGRAPH_BYTES if column is None else _ROW_BYTES
        self._numbers = NumberColumns(path, lines, len(wanted), row_bytes)
        self._micrographs: dict[str, int] = {}
        self._name_bytes = 0
        self._numbers_of_rows = array("i")
        """Number of the micrograph of each row."""
        self._is_sorted = True

    def add(self, table: Table) -> None:
        """Add the rows of a part of the table.

        Raises
        ------
        CoordinatesError
            A value is missing or not a finite number, a row names no micrograph, or there are too
            many rows.
        """
        check_rows(self._path, table)
        numbers = finite_numbers(self._path, table, self._places)
        if self._column is None:
            self._numbers.add(numbers)
            return
        place, known = self._name_place, self._micrographs
        names = [row[place].strip() for row in table.rows]
        if "" in names:
            raise CoordinatesError(
                f"{row_place(self._path, table, names.index(''))} names no micrograph",
                f"Give each row a name in {self._column}.",
            )
        count = len(known)
        new = array("i", [known.setdefault(name, len(known)) for name in names])
        if len(known) > count:
            texts = sum(map(sys.getsizeof, itertools.islice(reversed(known), len(known) - count)))
            self._name_bytes += 2 * texts + _NAMED_BYTES * (len(known) - count)
        if self._is_sorted:
            block = np.array([*self._numbers_of_rows[-1:], *new])
            self._is_sorted = not (block[1:] < block[:-1]).any()
        self._numbers_of_rows += new
        rows = len(self._numbers_of_rows)
        sort_bytes = 0 if self._is_sorted else _SORT_BYTES * rows
        self._numbers.add(numbers, self._name_bytes + sort_bytes)

    def positions(self, pixel_size_angstrom: float | None) -> dict[str | None, Positions]:
        """Return the positions by the name in the micrograph column, in the order of their rows.

        Without such a column, all are under None.

        Parameters
        ----------
        pixel_size_angstrom
            Pixel size of the micrographs, if given in the file.
        """
        columns, ends = self._numbers.vectors(), np.array([len(self._numbers)])
        if self._column is not None:
            numbers = np.frombuffer(self._numbers_of_rows or array("i", [0]), dtype=np.intc)
            if not self._is_sorted:
                order = _order(numbers)
                for column in columns:
                    column[:] = column[order]
            ends = np.cumsum(np.bincount(numbers, minlength=len(self._micrographs)))
        names = list(self._micrographs) if self._column is not None else [None]
        x_px, y_px, *others = columns
        score = others[0] if self._has_score else same_scores(len(x_px))
        found: dict[str | None, Positions] = {}
        for name, start, end in zip(names, [0, *ends[:-1].tolist()], ends.tolist(), strict=False):
            rows = slice(start, end)
            origins = np.column_stack([a[rows] for a in others[-2:]]) if self._has_origins else None
            found[name] = Positions(
                x_px[rows],
                y_px[rows],
                score[rows],
                origin_xy_angstrom=origins,
                pixel_size_angstrom=pixel_size_angstrom,
            )
        return found


def read_rows(
    path: Path,
    lines: Lines,
    parts: Iterable[tuple[list[list[str]], list[int]]],
    names: tuple[str, str, str],
) -> dict[str | None, Positions]:
    """Read a file that is one table, whose first row names the columns; return the positions.

    Parameters
    ----------
    path, lines
        The file, for errors, and its lines.
    parts
        Rows of the file in parts, and the line of each row.
    names
        Names of the columns for x, y and score, as in ``PositionTable``.

    Raises
    ------
    CoordinatesError
        As ``PositionTable`` raises.
    """
    table: PositionTable | None = None
    columns: list[str] = []
    rows_before = 0
    for rows, numbers in parts:
        start = 0
        if table is None and rows:
            columns, start = rows[0], 1
            table = PositionTable(path, lines, columns, names)
        if table is not None:
            part = Table(columns, rows[start:], lines=numbers[start:], rows_before=rows_before)
            table.add(part)
            rows_before += len(part.rows)
    table = table or PositionTable(path, lines, columns, names)
    return table.positions(None)


def _order(numbers: NDArray[np.intc]) -> NDArray[np.int64]:
    """Return the order of the rows by number; rows of the same number keep their order."""
    keys = numbers.astype(np.int64) << 32
    keys |= np.arange(len(keys), dtype=np.uint32)
    keys.sort()
    keys &= 0xFFFFFFFF
    return keys

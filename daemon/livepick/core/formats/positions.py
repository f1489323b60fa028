"""Positions that a coordinates file gives for one micrograph, before the micrograph is known."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.star import Table
from livepick.core.formats.text_lines import Lines
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError

__all__ = [
    "MOST",
    "MOST_SHOWN",
    "Boxes",
    "NumberColumns",
    "Positions",
    "Vector",
    "check_columns",
    "check_rows",
    "finite_numbers",
    "no_positions",
    "row_place",
    "rows_by_name",
    "same_scores",
]

Vector = NDArray[np.float64]

MOST = 1e30
"""Limit of a coordinate or score, within which 32-bit numbers are finite too."""

MOST_SHOWN = 120
"""Maximum number of characters of a bad row in an error."""

ROOM_BYTES = 176 << 20
"""Memory that the positions in a file may take, besides its size. A reader takes 256 MiB at most:
the rest is for the rows that are read at once."""

ONE_MICROGRAPH_BYTES = 40
"""Memory that each position takes when the picks of a micrograph are made and sorted."""


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Centres in one micrograph, in the order of the file.

    They follow the convention of ``core.imaging.picks``: pixels of the micrograph, the centre of
    the first pixel at 0, ``y`` in the direction of the rows of the file.
    """

    x_px: Vector
    y_px: Vector
    score: Vector
    """1 for each position where the file has no scores."""

    origin_xy_angstrom: NDArray[np.float64] | None = None
    """Shift, (N, 2), by which a refinement moved the particle's image: its centre is at the
    coordinate minus this (RELION's ``rlnOriginXAngst``)."""

    pixel_size_angstrom: float | None = None
    """Pixel size of the micrograph, if given in the file."""

    shape_px: tuple[int, int] | None = None
    """Height and width of the micrograph, if given in the file."""

    least_score: float = -np.inf
    """Lowest score at which the program that wrote the file counts a position as a particle."""

    def __len__(self) -> int:
        return len(self.x_px)

    def picks(
        self,
        *,
        pixel_size_angstrom: float | None = None,
        shape_px: tuple[int, int] | None = None,
    ) -> Picks:
        """Return picks, best first, at the refined centres where they are known.

        Parameters
        ----------
        pixel_size_angstrom
            Pixel size of the micrograph at hand; None: the one given in the file. Without either,
            centres stay where they were picked.
        shape_px
            Height and width of the micrograph at hand. Positions in a micrograph of another size,
            such as a binned one, are scaled to it.
        """
        x_px, y_px = self.x_px, self.y_px
        if self.shape_px is not None and shape_px is not None:
            x_px = x_px * (shape_px[1] / self.shape_px[1])
            y_px = y_px * (shape_px[0] / self.shape_px[0])
        size_angstrom = pixel_size_angstrom or self.pixel_size_angstrom
        if self.origin_xy_angstrom is not None and size_angstrom is not None:
            x_px = x_px - self.origin_xy_angstrom[:, 0] / size_angstrom
            y_px = y_px - self.origin_xy_angstrom[:, 1] / size_angstrom
        return Picks.sorted(*(a.astype(np.float32) for a in (x_px, y_px, self.score)))


def row_place(path: Path, table: Table, number: int) -> str:
    """Return the name of a row of a table, counted from 0: ``a.star row 3 (line 27)``."""
    line = f" (line {table.lines[number]})" if table.lines else ""
    return f"{path} row {table.rows_before + number + 1}{line}"


def finite_numbers(path: Path, table: Table, columns: Mapping[str, int]) -> NDArray[np.float64]:
    """Return columns of text as an array of numbers, (rows, columns).

    Parameters
    ----------
    path
        The file, for the error.
    table
        Table, or a part of one; each row has all columns.
    columns
        Names of the wanted columns, for the error, and their places in a row.

    Raises
    ------
    CoordinatesError
        A value is not a finite number.
    """
    rows, places = table.rows, list(columns.values())
    try:
        numbers = np.column_stack(
            [np.array([row[place] for row in rows], dtype=np.float64) for place in places]
        )
    except ValueError:
        numbers = np.full((len(rows), len(places)), np.nan)
        for i, row in enumerate(rows):
            words = [row[place] for place in places]
            try:
                numbers[i] = [float(word) for word in words]
            except ValueError as error:
                raise CoordinatesError(
                    f"{row_place(path, table, i)} is {' '.join(words)[:MOST_SHOWN]!r}:"
                    f" {str(error)[:MOST_SHOWN]}",
                    f"Each row needs a number for each of {', '.join(columns)}.",
                ) from error
    good = (np.abs(numbers) < MOST).all(axis=1)
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        words = [rows[bad][place] for place in places]
        raise CoordinatesError(
            f"{row_place(path, table, bad)} is {' '.join(words)[:MOST_SHOWN]}",
            "Coordinates and scores must be finite numbers.",
        )
    return numbers


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Check that no column of a table is there twice.

    Raises
    ------
    CoordinatesError
        A column is there twice.
    """
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise CoordinatesError(
            f"{path} has the column {twice[0]} more than once", "Keep one column of that name."
        )


def check_rows(path: Path, table: Table) -> None:
    """Check that each row of a table, or of a part of one, has one value for each column.

    Raises
    ------
    CoordinatesError
        A row has fewer or more values, as in a file that is cut off.
    """
    width = len(table.columns)
    for i, row in enumerate(table.rows):
        if len(row) != width and (len(row) < width or any(row[width:])):
            raise CoordinatesError(
                f"{row_place(path, table, i)} is {' '.join(row)[:MOST_SHOWN]!r}: it has"
                f" {len(row)} values for {width} columns{_why(table, row)}",
                f"Each row needs one value for each of {', '.join(table.columns)}.",
            )


def _why(table: Table, row: list[str]) -> str:
    if row[0].startswith("_"):
        return "; perhaps it is the column of a second loop"
    is_short = table.is_end and row is table.rows[-1] and len(row) < len(table.columns)
    return ", and is the last row: the file may be cut off" if is_short else ""


def rows_by_name(names: Iterable[str]) -> dict[str, NDArray[np.intp]]:
    """Return the indices of the rows of each name."""
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        members.setdefault(name, []).append(i)
    return {name: np.array(rows) for name, rows in members.items()}


class NumberColumns:
    """Columns of numbers that grow by blocks of rows.

    Parameters
    ----------
    path
        The file that they are read from, for the error.
    lines
        Its lines, which tell the size of the file.
    count
        Number of columns.
    row_bytes
        Memory that each row takes elsewhere.
    """

    def __init__(self, path: Path, lines: Lines, count: int, row_bytes: int) -> None:
        self._path = path
        self._lines = lines
        self._columns = [array("d") for _ in range(count)]
        self._row_bytes = row_bytes + count * 17 // 2  # an array grows in steps

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, numbers: NDArray[np.float64], other_bytes: int = 0) -> None:
        """Add a block of rows, (rows, columns).

        Raises
        ------
        CoordinatesError
            They take more memory than a file of this size may, with ``other_bytes`` elsewhere.
        """
        for column, values in zip(self._columns, numbers.T, strict=True):
            column.frombytes(values.tobytes())
        if len(self) * self._row_bytes + other_bytes > self._lines.size_bytes + ROOM_BYTES:
            raise CoordinatesError(
                f"{self._path} has more than {len(self):,} positions, too many for the memory that"
                " a file of its size may take",
                "Split it into several files, such as one for each micrograph.",
            )

    def vectors(self) -> list[Vector]:
        """Return the columns, each of shape (rows,)."""
        return [np.frombuffer(column) if column else np.zeros(0) for column in self._columns]


class Boxes:
    """The centres of boxes that are read in blocks, in one micrograph.

    The centre of a box of ``n`` pixels is its pixel ``n / 2``, counted from 0, where Fourier
    transforms have their origin and where EMAN and RELION put a particle: centre = corner +
    size / 2, without a half pixel.

    Parameters
    ----------
    path, lines
        The file that they are read from, and its lines.
    has_score
        True if the boxes have scores; otherwise the score of each is 1.
    """

    def __init__(self, path: Path, lines: Lines, *, has_score: bool = False) -> None:
        self._columns = NumberColumns(path, lines, 3 if has_score else 2, ONE_MICROGRAPH_BYTES)

    def add(self, boxes: NDArray[np.float64], score: Vector | None = None) -> None:
        """Add a block of boxes.

        Parameters
        ----------
        boxes
            x and y of the corner with the lowest coordinates, width and height, (N, 4), in pixels.
        score
            Score of each box, (N,), if they have scores.

        Raises
        ------
        CoordinatesError
            There are too many.
        """
        centres = boxes[:, :2] + boxes[:, 2:] / 2
        self._columns.add(centres if score is None else np.column_stack([centres, score]))

    def positions(self, *, least_score: float = -np.inf) -> Positions:
        """Return the centres.

        Parameters
        ----------
        least_score
            Lowest score at which the program that wrote the file counts a box as a particle.
        """
        x_px, y_px, *scores = self._columns.vectors()
        score = scores[0] if scores else same_scores(len(x_px))
        return Positions(x_px, y_px, score, least_score=least_score)


def same_scores(count: int) -> Vector:
    """Return the scores of positions in a file without scores."""
    return np.broadcast_to(np.ones(1), count)


def no_positions() -> Positions:
    """Return the positions of a file that has none."""
    return Positions(np.zeros(0), np.zeros(0), np.zeros(0))

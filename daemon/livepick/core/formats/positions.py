"""Positions that a coordinates file gives for one micrograph, before the micrograph is known."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.star import Table
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError

__all__ = [
    "MOST",
    "MOST_SHOWN",
    "Positions",
    "check_table",
    "finite_numbers",
    "positions_in_table",
    "positions_of_boxes",
    "row_place",
    "rows_by_name",
]

Vector = NDArray[np.float64]

_MICROGRAPH_COLUMNS = ("rlnMicrographName", "micrograph", "micrograph_name", "image_name")
_OTHER_IMAGES = {"rlnTomoName": "tomograms", "rlnImageName": "several micrographs"}
"""Columns of positions that are not all in one micrograph."""

_ORIGINS = ["rlnOriginXAngst", "rlnOriginYAngst"]

MOST = 1e30
"""Limit of a coordinate or score, within which 32-bit numbers are finite too."""

MOST_SHOWN = 120
"""Maximum number of characters of a bad row in an error."""


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


def row_place(path: Path, number: int, lines: Sequence[int] = ()) -> str:
    """Return the name of a row, counted from 0, for errors: ``a.star row 3 (line 27)``."""
    line = f" (line {lines[number]})" if lines else ""
    return f"{path} row {number + 1}{line}"


def finite_numbers(
    path: Path,
    rows: Sequence[Sequence[str]],
    columns: Mapping[str, int],
    lines: Sequence[int] = (),
) -> NDArray[np.float64]:
    """Return columns of text as an array of numbers, (rows, columns).

    Parameters
    ----------
    path
        The file, for the error.
    rows
        Rows of text, each with all columns.
    columns
        Names of the wanted columns, for the error, and their places in a row.
    lines
        Line of each row in the file, for the error.

    Raises
    ------
    CoordinatesError
        A value is not a finite number.
    """
    places = list(columns.values())
    try:  # by columns, because a million small lists keep Python's garbage collector busy
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
                    f"{row_place(path, i, lines)} is {' '.join(words)[:MOST_SHOWN]!r}:"
                    f" {str(error)[:MOST_SHOWN]}",
                    f"Each row needs a number for each of {', '.join(columns)}.",
                ) from error
    good = (np.abs(numbers) < MOST).all(axis=1)
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        words = [rows[bad][place] for place in places]
        raise CoordinatesError(
            f"{row_place(path, bad, lines)} is {' '.join(words)[:MOST_SHOWN]}",
            "Coordinates and scores must be finite numbers.",
        )
    return numbers


def check_table(path: Path, table: Table) -> None:
    """Check that each row of a table has one value for each column.

    Raises
    ------
    CoordinatesError
        A column is there twice, or a row has fewer or more values, as in a file that is cut off.
    """
    twice = [name for name, count in Counter(table.columns).items() if count > 1]
    if twice:
        raise CoordinatesError(
            f"{path} has the column {twice[0]} more than once", "Keep one column of that name."
        )
    width = len(table.columns)
    for i, row in enumerate(table.rows):
        if len(row) != width and (len(row) < width or any(row[width:])):
            raise CoordinatesError(
                f"{row_place(path, i, table.lines)} is {' '.join(row)[:MOST_SHOWN]!r}: it has"
                f" {len(row)} values for {width} columns{_why(table, row)}",
                f"Each row needs one value for each of {', '.join(table.columns)}.",
            )


def _why(table: Table, row: list[str]) -> str:
    if row[0].startswith("_"):
        return "; perhaps it is the column of a second loop"
    is_short = row is table.rows[-1] and len(row) < len(table.columns)
    return ", and is the last row: the file may be cut off" if is_short else ""


def rows_by_name(names: Iterable[str]) -> dict[str, NDArray[np.intp]]:
    """Return the indices of the rows of each name."""
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        members.setdefault(name, []).append(i)
    return {name: np.array(rows) for name, rows in members.items()}


def positions_of_boxes(
    boxes: NDArray[np.float64], score: Vector | None = None, *, least_score: float = -np.inf
) -> Positions:
    """Return the centres of boxes.

    The centre of a box of ``n`` pixels is its pixel ``n / 2``, counted from 0, where Fourier
    transforms have their origin and where EMAN and RELION put a particle: centre = corner +
    size / 2, without a half pixel.

    Parameters
    ----------
    boxes
        x and y of the corner with the lowest coordinates, width and height, (N, 4), in pixels.
    score
        Score of each box, (N,). None: 1 for each.
    least_score
        Lowest score at which the program that wrote the file counts a box as a particle.
    """
    x_px, y_px, width_px, height_px = boxes.T
    if score is None:
        score = np.ones(len(boxes))
    return Positions(x_px + width_px / 2, y_px + height_px / 2, score, least_score=least_score)


def positions_in_table(
    path: Path, table: Table, names: tuple[str, str, str], pixel_size_angstrom: float | None
) -> dict[str | None, Positions]:
    """Return the positions in a table, by micrograph.

    Parameters
    ----------
    path
        The file that holds the table, for errors.
    table
        Table with a position in each row.
    names
        Names of the columns for x, y and score; the score column may be missing.
    pixel_size_angstrom
        Pixel size of the micrographs, if given in the file.

    Returns
    -------
    dict
        Positions by the name in the micrograph column; under None if there is no such column.

    Raises
    ------
    CoordinatesError
        The columns for x and y are missing, a column is there twice, a value is missing or not a
        finite number, a row names no micrograph, or the rows are for several micrographs without
        their names.
    """
    x_name, y_name, score_name = names
    if x_name not in table.columns or y_name not in table.columns:
        raise CoordinatesError(
            f"{path} has the columns {', '.join(table.columns) or '(none)'}",
            f"It needs {x_name} and {y_name} in pixels of the micrograph, and may have"
            f" {score_name}.",
        )
    column = next((name for name in _MICROGRAPH_COLUMNS if name in table.columns), None)
    for other, what in _OTHER_IMAGES.items():
        if column is None and other in table.columns:
            raise CoordinatesError(
                f"{path} has positions in {what} ({other}), without the names of micrographs",
                f"Use a file with the column {_MICROGRAPH_COLUMNS[0]}.",
            )
    check_table(path, table)
    wanted = [x_name, y_name, *([score_name] if score_name in table.columns else [])]
    origins = set(_ORIGINS) <= set(table.columns)
    wanted += _ORIGINS if origins else []
    places = {name: table.columns.index(name) for name in wanted}
    numbers = finite_numbers(path, table.rows, places, table.lines)
    score = numbers[:, 2] if score_name in wanted else np.ones(len(numbers))

    def positions_of(chosen: NDArray[np.intp] | slice) -> Positions:
        return Positions(
            numbers[chosen, 0],
            numbers[chosen, 1],
            score[chosen],
            origin_xy_angstrom=numbers[chosen, -2:] if origins else None,
            pixel_size_angstrom=pixel_size_angstrom,
        )

    if column is None:
        return {None: positions_of(slice(None))}
    place = table.columns.index(column)
    micrographs = [row[place].strip() for row in table.rows]
    if "" in micrographs:
        raise CoordinatesError(
            f"{row_place(path, micrographs.index(''), table.lines)} names no micrograph",
            f"Give each row a name in {column}.",
        )
    return {name: positions_of(rows) for name, rows in rows_by_name(micrographs).items()}

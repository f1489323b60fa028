"""CSV files of coordinates, with the columns ``x_px`` and ``y_px``, and maybe ``score``."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.position_table import read_rows
from livepick.core.formats.positions import Positions
from livepick.core.formats.text_lines import Lines
from livepick.errors import CoordinatesError

__all__ = ["read_csv", "write_csv"]

_COLUMNS = ("x_px", "y_px", "score")

MOST_BLOCKS = 8
"""Maximum number of blocks of lines that one row may touch."""


def write_csv(micrograph: PickedMicrograph) -> bytes:
    """Return the table of one micrograph: centres as picked, not rounded, in the rows as stored."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["micrograph", *_COLUMNS])
    picks = micrograph.picks
    for x, y, score in zip(picks.x_px, picks.y_px, picks.score, strict=True):
        # As text, a float32 has the fewest digits that give it back.
        writer.writerow([micrograph.path, x, y, f"{score:.6g}"])
    return text.getvalue().encode()


def read_csv(path: Path, lines: Lines) -> dict[str | None, Positions]:
    """Read a CSV file of positions, by micrograph; lines that begin with ``#`` are comments.

    Raises
    ------
    CoordinatesError
        The columns for x and y are missing, a value is missing or not a finite number, or there
        are too many rows.
    """
    return read_rows(path, lines, _rows(path, lines), _COLUMNS)


def _rows(path: Path, lines: Lines) -> Iterator[tuple[list[list[str]], list[int]]]:
    """Yield the rows of about a block, and the line of each.

    A row between quotation marks may have several lines, and go on in the next block.
    """
    rows: list[list[str]] = []
    numbers: list[int] = []
    blocks = 0

    def each_line() -> Iterator[str]:
        nonlocal blocks
        for block in lines:
            blocks += 1
            if blocks > MOST_BLOCKS:
                raise csv.Error("a row is too long")
            yield from block

    line, reader = 1, csv.reader(each_line())
    try:
        for row in reader:
            if row and not row[0].startswith("#"):
                rows.append([word.strip() for word in row])
                numbers.append(line)
            line = reader.line_num + 1
            if blocks > 1:
                yield rows, numbers
                rows, numbers, blocks = [], [], 1
    except csv.Error as error:
        raise CoordinatesError(
            f"{path} line {reader.line_num} is not readable as CSV: {error}",
            "Separate the values by commas, and close each quotation mark.",
        ) from error
    yield rows, numbers

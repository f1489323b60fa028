"""CSV files of coordinates, with the columns ``x_px`` and ``y_px``, and maybe ``score``."""

import csv
import io
from pathlib import Path

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import Positions, positions_in_table
from livepick.core.formats.star import Table
from livepick.errors import CoordinatesError

__all__ = ["read_csv", "write_csv"]

_COLUMNS = ("x_px", "y_px", "score")


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


def read_csv(path: Path, text: str) -> dict[str | None, Positions]:
    """Read a CSV file of positions, by micrograph; lines that begin with ``#`` are comments.

    Raises
    ------
    CoordinatesError
        The columns for x and y are missing, or a value is missing or not a finite number.
    """
    reader = csv.reader(text.split("\n"))
    rows, lines, line = [], [], 1
    try:
        for row in reader:
            if row and not row[0].startswith("#"):
                rows.append([word.strip() for word in row])
                lines.append(line)
            line = reader.line_num + 1  # a row between quotation marks may have several lines
    except csv.Error as error:
        raise CoordinatesError(
            f"{path} line {reader.line_num} is not readable as CSV: {error}",
            "Separate the values by commas, and close each quotation mark.",
        ) from error
    table = Table(rows[0], rows[1:], lines=lines[1:]) if rows else Table()
    return positions_in_table(path, table, _COLUMNS, None)

"""CSV files of coordinates, with the columns ``x_px`` and ``y_px``, and maybe ``score``."""

import csv
import io
from pathlib import Path

from livepick.core.formats.positions import Positions, positions_in_table
from livepick.core.formats.star import Table

__all__ = ["read_csv"]

_COLUMNS = ("x_px", "y_px", "score")


def read_csv(path: Path, text: str) -> dict[str | None, Positions]:
    """Read a CSV file of positions, by micrograph; lines that begin with ``#`` are comments.

    Raises
    ------
    CoordinatesError
        The columns for x and y are missing, or a value is missing or not a finite number.
    """
    rows = [row for row in csv.reader(io.StringIO(text)) if row and not row[0].startswith("#")]
    table = Table([name.strip() for name in rows[0]], rows[1:]) if rows else Table()
    return positions_in_table(path, table, _COLUMNS, None)

"""Topaz coordinates: a tab-separated table with the name, centre and score of each pick.

The name of the micrograph has no suffix, and the coordinates are whole pixels, counted from the
first row of the file as stored; Topaz does not turn a TIFF over.
"""

from pathlib import Path

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import Positions, positions_in_table
from livepick.core.formats.star import Table

__all__ = ["read_topaz", "write_topaz"]

HEADER = "image_name\tx_coord\ty_coord\tscore"
_COLUMNS = ("x_coord", "y_coord", "score")


def write_topaz(micrograph: PickedMicrograph) -> bytes:
    """Return the table of one micrograph, with its header."""
    name = micrograph.path.stem
    rows = [
        f"{name}\t{x}\t{y}\t{score:.6g}"
        for (x, y), score in zip(
            micrograph.whole_xy(turned=False).tolist(),
            micrograph.picks.score.tolist(),
            strict=True,
        )
    ]
    return "\n".join([HEADER, *rows, ""]).encode()


def read_topaz(path: Path, text: str) -> dict[str | None, Positions]:
    """Read a table of Topaz, by micrograph.

    Raises
    ------
    CoordinatesError
        The columns for x and y are missing, or a value is missing or not a finite number.
    """
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    table = Table([name.strip() for name in rows[0]], rows[1:]) if rows else Table()
    return positions_in_table(path, table, _COLUMNS, None)

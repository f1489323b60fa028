"""Topaz coordinates: a tab-separated table with the name, centre and score of each pick.

The name of the micrograph has no suffix, and the coordinates are whole pixels, counted from the
first row of the file as stored; Topaz does not turn a TIFF over.
"""

from pathlib import Path

from livepick.core.formats.image_names import image_stem
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import Positions, positions_in_table
from livepick.core.formats.star import Table

__all__ = ["is_topaz", "read_topaz", "write_topaz"]

HEADER = "image_name\tx_coord\ty_coord\tscore"
_COLUMNS = ("x_coord", "y_coord", "score")


def write_topaz(micrograph: PickedMicrograph) -> bytes:
    """Return the table of one micrograph, with its header."""
    name = image_stem(micrograph.path)
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
    lines = [(i, line.split("\t")) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        return positions_in_table(path, Table(), _COLUMNS, None)
    columns, *rows = [[word.strip() for word in words] for _, words in lines]
    numbers = [number for number, _ in lines[1:]]
    return positions_in_table(path, Table(columns, rows, lines=numbers), _COLUMNS, None)


def is_topaz(head: str) -> bool:
    """Return True if a file that begins like this is a table of Topaz."""
    return set(_COLUMNS[:2]) <= set(head.partition("\n")[0].split())

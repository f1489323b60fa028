"""Topaz coordinates: a tab-separated table with the name, centre and score of each pick.

The name of the micrograph has no suffix, and the coordinates are whole pixels, counted from the
first row of the file as stored; Topaz does not turn a TIFF over.
"""

from collections.abc import Iterator
from pathlib import Path

from livepick.core.formats.image_names import image_stem
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.position_table import read_rows
from livepick.core.formats.positions import Positions
from livepick.core.formats.text_lines import Lines

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


def read_topaz(path: Path, lines: Lines) -> dict[str | None, Positions]:
    """Read a table of Topaz, by micrograph.

    Raises
    ------
    CoordinatesError
        The columns for x and y are missing, a value is missing or not a finite number, or there
        are too many rows.
    """
    return read_rows(path, lines, _rows(lines), _COLUMNS)


def _rows(lines: Lines) -> Iterator[tuple[list[list[str]], list[int]]]:
    """Yield the rows of each block, and the line of each."""
    before = 0
    for block in lines:
        given = [(i, line) for i, line in enumerate(block, before + 1) if line.strip()]
        before += len(block)
        rows = [[word.strip() for word in line.split("\t")] for _, line in given]
        yield rows, [number for number, _ in given]


def is_topaz(head: str) -> bool:
    """Return True if a file that begins like this is a table of Topaz."""
    return set(_COLUMNS[:2]) <= set(head.partition("\n")[0].split())

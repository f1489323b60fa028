"""EMAN box files: x, y, width and height of one box in each line.

A box is given by the corner with the lowest coordinates. EMAN calls it the lower left corner and
draws the first row of a file at the bottom. So ``y`` increases with the rows of the file, as in
``core.imaging.picks``. EMAN2 turns the rows of a TIFF over when it reads one.
"""

from pathlib import Path

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import (
    MOST_SHOWN,
    Boxes,
    Positions,
    finite_numbers,
    row_place,
)
from livepick.core.formats.star import Table
from livepick.core.formats.text_lines import Lines
from livepick.errors import CoordinatesError

__all__ = ["read_box", "write_box"]

_COLUMNS = {"x": 0, "y": 1, "width": 2, "height": 3}


def write_box(micrograph: PickedMicrograph) -> bytes:
    """Return the box file of a micrograph: whole pixels, rows turned over for a TIFF."""
    box = micrograph.box_px
    corners = micrograph.whole_xy(turned=True) - box // 2
    return "".join(f"{x}\t{y}\t{box}\t{box}\n" for x, y in corners.tolist()).encode()


def read_box(path: Path, lines: Lines) -> Positions:
    """Read an EMAN box file.

    Raises
    ------
    CoordinatesError
        A line has fewer columns, a value is not a number, the boxes are ends of helices, or there
        are too many.
    """
    boxes = Boxes(path, lines)
    before = rows_before = 0
    for block in lines:
        table = Table(list(_COLUMNS), rows_before=rows_before)
        for number, line in enumerate(block, before + 1):
            words = line.replace(",", " ").split()
            if not words or words[0].startswith("#"):
                continue
            table.rows.append(words[:4])
            table.lines.append(number)
            if len(words) < len(_COLUMNS):
                raise CoordinatesError(
                    f"{row_place(path, table, len(table.rows) - 1)} is {line[:MOST_SHOWN]!r}",
                    f"Each row of a box file needs {', '.join(_COLUMNS)}, in pixels.",
                )
            if len(words) > 4 and words[4] in ("-1", "-2"):
                raise CoordinatesError(
                    f"{row_place(path, table, len(table.rows) - 1)} is the end of a helix",
                    "Use a file with the boxes along the helix: e2helixboxer.py --ptcl-coords.",
                )
        boxes.add(finite_numbers(path, table, _COLUMNS))
        before, rows_before = before + len(block), rows_before + len(table.rows)
    return boxes.positions()

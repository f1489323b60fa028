"""EMAN box files: x, y, width and height of one box in each line.

A box is given by the corner with the lowest coordinates. EMAN calls it the lower left corner and
draws the first row of a file at the bottom. So ``y`` increases with the rows of the file, as in
``core.imaging.picks``. EMAN2 turns the rows of a TIFF over when it reads one.
"""

from pathlib import Path

import numpy as np

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import Positions, finite_numbers, positions_of_boxes
from livepick.errors import CoordinatesError

__all__ = ["read_box", "write_box"]

_COLUMNS = ["x", "y", "width", "height"]


def write_box(micrograph: PickedMicrograph) -> bytes:
    """Return the box file of a micrograph: whole pixels, rows turned over for a TIFF."""
    box = micrograph.box_px
    corners = micrograph.whole_xy(turned=True) - box // 2
    return "".join(f"{x}\t{y}\t{box}\t{box}\n" for x, y in corners.tolist()).encode()


def read_box(path: Path, text: str) -> Positions:
    """Read an EMAN box file.

    Raises
    ------
    CoordinatesError
        A line has fewer columns, a value is not a number, or the boxes are ends of helices.
    """
    rows = [line.replace(",", " ").split() for line in text.splitlines()]
    rows = [row for row in rows if row and not row[0].startswith("#")]
    for number, row in enumerate(rows):
        if len(row) < len(_COLUMNS):
            raise CoordinatesError(
                f"{path} row {number + 1} is {' '.join(row)!r}",
                f"Each row of a box file needs {', '.join(_COLUMNS)}, in pixels.",
            )
        if len(row) > 4 and row[4] in ("-1", "-2"):
            raise CoordinatesError(
                f"{path} row {number + 1} is the end of a helix",
                "Use a file with the boxes along the helix: e2helixboxer.py --ptcl-coords.",
            )
    corners = finite_numbers(str(path), [row[:4] for row in rows], _COLUMNS)
    return positions_of_boxes(corners, np.ones(len(rows)))

"""crYOLO cbox files: a STAR table of boxes with confidences.

Boxes are given by the corner with the lowest coordinates, as in EMAN's files. For a TIFF the rows
are counted from the last row of the file. This follows crYOLO's reader of images, and has not been
tried with crYOLO itself.
"""

from pathlib import Path

import numpy as np

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import (
    Positions,
    check_table,
    finite_numbers,
    positions_of_boxes,
)
from livepick.core.formats.star import Table, star_file, star_tables, table_with
from livepick.errors import CoordinatesError

__all__ = ["read_cbox", "write_cbox"]

LEAST_CONFIDENCE = 0.3
"""crYOLO's threshold; its cbox files also hold boxes with a lower confidence."""

_COLUMNS = ["CoordinateX", "CoordinateY", "Width", "Height"]
_SCORE, _SLICE = "Confidence", "CoordinateZ"
_UNKNOWN = "<NA>"

_WRITTEN = (
    "CoordinateX",
    "CoordinateY",
    "CoordinateZ",
    "Width",
    "Height",
    "Depth",
    "EstWidth",
    "EstHeight",
    "Confidence",
    "NumBoxes",
    "Angle",
)


def write_cbox(micrograph: PickedMicrograph) -> bytes:
    """Return the cbox file of a micrograph: corners of boxes, not rounded."""
    box = micrograph.box_px
    scores = micrograph.picks.score.tolist()
    rows = [
        [
            f"{x - box / 2:.3f}",
            f"{y - box / 2:.3f}",
            _UNKNOWN,
            str(box),
            str(box),
            _UNKNOWN,
            str(box),
            str(box),
            f"{score:.6g}",
            _UNKNOWN,
            _UNKNOWN,
        ]
        for (x, y), score in zip(micrograph.xy(turned=True).tolist(), scores, strict=True)
    ]
    head = "\ndata_global\n\n_cbox_format_version 1.0\n"
    tables = star_file(
        [
            Table(list(_WRITTEN), rows, "cryolo"),
            Table(["slice_index"], [], "cryolo_include"),
        ],
        dialect=None,
    )
    return head.encode() + tables


def read_cbox(path: Path, text: str) -> Positions:
    """Read a crYOLO cbox file. An empty file, which crYOLO writes too, holds no boxes.

    Raises
    ------
    CoordinatesError
        The file lacks the columns, a row or a value is wrong, or the file is of a tomogram.
    """
    if not text.strip():
        return positions_of_boxes(np.zeros((0, 4)))
    table = table_with(star_tables(text), _COLUMNS)
    if not set(_COLUMNS) <= set(table.columns):
        raise CoordinatesError(
            f"{path} has the columns {', '.join(table.columns) or '(none)'}",
            f"A cbox file needs {', '.join(_COLUMNS)}, in pixels of the micrograph.",
        )
    check_table(path, table)
    if len(set(table.column(_SLICE) or [])) > 1:
        raise CoordinatesError(
            f"{path} has boxes in several slices of a tomogram",
            "Use a file with the picks of a single micrograph.",
        )
    places = {name: table.columns.index(name) for name in _COLUMNS}
    corners = finite_numbers(path, table.rows, places, table.lines)
    scores = [["1" if word == _UNKNOWN else word] for word in table.column(_SCORE) or []]
    score = np.ones(len(corners))
    if scores:
        score = finite_numbers(path, scores, {_SCORE: 0}, table.lines)[:, 0]
    return positions_of_boxes(corners, score, least_score=LEAST_CONFIDENCE)

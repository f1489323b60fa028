"""crYOLO cbox files: a STAR table of boxes with confidences.

Boxes are given by the corner with the lowest coordinates, as in EMAN's files. For a TIFF the rows
are counted from the last row of the file. This follows crYOLO's reader of images, and has not been
tried with crYOLO itself.
"""

from dataclasses import replace
from pathlib import Path

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import (
    Boxes,
    Positions,
    check_columns,
    check_rows,
    finite_numbers,
    no_positions,
)
from livepick.core.formats.star import Table, star_file, star_parts
from livepick.core.formats.text_lines import Lines
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


def read_cbox(path: Path, lines: Lines) -> Positions:
    """Read a crYOLO cbox file. An empty file, which crYOLO writes too, holds no boxes.

    Raises
    ------
    CoordinatesError
        The file lacks the columns, a row or a value is wrong, the file is of a tomogram, or there
        are too many boxes.
    """
    first: list[str] | None = None
    boxes: _CboxTable | None = None
    for part in star_parts(lines):
        if not part.columns:
            continue
        if boxes is None and not part.rows_before:
            first = first or part.columns
            if set(_COLUMNS) <= set(part.columns):
                boxes = _CboxTable(path, lines, part.columns)
        if boxes is not None and part.columns is boxes.columns:
            boxes.add(part)
    if boxes is not None:
        return boxes.boxes.positions(least_score=LEAST_CONFIDENCE)
    if first is None and not any(line.strip() for block in lines for line in block):
        return no_positions()
    raise CoordinatesError(
        f"{path} has the columns {', '.join(first or []) or '(none)'}",
        f"A cbox file needs {', '.join(_COLUMNS)}, in pixels of the micrograph.",
    )


class _CboxTable:
    """The table of boxes in a cbox file."""

    def __init__(self, path: Path, lines: Lines, columns: list[str]) -> None:
        check_columns(path, columns)
        self.columns = columns
        self.boxes = Boxes(path, lines, has_score=_SCORE in columns)
        self._path = path
        self._places = {name: columns.index(name) for name in _COLUMNS}
        self._slices = set[str]()

    def add(self, part: Table) -> None:
        """Add the rows of a part of the table. Raises CoordinatesError."""
        check_rows(self._path, part)
        self._slices.update(part.column(_SLICE) or [])
        if len(self._slices) > 1:
            raise CoordinatesError(
                f"{self._path} has boxes in several slices of a tomogram",
                "Use a file with the picks of a single micrograph.",
            )
        corners = finite_numbers(self._path, part, self._places)
        words = part.column(_SCORE)
        if words is None:
            self.boxes.add(corners)
            return
        rows = [["1" if word == _UNKNOWN else word] for word in words]
        scores = finite_numbers(self._path, replace(part, rows=rows), {_SCORE: 0})
        self.boxes.add(corners, scores[:, 0])

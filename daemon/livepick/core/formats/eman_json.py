"""EMAN2 info files: ``info/NAME_info.json`` with the centres of the boxes of one micrograph.

Each box is ``[x, y, kind]`` with the centre of the box in pixels. EMAN2 turns the rows of a TIFF
over when it reads one.
"""

import json
from pathlib import Path

import numpy as np

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import MOST, MOST_SHOWN, Positions, same_scores
from livepick.errors import CoordinatesError
from livepick.host.foreign_files import parse_json

__all__ = ["MOST_JSON_BYTES", "read_info", "write_info"]

MOST_JSON_BYTES = 6 << 20
"""Largest info file that is read, with about 250,000 boxes. JSON cannot be read in parts, and its
lists and numbers take up to 30 times their text in memory."""

_REMEDY = 'It needs "boxes": [[x, y, "manual"], ...], with the centres in pixels.'


def write_info(micrograph: PickedMicrograph) -> bytes:
    """Return the info file of a micrograph: whole pixels, rows turned over for a TIFF."""
    boxes = [[x, y, "manual"] for x, y in micrograph.whole_xy(turned=True).tolist()]
    return (json.dumps({"boxes": boxes}) + "\n").encode()


def read_info(path: Path, text: str) -> Positions:
    """Read an EMAN2 info file. One without boxes holds no positions.

    Raises
    ------
    CoordinatesError
        The file is not JSON, or a box does not begin with two finite numbers.
    """
    try:
        info = parse_json(text)
    except ValueError as error:
        raise CoordinatesError(f"{path} is not readable as JSON: {error}", _REMEDY) from error
    boxes = info.get("boxes", []) if isinstance(info, dict) else None
    if not isinstance(boxes, list):
        raise CoordinatesError(f"{path} is JSON, but not an EMAN2 info file", _REMEDY)
    for number, box in enumerate(boxes, 1):
        if not (isinstance(box, list) and len(box) >= 2 and all(map(_is_coordinate, box[:2]))):
            raise CoordinatesError(
                f"{path} box {number} is {str(box)[:MOST_SHOWN]}, without two finite numbers",
                _REMEDY,
            )
    xy = (number for box in boxes for number in box[:2])
    centres = np.fromiter(xy, np.float64, 2 * len(boxes)).reshape(-1, 2)
    return Positions(centres[:, 0], centres[:, 1], same_scores(len(centres)))


def _is_coordinate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST

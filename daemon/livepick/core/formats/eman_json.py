"""EMAN2 info files: ``info/NAME_info.json`` with the centres of the boxes of one micrograph.

Each box is ``[x, y, kind]`` with the centre of the box in pixels. EMAN2 turns the rows of a TIFF
over when it reads one.
"""

import json
from pathlib import Path

import numpy as np

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import Positions
from livepick.errors import CoordinatesError

__all__ = ["read_info", "write_info"]


def write_info(micrograph: PickedMicrograph) -> bytes:
    """Return the info file of a micrograph: whole pixels, rows turned over for a TIFF."""
    boxes = [[x, y, "manual"] for x, y in micrograph.whole_xy(turned=True).tolist()]
    return (json.dumps({"boxes": boxes}) + "\n").encode()


def read_info(path: Path, text: str) -> Positions:
    """Read an EMAN2 info file. One without boxes holds no positions.

    Raises
    ------
    CoordinatesError
        The file is not JSON, or a box is not a pair of finite numbers with a name.
    """
    try:
        info = json.loads(text)
        boxes = info.get("boxes", [])
        centres = np.array([box[:2] for box in boxes], dtype=np.float64).reshape(len(boxes), 2)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise CoordinatesError(
            f"{path} is not a readable EMAN2 info file: {error}",
            'It needs "boxes": [[x, y, "manual"], ...], with the centres in pixels.',
        ) from error
    if not np.isfinite(centres).all():
        raise CoordinatesError(
            f"{path} has a box whose centre is not a finite number", "Pick that particle again."
        )
    return Positions(centres[:, 0], centres[:, 1], np.ones(len(centres)))

"""Readers for coordinates of other programs: EMAN boxes, crYOLO's cbox, cryoSPARC's cs.

Boxes are given by the corner with the lowest coordinates. EMAN calls it the lower left corner and
draws the first row of a file at the bottom; crYOLO follows it. So ``y`` increases with the rows of
the file, as in ``core.imaging.picks``, and no axis is flipped. The centre of a box of ``n`` pixels
is its pixel ``n / 2``, counted from 0, where Fourier transforms have their origin and where EMAN
and RELION put a particle: centre = corner + size / 2, without a half pixel.

cryoSPARC gives fractions of the micrograph's width and height, counted from its first row.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.positions import Positions, finite_numbers
from livepick.core.formats.star import star_tables, table_with
from livepick.errors import CoordinatesError

__all__ = ["read_box", "read_cbox", "read_cs"]

CBOX_LEAST_CONFIDENCE = 0.3
"""crYOLO's threshold; its cbox files also hold boxes with a lower confidence."""

_BOX_COLUMNS = ["x", "y", "width", "height"]
_CBOX_COLUMNS = ["CoordinateX", "CoordinateY", "Width", "Height"]
_CBOX_SCORE, _CBOX_SLICE = "Confidence", "CoordinateZ"
_UNKNOWN = "<NA>"
_CS_PATH = "location/micrograph_path"
_CS_X, _CS_Y = "location/center_x_frac", "location/center_y_frac"
_CS_SHAPE = "location/micrograph_shape"


def read_box(path: Path, text: str) -> Positions:
    """Read an EMAN box file, which has x, y, width and height of one box in each line.

    Raises
    ------
    CoordinatesError
        A line has fewer columns, a value is not a number, or the boxes are ends of helices.
    """
    rows = [line.replace(",", " ").split() for line in text.splitlines()]
    rows = [row for row in rows if row and not row[0].startswith("#")]
    for number, row in enumerate(rows):
        if len(row) < len(_BOX_COLUMNS):
            raise CoordinatesError(
                f"{path} row {number + 1} is {' '.join(row)!r}",
                f"A box file has {', '.join(_BOX_COLUMNS)} of a box in each row, in pixels.",
            )
        if len(row) > 4 and row[4] in ("-1", "-2"):
            raise CoordinatesError(
                f"{path} row {number + 1} is the end of a helix",
                "Give the boxes along it, as e2helixboxer.py writes them by --ptcl-coords.",
            )
    corners = finite_numbers(str(path), [row[:4] for row in rows], _BOX_COLUMNS)
    return _centred(corners, np.ones(len(rows)))


def read_cbox(path: Path, text: str) -> Positions:
    """Read a crYOLO cbox file; an empty one, as crYOLO leaves it, holds no boxes.

    Raises
    ------
    CoordinatesError
        The file lacks the columns, a value is not a number, or the file is of a tomogram.
    """
    if not text.strip():
        return _centred(np.zeros((0, 4)), np.zeros(0))
    table = table_with(star_tables(text), _CBOX_COLUMNS)
    if not set(_CBOX_COLUMNS) <= set(table.columns):
        raise CoordinatesError(
            f"{path} has the columns {', '.join(table.columns) or '(none)'}",
            f"A cbox file needs {', '.join(_CBOX_COLUMNS)}, in pixels of the micrograph.",
        )
    if len(set(table.column(_CBOX_SLICE) or [])) > 1:
        raise CoordinatesError(
            f"{path} has boxes in several slices of a tomogram", "Give picks in micrographs."
        )
    places = [table.columns.index(name) for name in _CBOX_COLUMNS]
    if any(len(row) < len(table.columns) for row in table.rows):
        short = next(i for i, row in enumerate(table.rows) if len(row) < len(table.columns))
        raise CoordinatesError(
            f"{path} row {short + 1} is {' '.join(table.rows[short])!r}",
            f"Each row needs a number for each of {', '.join(_CBOX_COLUMNS)}.",
        )
    rows = [[row[place] for place in places] for row in table.rows]
    corners = finite_numbers(str(path), rows, _CBOX_COLUMNS)
    scores = [["1" if word == _UNKNOWN else word] for word in table.column(_CBOX_SCORE) or []]
    score = finite_numbers(str(path), scores, [_CBOX_SCORE])[:, 0] if scores else np.ones(len(rows))
    return _centred(corners, score, least_score=CBOX_LEAST_CONFIDENCE)


def read_cs(path: Path, data: bytes) -> dict[str | None, Positions]:
    """Read a cryoSPARC cs file of picked or refined particles, by micrograph path.

    Raises
    ------
    CoordinatesError
        The file is not a numpy array of records, lacks the fields, or holds impossible values.
    """
    try:
        table = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError) as error:
        raise CoordinatesError(
            f"{path} is no cs file that can be read: {error}",
            "Export the particles from cryoSPARC again (Actions, Export), or give them as STAR.",
        ) from error
    wanted = (_CS_PATH, _CS_X, _CS_Y, _CS_SHAPE)
    names = getattr(getattr(table, "dtype", None), "names", None) or ()
    if not set(wanted) <= set(names):
        raise CoordinatesError(
            f"{path} lacks {', '.join(name for name in wanted if name not in names)}",
            "Give the particles of a picking, extraction or selection job; a refinement has their"
            " places in its passthrough_particles.cs.",
        )
    fraction = np.column_stack([table[_CS_X], table[_CS_Y]]).astype(np.float64)
    shape = np.asarray(table[_CS_SHAPE])
    if not np.isfinite(fraction).all() or shape.shape != (len(table), 2) or (shape < 1).any():
        raise CoordinatesError(
            f"{path} holds places that are no numbers, or micrographs without a size",
            "Export the particles from cryoSPARC again, or give them as STAR.",
        )
    micrographs = np.array([_text(value) for value in table[_CS_PATH]], dtype=np.str_)
    found: dict[str | None, Positions] = {}
    for name in np.unique(micrographs).tolist():
        here = micrographs == name
        height, width = (int(n) for n in shape[here][0])
        x_px, y_px = (fraction[here] * [width, height]).T
        found[name] = Positions(x_px, y_px, np.ones(len(x_px)), shape_px=(height, width))
    return found


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _centred(
    corners: NDArray[np.float64], score: NDArray[np.float64], *, least_score: float = -np.inf
) -> Positions:
    x_px, y_px, width_px, height_px = corners.T
    return Positions(x_px + width_px / 2, y_px + height_px / 2, score, least_score=least_score)

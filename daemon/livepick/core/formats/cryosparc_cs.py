"""cryoSPARC cs files: numpy records of the particles of many micrographs.

Positions are fractions of the micrograph's width and height, counted from its first row.
"""

import io
from pathlib import Path

import numpy as np

from livepick.core.formats.positions import Positions
from livepick.errors import CoordinatesError

__all__ = ["read_cs"]

_PATH = "location/micrograph_path"
_X, _Y = "location/center_x_frac", "location/center_y_frac"
_SHAPE = "location/micrograph_shape"


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
            f"{path} is not a readable cs file: {error}",
            "Export the particles from cryoSPARC again (Actions, Export), or as STAR.",
        ) from error
    wanted = (_PATH, _X, _Y, _SHAPE)
    names = getattr(getattr(table, "dtype", None), "names", None) or ()
    if not set(wanted) <= set(names):
        raise CoordinatesError(
            f"{path} lacks {', '.join(name for name in wanted if name not in names)}",
            "Use the particles of a picking, extraction or selection job. The positions of a"
            " refinement are in its passthrough_particles.cs.",
        )
    fraction = np.column_stack([table[_X], table[_Y]]).astype(np.float64)
    shape = np.asarray(table[_SHAPE])
    if not np.isfinite(fraction).all() or shape.shape != (len(table), 2) or (shape < 1).any():
        raise CoordinatesError(
            f"{path} holds positions that are not numbers, or micrographs without a size",
            "Export the particles from cryoSPARC again, or as STAR.",
        )
    micrographs = np.array([_text(value) for value in table[_PATH]], dtype=np.str_)
    found: dict[str | None, Positions] = {}
    for name in np.unique(micrographs).tolist():
        here = micrographs == name
        height, width = (int(n) for n in shape[here][0])
        x_px, y_px = (fraction[here] * [width, height]).T
        found[name] = Positions(x_px, y_px, np.ones(len(x_px)), shape_px=(height, width))
    return found


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

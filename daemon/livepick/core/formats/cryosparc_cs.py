"""cryoSPARC cs files: numpy records of the particles of many micrographs.

Positions are fractions of the micrograph's width and height, counted from its first row; a TIFF is
not turned over. A ``.csg`` file beside it tells cryoSPARC's *Import Result Group* what it holds.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.positions import Positions, rows_by_name
from livepick.errors import CoordinatesError

__all__ = ["Exposure", "read_cs", "read_exposures", "write_cs", "write_csg"]

_PATH = "location/micrograph_path"
_X, _Y = "location/center_x_frac", "location/center_y_frac"
_SHAPE = "location/micrograph_shape"

_COLUMNS_MAGIC = b"\x95CSDAT"
"""Beginning of a file in the format that cryosparc-tools calls CSDAT."""

_NUMPY_MAGIC = b"\x93NUMPY"

_AGAIN = "Export the particles from cryoSPARC again (Actions, Export), or as STAR."

MOST_SIDE_PX = 1 << 20
"""Limit of the height and width of a micrograph."""

MOST_FRACTION = 1e6
"""Limit of a position, in widths and heights of the micrograph."""

_UID = re.compile(r"^(\d{15,})_")
"""Number that cryoSPARC puts before the name of a micrograph, with zeros up to 21 digits."""

_FIELDS = [
    ("uid", "<u8"),
    ("location/micrograph_uid", "<u8"),
    ("location/exp_group_id", "<u4"),
    (_SHAPE, "<u4", (2,)),
    ("location/micrograph_psize_A", "<f4"),
    (_X, "<f4"),
    (_Y, "<f4"),
    ("location/min_dist_A", "<f4"),
    ("pick_stats/ncc_score", "<f4"),
    ("pick_stats/power", "<f4"),
]


@dataclass(frozen=True, slots=True)
class Exposure:
    """A micrograph as cryoSPARC knows it."""

    uid: int
    path: str


def write_cs(
    file: BinaryIO,
    micrographs: Iterable[tuple[PickedMicrograph, int | None]],
    *,
    min_distance_angstrom: float,
    path_bytes: int,
) -> int:
    """Write the cs file of the picks of some micrographs, one by one; return how many picks.

    Parameters
    ----------
    file
        New file, open for writing.
    micrographs
        Micrographs, each with the path under which cryoSPARC knows it, and with its number there.
        None: the number is taken from the name of the file, else made from its path.
    min_distance_angstrom
        Closest distance of two picks.
    path_bytes
        Length of the longest path.
    """
    record = np.dtype([*_FIELDS, (_PATH, f"S{max(1, path_bytes)}")])
    count = 0
    file.write(_header(record, count))
    for one, uid in micrographs:
        rows = np.zeros(len(one.picks), record)
        height, width = one.shape_px
        micrograph_uid = _micrograph_uid(one.path) if uid is None else uid
        rows["uid"] = _particle_uids(micrograph_uid, len(rows))
        rows["location/micrograph_uid"] = micrograph_uid
        rows[_PATH] = os.fsencode(one.path)
        rows[_SHAPE] = (height, width)
        rows["location/micrograph_psize_A"] = one.pixel_size_angstrom
        rows[_X] = one.picks.x_px / width
        rows[_Y] = one.picks.y_px / height
        rows["location/min_dist_A"] = min_distance_angstrom
        rows["pick_stats/ncc_score"] = one.picks.score
        file.write(rows.tobytes())
        count += len(rows)
    file.seek(0)
    file.write(_header(record, count))
    return count


def _header(record: np.dtype[np.void], count: int) -> bytes:
    """Return the header of a numpy file; numpy leaves room in it for any number of records."""
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(record)
    fields = {"descr": descr, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def write_csg(name: str, *, count: int, created: str, version: str) -> bytes:
    """Return the group file of a cs file.

    Parameters
    ----------
    name
        Name of the cs file, in the same folder.
    count
        Number of particles in it.
    created
        Time of writing, as text.
    version
        Version of livepick.
    """
    results = "".join(
        f"  {kind}:\n    metafile: '>{name}'\n    num_items: {count}\n    type: particle.{kind}\n"
        for kind in ("location", "pick_stats")
    )
    return (
        f"created: {created}\ngroup:\n  description: Particles picked by livepick {version}\n"
        f"  name: particle\n  title: livepick picks\n  type: particle\nresults:\n{results}"
        f"version: v4.4.0\n"
    ).encode()


def _particle_uids(micrograph_uid: int, count: int) -> NDArray[np.uint64]:
    """Return a number for each particle of a micrograph, mixed by the rounds of SplitMix64.

    The mixing is one to one, so the numbers of a micrograph differ, and those of two micrographs
    coincide no more often than random ones.
    """
    start = _digest(f"particles of {micrograph_uid}")
    mixed = np.arange(count, dtype=np.uint64) + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _micrograph_uid(path: Path) -> int:
    """Return cryoSPARC's number of a micrograph: from its name, else a digest of the path."""
    found = _UID.match(path.name)
    number = int(found.group(1)) if found else _digest(str(path))
    return number if number < 2**64 else _digest(str(path))


def _digest(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest(), "little"
    )


def read_cs(path: Path, data: bytes) -> dict[str | None, Positions]:
    """Read a cryoSPARC cs file of picked or refined particles, by micrograph path.

    Raises
    ------
    CoordinatesError
        The file is not a numpy array of records, lacks the fields, or holds impossible values.
    """
    table = _records(
        path,
        data,
        (_PATH, _X, _Y, _SHAPE),
        "Use the particles of a picking, extraction or selection job. The positions of a refinement"
        " are in its passthrough_particles.cs.",
    )
    for name, dimensions in ((_X, 1), (_Y, 1), (_SHAPE, 2)):
        if table[name].dtype.kind not in "fiu" or table[name].ndim > dimensions:
            raise CoordinatesError(f"{path} has {name} that are not numbers", _AGAIN)
    if table[_PATH].dtype.kind not in "SU" or table[_PATH].ndim != 1:
        raise CoordinatesError(f"{path} has {_PATH} that are not names", _AGAIN)
    fraction = np.column_stack([table[_X], table[_Y]]).astype(np.float64)
    shape = np.asarray(table[_SHAPE])
    if shape.shape != (len(table), 2):
        raise CoordinatesError(f"{path} has {_SHAPE} without height and width", _AGAIN)
    bad = ~(np.abs(fraction) < MOST_FRACTION).all(axis=1)
    bad |= ~((shape >= 1) & (shape <= MOST_SIDE_PX)).all(axis=1)  # also if one is not a number
    if bad.any():
        number = int(np.flatnonzero(bad)[0])
        raise CoordinatesError(
            f"{path} record {number + 1} has the position {fraction[number].tolist()} in a"
            f" micrograph of the size {shape[number].tolist()}",
            _AGAIN,
        )
    found: dict[str | None, Positions] = {}
    for name, rows in rows_by_name(_texts(table[_PATH])).items():
        height, width = (int(n) for n in shape[rows[0]])
        if not name or (shape[rows] != shape[rows[0]]).any():
            what = f"has several sizes for {name}" if name else "does not name all micrographs"
            raise CoordinatesError(f"{path} {what}, first in record {rows[0] + 1}", _AGAIN)
        x_px, y_px = (fraction[rows] * [width, height]).T
        found[name] = Positions(x_px, y_px, np.ones(len(x_px)), shape_px=(height, width))
    return found


def read_exposures(path: Path, data: bytes) -> list[Exposure]:
    """Read the micrographs in a cryoSPARC cs file of exposures.

    Raises
    ------
    CoordinatesError
        The file is not a numpy array of records, or has no exposures.
    """
    blob = "micrograph_blob/path"
    remedy = "Use exposures_accepted.cs or a similar file."
    table = _records(path, data, ("uid", blob), remedy)
    if table["uid"].dtype.kind != "u" or table["uid"].ndim != 1:
        raise CoordinatesError(f"{path} has uid that are not whole numbers", remedy)
    if table[blob].dtype.kind not in "SU" or table[blob].ndim != 1:
        raise CoordinatesError(f"{path} has {blob} that are not names", remedy)
    return [Exposure(int(row["uid"]), _text(row[blob])) for row in table]


def _records(path: Path, data: bytes, wanted: Sequence[str], remedy: str) -> NDArray[np.void]:
    """Return the records of a cs file that has these fields. Raises CoordinatesError."""
    if data.startswith(_COLUMNS_MAGIC):
        raise CoordinatesError(
            f"{path} is a cs file in cryoSPARC's compressed format (CSDAT), which livepick does not"
            " read",
            'Save it in the usual format with cryosparc-tools: Dataset.load("FILE").save("NEW.cs"),'
            " or export the particles from cryoSPARC again (Actions, Export).",
        )
    if not data.startswith(_NUMPY_MAGIC):
        raise CoordinatesError(f"{path} is not a readable cs file: it holds no numpy array", _AGAIN)
    try:
        shape, record, offset = _read_header(data)
    except Exception as error:  # a damaged file makes numpy raise nearly anything
        raise CoordinatesError(f"{path} is not a readable cs file: {error}", _AGAIN) from error
    missing = [name for name in wanted if name not in (record.names or ())]
    if missing:
        raise CoordinatesError(f"{path} lacks {', '.join(missing)}", remedy)
    if len(shape) != 1:
        raise CoordinatesError(f"{path} is not a list of records", remedy)
    if record.hasobject:
        raise CoordinatesError(
            f"{path} is not a readable cs file: it holds Python objects, which are not read",
            _AGAIN,
        )
    needed_bytes = offset + shape[0] * record.itemsize
    if len(data) < needed_bytes:
        raise CoordinatesError(
            f"{path} is not a readable cs file: it has {len(data)} bytes, but its header says"
            f" {needed_bytes}",
            _AGAIN,
        )
    if shape[0] == 0 or record.itemsize == 0:
        return np.zeros(0, record)
    return np.frombuffer(data, record, shape[0], offset)


def _read_header(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape and type of a numpy file, and the offset of its data; nothing is allocated."""
    file = io.BytesIO(data)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(file)]
    shape, _, record = read(file)
    return shape, record, file.tell()


def _texts(values: NDArray[np.generic]) -> list[str]:
    """Return a column of names as text; most are repeated many times."""
    known = {value: _text(value) for value in set(values.tolist())}
    return [known[value] for value in values.tolist()]


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

"""Coordinates files of any format: the positions in them, by micrograph.

A file holds one micrograph, given by the file's name or by a list, or many, named in a column. Each
format has a module of its own, which converts its positions to the convention of
``core.imaging.picks``. Each position of a file without scores gets the score 1.

Nothing is read by halves: if one file or row is wrong, the whole place is refused.
"""

import errno
from pathlib import Path

from livepick.core.formats.coordinates_search import (
    MOST_BYTES,
    Source,
    listed_suffixes,
    reading,
    search_coordinates,
    text_file,
)
from livepick.core.formats.cryolo_cbox import read_cbox
from livepick.core.formats.cryosparc_cs import read_cs
from livepick.core.formats.csv_coordinates import read_csv
from livepick.core.formats.eman_box import read_box
from livepick.core.formats.eman_json import MOST_JSON_BYTES, read_info
from livepick.core.formats.name_matching import listed_name
from livepick.core.formats.positions import Positions, no_positions
from livepick.core.formats.relion_star import read_star
from livepick.core.formats.text_lines import TextFile, text_of
from livepick.core.formats.topaz import read_topaz
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError
from livepick.host.foreign_files import read_bounded

__all__ = ["read_all_positions", "read_coordinates", "read_sources"]


_BY_MICROGRAPH = {".star": read_star, ".csv": read_csv, ".txt": read_topaz, ".tab": read_topaz}
"""Readers of formats that may name micrographs."""

_OF_ONE = {".box": read_box, ".cbox": read_cbox}
"""Readers of formats with the positions in one micrograph."""


def read_coordinates(path: Path) -> Picks:
    """Read the coordinates of one micrograph.

    Raises
    ------
    CoordinatesError
        The file cannot be read, lacks the columns, holds a value that is not a number, or
        covers several micrographs.
    """
    found = _positions_in(path)
    if len(found) > 1:
        raise CoordinatesError(
            f"{path} holds the particles of {len(found)} micrographs",
            "Use one coordinates file for each micrograph, as in RELION's AutoPick folder.",
        )
    return next(iter(found.values())).picks() if found else Picks.empty()


def read_all_positions(place: Path) -> dict[str, Positions]:
    """Read the coordinates of all micrographs in the file, folder or list ``place``.

    Returns
    -------
    dict
        Positions by the name of the micrograph (``name_matching``). A micrograph whose file has no
        rows has an entry without positions.

    Raises
    ------
    CoordinatesError
        ``place`` is missing or empty, a file cannot be read, lacks the columns or holds a
        value that is not a number, or two files are for the same micrograph.
    """
    return read_sources(search_coordinates(place))


def read_sources(sources: list[Source]) -> dict[str, Positions]:
    """Read coordinates files, as ``read_all_positions``."""
    found: dict[str, Positions] = {}
    origins: dict[str, tuple[Path, str | None]] = {}
    for source in sources:
        held = _positions_in(source.path) or {None: no_positions()}
        for name, positions in held.items():
            key = source.micrograph if name is None else listed_name(name)
            origin = source.path, name
            if key in origins:
                one, other = (
                    str(path) if named is None else f"{path} for {named}"
                    for path, named in (origins[key], origin)
                )
                raise CoordinatesError(
                    f"{one} and {other} are both for the micrograph {key}",
                    "Keep one of them, or name a folder that contains only one.",
                )
            origins[key], found[key] = origin, positions
    return found


def _positions_in(path: Path) -> dict[str | None, Positions]:
    """Return a file's positions by micrograph; the key None: given by the file's own name."""
    with reading(path):
        suffix = path.suffix.lower()
        if suffix in _BY_MICROGRAPH:
            return _BY_MICROGRAPH[suffix](path, text_file(path))
        if suffix in _OF_ONE:
            return {None: _OF_ONE[suffix](path, text_file(path))}
        match suffix:
            case ".cs":
                return read_cs(path, read_bounded(path, limit_bytes=MOST_BYTES))
            case ".json":
                return {None: read_info(path, _json_text(path))}
    raise CoordinatesError(
        f"{path} ends in {path.suffix or 'nothing'}, which is not a coordinates format that"
        " livepick reads",
        f"Use a file that ends in {listed_suffixes()}.",
    )


def _json_text(path: Path) -> str:
    limits = {"limit_bytes": MOST_JSON_BYTES, "line_characters": MOST_JSON_BYTES}
    remedy = "An info file has the boxes of one micrograph. Save more boxes as CSV or STAR."
    try:
        return text_of(TextFile(path, **limits))
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise CoordinatesError(f"{path} cannot be read: {error.strerror}", remedy) from error

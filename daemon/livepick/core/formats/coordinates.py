"""Coordinates files of any format: the positions in them, by micrograph.

A file holds one micrograph, given by the file's name or by a list, or many, named in a column. Each
format has a module of its own, which converts its positions to the convention of
``core.imaging.picks``. Each position of a file without scores gets the score 1.

Nothing is read by halves: if one file or row is wrong, the whole place is refused.
"""

from pathlib import Path

import numpy as np

from livepick.core.formats.coordinates_search import (
    CHECK,
    MOST_BYTES,
    Source,
    listed_suffixes,
    read_text,
    search_coordinates,
)
from livepick.core.formats.cryolo_cbox import read_cbox
from livepick.core.formats.cryosparc_cs import read_cs
from livepick.core.formats.csv_coordinates import read_csv
from livepick.core.formats.eman_box import read_box
from livepick.core.formats.eman_json import read_info
from livepick.core.formats.name_matching import listed_name
from livepick.core.formats.positions import Positions, positions_of_boxes
from livepick.core.formats.relion_star import read_star
from livepick.core.formats.topaz import read_topaz
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError
from livepick.host.foreign_files import errors_of_file, read_bounded

__all__ = ["read_all_positions", "read_coordinates", "read_sources"]


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
    origins: dict[str, str] = {}
    for source in sources:
        held = _positions_in(source.path) or {None: positions_of_boxes(np.zeros((0, 4)))}
        for name, positions in held.items():
            key = source.micrograph if name is None else listed_name(name)
            origin = str(source.path) if name is None else f"{source.path} for {name}"
            if key in origins:
                raise CoordinatesError(
                    f"{origins[key]} and {origin} are both for the micrograph {key}",
                    "Keep one of them, or name a folder that contains only one.",
                )
            origins[key], found[key] = origin, positions
    return found


def _positions_in(path: Path) -> dict[str | None, Positions]:
    """Return a file's positions by micrograph; the key None: given by the file's own name."""
    with errors_of_file(path, CoordinatesError, CHECK):
        if path.suffix.lower() == ".cs":
            return read_cs(path, read_bounded(path, limit_bytes=MOST_BYTES))
        return _positions_in_text(path, read_text(path))


def _positions_in_text(path: Path, text: str) -> dict[str | None, Positions]:
    match path.suffix.lower():
        case ".star":
            return read_star(path, text)
        case ".csv":
            return read_csv(path, text)
        case ".box":
            return {None: read_box(path, text)}
        case ".cbox":
            return {None: read_cbox(path, text)}
        case ".json":
            return {None: read_info(path, text)}
        case ".txt" | ".tab":
            return read_topaz(path, text)
    raise CoordinatesError(
        f"{path} ends in {path.suffix or 'nothing'}, which is not a coordinates format that"
        " livepick reads",
        f"Use a file that ends in {listed_suffixes()}.",
    )

"""Pictures inside the session report, as ``data:`` URIs."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.job import RenderJob
from livepick.errors import LivepickError
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.picking.tasks import render
from livepick.web.micrograph_view import Tile, tile_of

__all__ = ["RankedMicrograph", "draw", "embedded", "read_picture"]

MOST_PICTURE_BYTES = 4_000_000
"""Maximum size of a picture in a bundle; a larger one is not from livepick and is left out."""


@dataclass(frozen=True, slots=True)
class RankedMicrograph:
    """One of the best or the worst micrographs."""

    row: MicrographRow
    tile: Tile | None
    """Picks of the micrograph; None if they cannot be drawn."""
    picture: str
    """Picture as a ``data:`` URI; empty without a picture."""
    why_not: str = ""
    """Reason why a requested picture is missing."""


def draw(
    row: MicrographRow, ledger: LedgerReader, config: Config, *, pictures: bool
) -> RankedMicrograph:
    """Return a micrograph with its picks and, if ``pictures``, its picture.

    The picture is rendered in this process, which reads the whole file.
    """
    particle = config.particle
    tile = tile_of(row, ledger, particle.diameter_angstrom)
    if not pictures or tile is None or row.pixel_size_angstrom is None:
        return RankedMicrograph(row, tile, "")
    job = RenderJob(
        path=row.path,
        version=row.version,
        kind="thumbnail",
        pixel_size_angstrom=row.pixel_size_angstrom,
        diameter_angstrom=particle.diameter_angstrom,
        contrast=particle.contrast,
    )
    try:
        return RankedMicrograph(row, tile, _data_uri(render(job)))
    except LivepickError as error:  # for example, the file was moved
        return RankedMicrograph(row, tile, "", error.what)


def embedded(picture: Path) -> str:
    """Return a picture as a ``data:`` URI; empty without one."""
    png = read_picture(picture)
    return _data_uri(png) if png else ""


def read_picture(picture: Path) -> bytes:
    """Return a picture of a bundle; empty if it is missing, too large, a link, or just removed.

    A bundle may come from somebody else, and a link in it could point to any file.
    """
    try:
        descriptor = os.open(picture, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            png = file.read(MOST_PICTURE_BYTES + 1)
    except OSError:
        return b""
    return png if len(png) <= MOST_PICTURE_BYTES else b""


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"

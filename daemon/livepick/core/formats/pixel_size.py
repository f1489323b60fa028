"""Choice between the pixel size in a header and the one in the config."""

import math
from dataclasses import dataclass
from pathlib import Path

from livepick.config.sections import Trust
from livepick.core.formats.header import PIXEL_SIZE_TOLERANCE, Header, Note, printable
from livepick.errors import PixelSizeError

__all__ = ["PixelSize", "resolve_pixel_size"]


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Pixel size to use, and what is odd about the header's."""

    angstrom: float
    notes: tuple[Note, ...] = ()


def resolve_pixel_size(
    path: Path,
    header: Header,
    configured_angstrom: float | None,
    *,
    trust: Trust | None = None,
) -> PixelSize:
    """Return the pixel size to use.

    An impossible one in the header counts as unset, and then the configured one is used. If both
    are there and differ by more than 2 %, ``trust`` decides. The resolution in a TIFF is used only
    if nothing is configured, or with ``trust="header"``: many programs write any number there.

    Parameters
    ----------
    path
        File, for messages.
    header
        Its header.
    configured_angstrom
        Pixel size from the config; None: not set.
    trust
        ``header``, or ``config``; None: a difference is an error.

    Raises
    ------
    PixelSizeError
        It is missing in both, or differs.
    """
    name = printable(path)
    of_header_angstrom = header.header_pixel_size_angstrom
    if math.isnan(of_header_angstrom) or of_header_angstrom == 0.0:
        return _configured(name, header, configured_angstrom)
    if configured_angstrom is None:
        return PixelSize(of_header_angstrom)
    if abs(of_header_angstrom - configured_angstrom) <= PIXEL_SIZE_TOLERANCE * configured_angstrom:
        return PixelSize(configured_angstrom)
    both = (
        f"the pixel size is {of_header_angstrom:g} Å in the header and {configured_angstrom:g} Å in"
        " the config"
    )
    if trust is None and header.kind == "mrc":
        raise PixelSizeError(
            f"{name}: {both}",
            "Set micrograph.pixel_size_angstrom to the pixel size of the micrographs as they land"
            " (after binning), or remove it if the headers are right; if the headers are wrong"
            " (often exactly 1), set micrograph.trust: config.",
        )
    used_angstrom = of_header_angstrom if trust == "header" else configured_angstrom
    return PixelSize(used_angstrom, (Note("pixel_size", f"{both}; {used_angstrom:g} Å used"),))


def _configured(name: str, header: Header, configured_angstrom: float | None) -> PixelSize:
    """Return the configured pixel size, if the header's is unset or impossible."""
    if header.header_pixel_size_angstrom == 0.0:
        if configured_angstrom is not None:
            return PixelSize(configured_angstrom)
        raise PixelSizeError(
            f"{name}: the file has no pixel size, and none is configured",
            "Set micrograph.pixel_size_angstrom, for example 0.83.",
        )
    x, y = header.pixel_sizes_angstrom
    impossible = (
        f"the header gives pixel sizes of {x:g} Å along x and {y:g} Å along y, which is impossible"
    )
    if configured_angstrom is None:
        raise PixelSizeError(
            f"{name}: {impossible}, and none is configured",
            "Set micrograph.pixel_size_angstrom, for example 0.83, or let the motion correction"
            " write the right pixel size.",
        )
    text = f"{impossible}; {configured_angstrom:g} Å used"
    return PixelSize(configured_angstrom, (Note("pixel_size", text),))

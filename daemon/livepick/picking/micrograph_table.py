"""The session's table of figures: one row per micrograph, as STAR and as CSV.

It is regenerated from the ledger, like ``autopick.star``. The STAR file has one block, which RELION
and the starfile library can read; the columns that RELION does not define begin with ``livepick``.
Unknown values are ``nan`` in the STAR file and empty fields in the CSV. CTF columns are left out as
long as no micrograph has CTF figures.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from livepick import __version__
from livepick.core.formats.star import Table, star_file, star_word
from livepick.ledger.columns import CTF_FIGURES, QUALITY_FIGURES
from livepick.ledger.rows import Measured
from livepick.picking.coordinate_files import write_if_different

__all__ = ["CSV", "STAR", "MicrographTable"]

STAR = "micrographs.star"
CSV = "micrographs.csv"

_FIRST = ("pick_count", "threshold", "model_version", "model_kind")
_LAST = ("quality_verdict", "quality_reason")
_RELION = {
    "micrograph": "rlnMicrographName",
    "defocus_u_angstrom": "rlnDefocusU",
    "defocus_v_angstrom": "rlnDefocusV",
    "astigmatism_angle_degrees": "rlnDefocusAngle",
    "ctf_resolution_angstrom": "rlnCtfMaxResolution",
}
"""Columns that RELION defines, with their RELION names."""

_NO_REASON = "-"
"""Placeholder for the missing reason of a good micrograph: STAR values must not be empty."""


class MicrographTable:
    """Writes the figures of a session's micrographs.

    Parameters
    ----------
    directory
        Output folder; it is created when the first table is written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, rows: Iterable[Measured]) -> bool:
        """Write both files if they differ from the existing ones; return True if either did.

        Raises
        ------
        OutputError
            Writing to the folder failed; a later try may succeed.
        """
        table = list(rows)
        ctf = any(value is not None for row in table for value in row.ctf)
        columns = ("micrograph", *_FIRST, *QUALITY_FIGURES, *(CTF_FIGURES if ctf else ()), *_LAST)
        cells = [_cells(row, ctf=ctf) for row in table]
        written = [
            write_if_different(self.directory / STAR, _star(columns, cells)),
            write_if_different(self.directory / CSV, _csv(columns, cells)),
        ]
        return any(written)


def _cells(row: Measured, *, ctf: bool) -> list[str]:
    """Return the cells of a row as text; unknown values are empty."""
    return [
        str(row.root / row.relative),
        str(row.pick_count),
        f"{row.threshold:.4g}",
        str(row.model_version),
        row.model_kind,
        *map(_number, row.figures),
        *(map(_number, row.ctf) if ctf else ()),
        row.verdict,
        row.reason,
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _star(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    table = Table(
        [_label(column) for column in columns], [_star_row(row) for row in rows], "micrographs"
    )
    return star_file([table], comment=f"livepick {__version__}")


def _star_row(row: Sequence[str]) -> list[str]:
    *words, reason = row
    return [*(star_word(word) or "nan" for word in words), f'"{reason or _NO_REASON}"']


def _label(column: str) -> str:
    """Return the STAR label of a column: ``ice_ring`` becomes ``livepickIceRing``."""
    return _RELION.get(column) or "livepick" + "".join(map(str.title, column.split("_")))

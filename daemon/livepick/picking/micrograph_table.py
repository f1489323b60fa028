"""The session's micrographs with their figures, as CSV and STAR, regenerated from the ledger.

- ``micrographs.csv``: all figures of each micrograph; unknown ones are empty.
- ``micrograph_quality.star``: the same as STAR; the columns that RELION does not define begin with
  ``livepick``, and unknown values are ``nan``.
- ``micrographs.star``: a list of micrographs for RELION 3.1 and later, with its optics table.
- ``good_micrographs.star``: the same list, only with micrographs whose quality verdict is good.

The lists have columns of the CTF if it is known for each micrograph in them, and the names that the
micrographs have in the RELION project, if there is one.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from livepick import __version__
from livepick.config.output_sections import Optics
from livepick.core.formats.star import Table, star_file, star_word
from livepick.ledger.columns import CTF_FIGURES, QUALITY_FIGURES
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Measured
from livepick.picking.output_folder import OutputFolder
from livepick.picking.relion_files import MICROGRAPHS
from livepick.picking.relion_project import RelionProject

__all__ = ["CSV", "GOOD", "QUALITY", "MicrographTable"]

CSV = "micrographs.csv"
QUALITY = "micrograph_quality.star"
GOOD = "good_micrographs.star"

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

_OPTICS_COLUMNS = [
    "rlnOpticsGroupName",
    "rlnOpticsGroup",
    "rlnMicrographOriginalPixelSize",
    "rlnMicrographPixelSize",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
]

_NO_REASON = "-"
"""Placeholder for the missing reason of a good micrograph: STAR values must not be empty."""


class MicrographTable:
    """Writes the micrographs of a session with their figures.

    Parameters
    ----------
    folder
        Output folder.
    lists
        Folder of the lists for RELION, if it is another one.
    project
        RELION project that takes the lists. None: there is none.
    optics
        Optics of the microscope.
    """

    def __init__(
        self,
        folder: OutputFolder,
        *,
        lists: OutputFolder | None = None,
        project: RelionProject | None = None,
        optics: Optics | None = None,
    ) -> None:
        self._folder = folder
        self._lists = lists or folder
        self._project = project
        self._optics = optics or Optics()

    def write(self, ledger: LedgerReader) -> bool:
        """Write the files that differ from the existing ones; return True if any did.

        Raises
        ------
        OutputError
            Writing to the folder failed; a later try may succeed.
        """
        rows = list(ledger.measured())
        ctf = any(value is not None for row in rows for value in row.ctf)
        columns = ("micrograph", *_FIRST, *QUALITY_FIGURES, *(CTF_FIGURES if ctf else ()), *_LAST)
        cells = [_cells(row, ctf=ctf) for row in rows]
        folder, lists = self._folder, self._lists
        good = [row for row in rows if row.verdict == "good"]
        # In the order of landing, and equal in both lists: RELION joins particles by their groups.
        groups = list(dict.fromkeys(_number(row.pixel_size_angstrom) for row in rows))
        written = [
            lists.write_if_different(lists.path / MICROGRAPHS, self._list(rows, groups)),
            lists.write_if_different(lists.path / GOOD, self._list(good, groups)),
            folder.write_if_different(folder.path / QUALITY, _quality_star(columns, cells)),
            folder.write_if_different(folder.path / CSV, _csv(columns, cells)),
        ]
        return any(written)

    def _list(self, rows: Sequence[Measured], sizes: Sequence[str]) -> bytes:
        """Return a list of micrographs as RELION reads it, with one optics group a pixel size."""
        optics = [
            [
                f"opticsGroup{number}",
                str(number),
                size,
                size,
                _number(self._optics.voltage_kv),
                _number(self._optics.spherical_aberration_mm),
                _number(self._optics.amplitude_contrast),
            ]
            for number, size in enumerate(sizes, 1)
        ]
        ctf = bool(rows) and all(value is not None for row in rows for value in row.ctf)
        columns = ["rlnMicrographName", "rlnOpticsGroup", *(_label(c) for c in CTF_FIGURES if ctf)]
        micrographs = [
            [
                star_word(self._name(row)),
                str(1 + sizes.index(_number(row.pixel_size_angstrom))),
                *(map(_number, row.ctf) if ctf else ()),
            ]
            for row in rows
        ]
        return star_file(
            [
                Table(_OPTICS_COLUMNS, optics, "optics"),
                Table(columns, micrographs, "micrographs"),
            ],
            comment=f"livepick {__version__}",
        )

    def _name(self, row: Measured) -> str:
        path = row.root / row.relative
        return (self._project and self._project.name(path)) or str(path)


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


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _quality_star(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    table = Table(
        [_label(column) for column in columns], [_star_row(row) for row in rows], "micrographs"
    )
    return star_file([table], comment=f"livepick {__version__}")


def _star_row(row: Sequence[str]) -> list[str]:
    *words, reason = row
    return [*(star_word(word or "nan") for word in words), f'"{reason or _NO_REASON}"']


def _label(column: str) -> str:
    """Return the STAR label of a column: ``ice_ring`` becomes ``livepickIceRing``."""
    return _RELION.get(column) or "livepick" + "".join(map(str.title, column.split("_")))

"""The session's micrographs with their figures, as CSV and STAR, regenerated from the ledger.

- ``micrographs.csv``: all figures of each micrograph; unknown ones are empty.
- ``micrograph_quality.star``: the same as STAR; the columns that RELION does not define begin with
  ``livepick``, and unknown values are ``nan``.
- ``micrographs.star``: a list of micrographs for RELION 3.1 and later, with its optics table.
- ``good_micrographs.star``: the same list, only with micrographs whose quality verdict is good.

The lists have columns of the CTF if it is known for each micrograph in them, and the names that the
micrographs have in the RELION project, if there is one.

The rows are written to temporary files one by one, because a session has tens of thousands.
"""

import contextlib
import csv
import io
import shutil
from collections.abc import Callable, Sequence
from tempfile import TemporaryFile
from typing import BinaryIO

from livepick import __version__
from livepick.config.sections import Microscope
from livepick.core.formats.star import star_row, star_start, star_word, table_start
from livepick.ledger.columns import CTF_FIGURES, QUALITY_FIGURES
from livepick.ledger.output_rows import Measured
from livepick.ledger.reader import LedgerReader
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


TRIES = 3
"""Number of tries to write the tables while the ledger changes."""


class _ChangedError(Exception):
    """A micrograph has changed so that the columns of the tables are others."""


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
        Returns the optics of the microscope.
    """

    def __init__(
        self,
        folder: OutputFolder,
        *,
        lists: OutputFolder | None = None,
        project: RelionProject | None = None,
        optics: Callable[[], Microscope] = Microscope,
    ) -> None:
        self._folder = folder
        self._lists = lists or folder
        self._project = project
        self._optics = optics

    def write(self, ledger: LedgerReader) -> bool:
        """Write the files that differ from the existing ones; return True if any did.

        Raises
        ------
        OutputError
            Writing to the folder failed; a later try may succeed.
        """
        for _ in range(TRIES - 1):
            with contextlib.suppress(_ChangedError):
                return self._write(ledger)
        return self._write(ledger)

    def _write(self, ledger: LedgerReader) -> bool:
        shared = ledger.summary_of_measured()
        # In the order of landing, and equal in both lists: RELION joins particles by their groups.
        sizes = list(dict.fromkeys(map(_number, shared.pixel_sizes_angstrom)))
        with contextlib.ExitStack() as ending:
            drafts = [ending.enter_context(TemporaryFile()) for _ in range(4)]
            everything, good, quality, table = drafts
            self._begin_list(everything, sizes, ctf=shared.all_have_ctf)
            self._begin_list(good, sizes, ctf=shared.all_good_have_ctf)
            columns = (
                *("micrograph", *_FIRST, *QUALITY_FIGURES),
                *(CTF_FIGURES if shared.some_have_ctf else ()),
                *_LAST,
            )
            quality.write(star_start(f"livepick {__version__}").encode())
            quality.write(table_start("micrographs", list(map(_label, columns))).encode())
            table.write(_csv_row(columns))
            for row in ledger.measured(until=shared.last_id):
                if _number(row.pixel_size_angstrom) not in sizes or (
                    None in row.ctf
                    and (
                        shared.all_have_ctf or (row.verdict == "good" and shared.all_good_have_ctf)
                    )
                ):
                    raise _ChangedError
                everything.write(self._list_row(row, sizes, ctf=shared.all_have_ctf))
                if row.verdict == "good":
                    good.write(self._list_row(row, sizes, ctf=shared.all_good_have_ctf))
                cells = _cells(row, ctf=shared.some_have_ctf)
                quality.write(star_row(_star_cells(cells)).encode())
                table.write(_csv_row(cells))
            for draft in (everything, good, quality):
                draft.write(b"\n")
            lists, folder = self._lists, self._folder
            written = [
                _put(everything, lists, MICROGRAPHS),
                _put(good, lists, GOOD),
                _put(quality, folder, QUALITY),
                _put(table, folder, CSV),
            ]
        return any(written)

    def _begin_list(self, file: BinaryIO, sizes: Sequence[str], *, ctf: bool) -> None:
        """Write what a list as RELION reads it has before its rows: an optics group a size."""
        microscope = self._optics()
        optics = [
            [
                f"opticsGroup{number}",
                str(number),
                size,
                size,
                _number(microscope.voltage_kv),
                _number(microscope.spherical_aberration_mm),
                _number(microscope.amplitude_contrast),
            ]
            for number, size in enumerate(sizes, 1)
        ]
        columns = ["rlnMicrographName", "rlnOpticsGroup", *(_label(c) for c in CTF_FIGURES if ctf)]
        parts = [
            star_start(f"livepick {__version__}"),
            table_start("optics", _OPTICS_COLUMNS),
            *map(star_row, optics),
            table_start("micrographs", columns),
        ]
        file.write("".join(parts).encode())

    def _list_row(self, row: Measured, sizes: Sequence[str], *, ctf: bool) -> bytes:
        words = [
            star_word(self._name(row)),
            str(1 + sizes.index(_number(row.pixel_size_angstrom))),
            *(map(_number, row.ctf) if ctf else ()),
        ]
        return star_row(words).encode()

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


def _csv_row(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _star_cells(cells: Sequence[str]) -> list[str]:
    *words, reason = cells
    return [*(star_word(word or "nan") for word in words), f'"{reason or _NO_REASON}"']


def _put(draft: BinaryIO, folder: OutputFolder, name: str) -> bool:
    """Put a finished file into a folder, unless it is there already; return True if it was not."""

    def fill(file: BinaryIO) -> None:
        draft.seek(0)
        shutil.copyfileobj(draft, file)

    return folder.write_large_if_different(folder.path / name, fill)


def _label(column: str) -> str:
    """Return the STAR label of a column: ``ice_ring`` becomes ``livepickIceRing``."""
    return _RELION.get(column) or "livepick" + "".join(map(str.title, column.split("_")))

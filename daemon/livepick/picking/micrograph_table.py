"""The session's micrographs with their figures, as CSV and STAR, regenerated from the ledger.

- ``micrographs.csv``: all figures of each micrograph; unknown ones are empty.
- ``micrograph_quality.star``: the same as STAR; the columns that RELION does not define begin with
  ``livepick``, and unknown values are ``nan``.
- ``micrographs.star``: a list of micrographs for RELION 3.1 and later, with its optics table.
- ``good_micrographs.star``: the same list, only with micrographs whose quality verdict is good.
- ``micrographs_ctf.star``: the micrographs whose CTF is known, fitted or by another program, as the
  result of RELION's CTF estimation: for *Particle extraction*.

The first two lists have columns of the CTF if it is known for each micrograph in them. All lists
have the names that the micrographs have in the RELION project, if there is one.

The rows are written to temporary files one by one, because a session has tens of thousands.
"""

import contextlib
import csv
import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

from livepick import __version__
from livepick.config.sections import Microscope
from livepick.core.formats.picked_micrograph import TIFF_SUFFIXES
from livepick.core.formats.star import star_row, star_start, star_word, table_start
from livepick.ledger.columns import CTF_FIGURES, QUALITY_FIGURES
from livepick.ledger.output_rows import Measured, MeasuredSummary
from livepick.ledger.reader import LedgerReader
from livepick.picking.output_folder import OutputFolder
from livepick.picking.relion_files import MICROGRAPHS
from livepick.picking.relion_project import RelionProject

__all__ = [
    "CSV",
    "GOOD",
    "QUALITY",
    "WITH_CTF",
    "MicrographTable",
    "csv_rows",
    "optics_table",
]

CSV = "micrographs.csv"
QUALITY = "micrograph_quality.star"
GOOD = "good_micrographs.star"
WITH_CTF = "micrographs_ctf.star"

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


class _Drafts(NamedTuple):
    """The files while they are written."""

    everything: BinaryIO
    good: BinaryIO
    with_ctf: BinaryIO
    quality: BinaryIO
    table: BinaryIO


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
        # In the order of landing, and equal in all lists: RELION joins particles by their groups.
        sizes = list(dict.fromkeys(map(_number, shared.pixel_sizes_angstrom)))
        with contextlib.ExitStack() as ending:
            drafts = _Drafts(*(ending.enter_context(TemporaryFile()) for _ in range(5)))
            self._begin(drafts, shared, sizes)
            for row in ledger.measured(until=shared.last_id):
                if _number(row.pixel_size_angstrom) not in sizes:
                    raise _ChangedError
                self._write_row(row, drafts, shared, sizes)
            for draft in (drafts.everything, drafts.good, drafts.with_ctf, drafts.quality):
                draft.write(b"\n")
            lists, folder = self._lists, self._folder
            written = [
                _put(drafts.everything, lists, MICROGRAPHS),
                _put(drafts.good, lists, GOOD),
                _put(drafts.with_ctf, lists, WITH_CTF),
                _put(drafts.quality, folder, QUALITY),
                _put(drafts.table, folder, CSV),
            ]
        return any(written)

    def _begin(self, drafts: "_Drafts", shared: MeasuredSummary, sizes: Sequence[str]) -> None:
        """Write what the files have before their rows."""
        labels = list(map(_label, CTF_FIGURES))
        self._begin_list(drafts.everything, sizes, labels if shared.all_have_ctf else [])
        self._begin_list(drafts.good, sizes, labels if shared.all_good_have_ctf else [])
        self._begin_list(drafts.with_ctf, sizes, list(_ctf_columns(shared)))
        columns = _columns(with_ctf=shared.some_have_ctf)
        drafts.quality.write(star_start(f"livepick {__version__}").encode())
        drafts.quality.write(table_start("micrographs", list(map(_label, columns))).encode())
        drafts.table.write(_csv_row(columns))

    def _write_row(
        self, row: Measured, drafts: "_Drafts", shared: MeasuredSummary, sizes: Sequence[str]
    ) -> None:
        """Write a micrograph into the files that have it."""
        figures = list(map(_number, _relion_ctf(row)))
        for draft, is_in_it, has_figures in (
            (drafts.everything, True, shared.all_have_ctf),
            (drafts.good, row.verdict == "good", shared.all_good_have_ctf),
        ):
            if is_in_it:
                draft.write(self._list_row(row, sizes, _known(figures) if has_figures else []))
        if row.has_ctf:
            words = [_number(value(row)) for value in _ctf_columns(shared).values()]
            drafts.with_ctf.write(self._list_row(row, sizes, _known(words)))
        in_star = [*figures, *_fit(row)] if shared.some_have_ctf else []
        drafts.quality.write(star_row(_star_cells(_cells(row, in_star))).encode())
        drafts.table.write(_table_row(row, with_ctf=shared.some_have_ctf))

    def _begin_list(self, file: BinaryIO, sizes: Sequence[str], ctf: Sequence[str]) -> None:
        """Write what a list as RELION reads it has before its rows: an optics group a size.

        ``ctf``: labels of the columns after the name and the optics group.
        """
        columns = ["rlnMicrographName", "rlnOpticsGroup", *ctf]
        file.write(optics_table(self._optics(), sizes).encode())
        file.write(table_start("micrographs", columns).encode())

    def _list_row(self, row: Measured, sizes: Sequence[str], ctf: Sequence[str]) -> bytes:
        words = [
            star_word(self._name(row)),
            str(1 + sizes.index(_number(row.pixel_size_angstrom))),
            *ctf,
        ]
        return star_row(words).encode()

    def _name(self, row: Measured) -> str:
        path = row.root / row.relative
        return (self._project and self._project.name(path)) or str(path)


def csv_rows(rows: Iterable[Measured], *, with_ctf: bool) -> Iterator[bytes]:
    """Yield the lines of ``micrographs.csv`` for some micrographs, the first with its columns.

    ``with_ctf``: True for the columns of the CTF, too.
    """
    yield _csv_row(_columns(with_ctf=with_ctf))
    for row in rows:
        yield _table_row(row, with_ctf=with_ctf)


def optics_table(microscope: Microscope, sizes: Sequence[str]) -> str:
    """Return the beginning of a STAR file for RELION: its optics table, with a group a pixel size.

    ``sizes``: pixel sizes in ångström, as text.
    """
    groups = [
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
    parts = [
        star_start(f"livepick {__version__}"),
        table_start("optics", _OPTICS_COLUMNS),
        *map(star_row, groups),
    ]
    return "".join(parts)


def _columns(*, with_ctf: bool) -> tuple[str, ...]:
    ctf = (*CTF_FIGURES, "ctf_source", "ctf_score") if with_ctf else ()
    return ("micrograph", *_FIRST, *QUALITY_FIGURES, *ctf, *_LAST)


def _fit(row: Measured) -> list[str]:
    return [row.ctf_source or "", _number(row.ctf_score)]


def _table_row(row: Measured, *, with_ctf: bool) -> bytes:
    ctf = [*map(_number, row.ctf), *_fit(row)] if with_ctf else []
    return _csv_row(_cells(row, ctf))


def _known(words: list[str]) -> list[str]:
    """Return words of which none may be missing.

    Raises
    ------
    _ChangedError
        One is: RELION would read a defocus of zero.
    """
    if "" in words:
        raise _ChangedError
    return words


def _ctf_columns(shared: MeasuredSummary) -> dict[str, Callable[[Measured], float | None]]:
    """Return the columns of the list of micrographs with a CTF; a value must not be missing."""
    columns: dict[str, Callable[[Measured], float | None]] = {
        "rlnDefocusU": lambda row: _relion_ctf(row)[0],
        "rlnDefocusV": lambda row: _relion_ctf(row)[1],
        "rlnCtfAstigmatism": lambda row: abs((row.ctf[0] or 0.0) - (row.ctf[1] or 0.0)),
        "rlnDefocusAngle": lambda row: _relion_ctf(row)[2],
    }
    if shared.all_ctfs_are_fitted:
        columns["rlnCtfFigureOfMerit"] = lambda row: row.figure_of_merit
    if shared.all_ctfs_have_resolution:
        columns["rlnCtfMaxResolution"] = lambda row: _relion_ctf(row)[3]
    return columns


def _relion_ctf(row: Measured) -> tuple[float | None, ...]:
    """Return the CTF figures as RELION counts the angle: it turns the rows of a TIFF over.

    Figures of other programs are passed on as they are.
    """
    u, v, angle, resolution = row.ctf
    is_turned = row.relative.suffix.lower() in TIFF_SUFFIXES
    if angle is not None and is_turned and row.ctf_source == "fitted":
        angle = -angle
    return u, v, angle, resolution


def _cells(row: Measured, ctf: Sequence[str]) -> list[str]:
    """Return the cells of a row as text; unknown values are empty."""
    return [
        str(row.root / row.relative),
        str(row.pick_count),
        f"{row.threshold:.4g}",
        str(row.model_version),
        row.model_kind,
        *map(_number, row.figures),
        *ctf,
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

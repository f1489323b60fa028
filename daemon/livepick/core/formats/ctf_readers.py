"""Readers for the defocus in RELION's list of micrographs and in CTFFIND's texts.

RELION 3.1 and later have a table of optics groups beside the table of micrographs; RELION 3.0 and
programs that write its format have a single table. CTFFIND 4 and 5 begin ``NAME.txt`` with lines
that name the voltage; its columns are the number of the micrograph, two defoci and their azimuth,
the phase shift in radians, cross correlation, and the resolution of the fit. A fit to a whole stack
of micrographs is not an entry. Warp's XML is in ``core.formats.warp_xml``.
"""

import math
import re
from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePath

from livepick.core.formats.image_names import stem_of_name
from livepick.core.formats.star import Table, star_parts
from livepick.core.formats.text_lines import BadLineError, TextFile
from livepick.core.imaging.ctf import Ctf
from livepick.errors import CtfError
from livepick.host.foreign_files import errors_of_file, read_bounded

__all__ = ["CTF_REMEDY", "read_ctffind", "read_relion_ctfs"]

MOST_TEXT_BYTES = 4 << 20
"""Largest text beside a micrograph that is read; CTFFIND's have less than a kilobyte."""

MOST_STAR_BYTES = 256 << 20
"""Largest list of micrographs that is read: several hundred thousand micrographs."""

MOST_ENTRIES = 200_000
"""Maximum number of entries that are kept, besides the micrographs of other names."""

_NAMES = ("rlnMicrographName", "rlnMicrographNameNoDW")
_OPTICS = "rlnOpticsGroup"
_NEEDED = {
    *_NAMES,
    _OPTICS,
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnPhaseShift",
    "rlnCtfMaxResolution",
}
"""Columns that are read."""

CTF_REMEDY = (
    "Set micrograph.ctf to RELION's micrographs_ctf.star, or to a folder with CTFFIND's NAME.txt or"
    " Warp's NAME.xml."
)
_HEADER = {
    "voltage_kv": re.compile(r"acceleration voltage:\s*([-+.\deE]+)\s*keV"),
    "spherical_aberration_mm": re.compile(r"spherical aberration:\s*([-+.\deE]+)\s*mm"),
    "amplitude_contrast": re.compile(r"amplitude contrast:\s*([-+.\deE]+)"),
}


def read_ctffind(path: Path) -> Ctf | None:
    """Read CTFFIND's result for one micrograph; None if the text is something else.

    Raises
    ------
    CtfError
        The text is CTFFIND's but damaged.
    """
    with errors_of_file(path, CtfError, CTF_REMEDY):
        text = read_bounded(path, limit_bytes=MOST_TEXT_BYTES).decode("utf-8-sig")
    lines = text.splitlines()
    if not lines or not lines[0].lower().startswith("# output from ctffind"):
        return None
    header = "\n".join(line for line in lines if line.startswith("#"))
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    if len(rows) != 1:
        return None  # a rotational average, or a stack
    try:
        numbers = {name: float(_group(pattern, header)) for name, pattern in _HEADER.items()}
        _, defocus_u, defocus_v, azimuth, shift, *rest = map(float, rows[0])
        return Ctf(
            defocus_u_angstrom=defocus_u,
            defocus_v_angstrom=defocus_v,
            astigmatism_angle_degrees=azimuth,
            phase_shift_degrees=math.degrees(shift),
            fit_resolution_angstrom=_resolution(rest[1]) if len(rest) > 1 else None,
            **numbers,
        )
    except ValueError as error:
        raise CtfError(f"{path} is a damaged CTFFIND file: {error}", CTF_REMEDY) from error


def read_relion_ctfs(path: Path, stems: Container[str]) -> dict[PurePath, Callable[[], Ctf]]:
    """Return some micrographs in a RELION STAR file, each with a function that reads its row.

    That function raises CtfError if the row lacks a number.

    Parameters
    ----------
    path
        The file.
    stems
        Stems of the wanted micrographs.

    Raises
    ------
    CtfError
        The file cannot be read, names no micrographs with their defocus, or is too long.
    """
    columns: list[str] | None = None
    optics: dict[str, dict[str, str]] = {}
    rows: list[dict[str, str]] = []
    for part in _parts(path):
        if columns is None and _has_defocus(part):
            columns = part.columns
        elif part.columns is not columns and _OPTICS in part.columns:
            optics |= {row[_OPTICS]: row for row in _needed(part) if _OPTICS in row}
        if part.columns is columns:
            rows += (row for row in _needed(part) if _is_wanted(row, stems))
        if len(rows) + len(optics) > MOST_ENTRIES:
            raise CtfError(
                f"{path} has more than {MOST_ENTRIES:,} micrographs to match", CTF_REMEDY
            )
    if columns is None:
        raise CtfError(f"{path} has no table of micrographs with rlnDefocusU", CTF_REMEDY)
    return {
        PurePath(row[name]): partial(_relion_ctf, path, optics.get(row.get(_OPTICS, ""), {}), row)
        for row in rows
        for name in _NAMES
        if name in row
    }


def _parts(path: Path) -> Iterator[Table]:
    try:
        yield from star_parts(TextFile(path, limit_bytes=MOST_STAR_BYTES))
    except BadLineError as error:
        raise CtfError(f"{path} {error}", error.remedy) from error


def _has_defocus(table: Table) -> bool:
    return "rlnDefocusU" in table.columns and any(name in table.columns for name in _NAMES)


def _needed(table: Table) -> Iterator[dict[str, str]]:
    """Yield each row by column name, as far as its values are needed."""
    places = [(i, name) for i, name in enumerate(table.columns) if name in _NEEDED]
    for row in table.rows:
        yield {name: row[place] for place, name in places if place < len(row)}


def _is_wanted(row: Mapping[str, str], stems: Container[str]) -> bool:
    names = (row[name] for name in _NAMES if name in row)
    return any(stem_of_name(name.rstrip("/").rpartition("/")[2]) in stems for name in names)


def _relion_ctf(path: Path, optics: Mapping[str, str], row: Mapping[str, str]) -> Ctf:
    values = {**optics, **row}
    name = next(values[name] for name in _NAMES if name in values)
    try:
        return Ctf(
            defocus_u_angstrom=float(values["rlnDefocusU"]),
            defocus_v_angstrom=float(values["rlnDefocusV"]),
            astigmatism_angle_degrees=float(values["rlnDefocusAngle"]),
            voltage_kv=float(values["rlnVoltage"]),
            spherical_aberration_mm=float(values["rlnSphericalAberration"]),
            amplitude_contrast=float(values["rlnAmplitudeContrast"]),
            phase_shift_degrees=float(values.get("rlnPhaseShift", "0")),
            fit_resolution_angstrom=_resolution(float(values.get("rlnCtfMaxResolution", "nan"))),
        )
    except KeyError as error:
        raise CtfError(f"{path} has no {error.args[0]} for {name}", CTF_REMEDY) from error
    except ValueError as error:
        raise CtfError(f"{path}, {name}: {error}", CTF_REMEDY) from error


def _resolution(angstrom: float) -> float | None:
    """Return a resolution, or None for the values that mean "none": inf, 0, or -1."""
    return angstrom if math.isfinite(angstrom) and angstrom > 0.1 else None


def _group(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise ValueError(f"its header has no {pattern.pattern.split(':')[0]}")
    return match.group(1)

"""Readers for the defocus in RELION's list of micrographs and in CTFFIND's texts.

RELION 3.1 and later have a table of optics groups beside the table of micrographs; RELION 3.0 and
programs that write its format have a single table. CTFFIND 4 and 5 begin ``NAME.txt`` with lines
that name the voltage; its columns are the number of the micrograph, two defoci and their azimuth,
the phase shift in radians, cross correlation, and the resolution of the fit. A fit to a whole stack
of micrographs is not an entry. Warp's XML is in ``core.formats.warp_xml``.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePath

from livepick.core.formats.star import Table, star_tables
from livepick.core.imaging.ctf import Ctf
from livepick.errors import CtfError
from livepick.host.foreign_files import errors_of_file, read_bounded

__all__ = ["CTF_REMEDY", "read_ctffind", "read_relion_ctfs"]

MOST_TEXT_BYTES = 4 << 20
"""Largest text beside a micrograph that is read; CTFFIND's have less than a kilobyte."""

MOST_STAR_BYTES = 256 << 20
"""Largest list of micrographs that is read: several hundred thousand micrographs."""

_NAMES = ("rlnMicrographName", "rlnMicrographNameNoDW")
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
    lines = _text(path, MOST_TEXT_BYTES).splitlines()
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


def read_relion_ctfs(path: Path) -> dict[PurePath, Callable[[], Ctf]]:
    """Return the micrographs in a RELION STAR file, each with a function that reads its row.

    That function raises CtfError if the row lacks a number.

    Raises
    ------
    CtfError
        The file cannot be read, or names no micrographs with their defocus.
    """
    tables = star_tables(_text(path, MOST_STAR_BYTES))
    table = next((t for t in tables if _has_defocus(t)), None)
    if table is None:
        raise CtfError(f"{path} has no table of micrographs with rlnDefocusU", CTF_REMEDY)
    optics = {
        row["rlnOpticsGroup"]: row
        for t in tables
        if t is not table and "rlnOpticsGroup" in t.columns
        for row in t.records()
        if "rlnOpticsGroup" in row  # a short row lacks the last columns
    }
    return {
        PurePath(row[name]): partial(
            _relion_ctf, path, {**optics.get(row.get("rlnOpticsGroup", ""), {}), **row}
        )
        for row in table.records()
        for name in _NAMES
        if name in row
    }


def _has_defocus(table: Table) -> bool:
    return "rlnDefocusU" in table.columns and any(name in table.columns for name in _NAMES)


def _relion_ctf(path: Path, values: Mapping[str, str]) -> Ctf:
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


def _text(path: Path, limit_bytes: int) -> str:
    with errors_of_file(path, CtfError, CTF_REMEDY):
        text = read_bounded(path, limit_bytes=limit_bytes).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _group(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise ValueError(f"its header has no {pattern.pattern.split(':')[0]}")
    return match.group(1)

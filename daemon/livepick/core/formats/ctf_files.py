"""Readers for the defocus of micrographs: RELION's list, CTFFIND's text or Warp's XML.

The defocus is only read, never measured or guessed: a micrograph that no program has measured has
none. Entries are matched by the stem of the micrograph's name. If sub-folders repeat names, the
entry whose folders agree best is used, and none if two agree equally well.

RELION 3.1 and later have a table of optics groups beside the table of micrographs; RELION 3.0 and
programs that write its format have a single table. CTFFIND 4 and 5 begin ``NAME.txt`` with lines
that name the voltage; its columns are the number of the micrograph, two defoci and their azimuth,
the phase shift in radians, cross correlation, and the resolution of the fit. Warp's ``NAME.xml`` is
beside a micrograph or in the folder above (``average/``); a text takes precedence over it. A fit to
a whole stack of micrographs is not an entry.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath

from livepick.core.formats.image_names import image_stem
from livepick.core.formats.star import Table, star_tables
from livepick.core.formats.warp_xml import read_warp
from livepick.core.imaging.ctf import Ctf
from livepick.errors import CtfError
from livepick.host.foreign_files import errors_of_file, read_bounded

__all__ = ["CTFFIND_MARKS", "find_ctfs", "read_ctffind", "read_relion_ctfs"]

CTFFIND_MARKS = ("", "_ctf", "_PS")
"""Endings of a text after the micrograph's stem: CTFFIND run by hand, by scripts, by RELION."""

UNWEIGHTED_MARKS = ("_DW", "_DWS")
"""Endings of a dose-weighted micrograph's stem; the defocus is measured on the unweighted one."""

MOST_TEXT_BYTES = 4 << 20
"""Largest text beside a micrograph that is read; CTFFIND's have less than a kilobyte."""

MOST_STAR_BYTES = 256 << 20
"""Largest list of micrographs that is read: several hundred thousand micrographs."""

_NAMES = ("rlnMicrographName", "rlnMicrographNameNoDW")
_REMEDY = (
    "Set micrograph.ctf to RELION's micrographs_ctf.star, or to a folder with CTFFIND's NAME.txt or"
    " Warp's NAME.xml."
)
_HEADER = {
    "voltage_kv": re.compile(r"acceleration voltage:\s*([-+.\deE]+)\s*keV"),
    "spherical_aberration_mm": re.compile(r"spherical aberration:\s*([-+.\deE]+)\s*mm"),
    "amplitude_contrast": re.compile(r"amplitude contrast:\s*([-+.\deE]+)"),
}


def find_ctfs(
    place: Path | None, micrographs: Sequence[Path]
) -> tuple[dict[Path, Ctf], list[CtfError]]:
    """Return the CTF of each micrograph that has an entry, and the errors.

    Parameters
    ----------
    place
        A RELION STAR file, or a folder of CTFFIND's texts and Warp's XML files, with its
        sub-folders; None: the files beside the micrographs.
    micrographs
        Paths of the micrographs.
    """
    found: dict[Path, Ctf] = {}
    faults: list[CtfError] = []
    try:
        with errors_of_file(place or Path("CTF files"), CtfError, _REMEDY):
            entries, marks = _entries(place, micrographs)
    except CtfError as error:
        return {}, [error]
    names = _by_stem(entries)
    the_list = place if place is not None and _is_file(place) else None
    named = {each: _named(each, names, marks, beside=place is None) for each in micrographs}
    for micrograph, name in _without_namesakes(named).items():
        try:
            with errors_of_file(the_list or Path(name), CtfError, _REMEDY):
                ctf = entries[name]()
        except CtfError as error:
            faults.append(error)
        else:
            if ctf is not None:
                found[micrograph] = ctf
    return found, faults


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
        raise CtfError(f"{path} is a damaged CTFFIND file: {error}", _REMEDY) from error


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
        raise CtfError(f"{path} has no table of micrographs with rlnDefocusU", _REMEDY)
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
        raise CtfError(f"{path} has no {error.args[0]} for {name}", _REMEDY) from error
    except ValueError as error:
        raise CtfError(f"{path}, {name}: {error}", _REMEDY) from error


def _resolution(angstrom: float) -> float | None:
    """Return a resolution, or None for the values that mean "none": inf, 0, or -1."""
    return angstrom if math.isfinite(angstrom) and angstrom > 0.1 else None


# --- matching of entries to micrographs ---------------------------------------------------


def _entries(
    place: Path | None, micrographs: Iterable[Path]
) -> tuple[Mapping[PurePath, Callable[[], Ctf | None]], Sequence[str]]:
    """Return the entries, and the marks that may follow a micrograph's stem in their names."""
    if place is None:
        texts, xmls = _texts_beside(micrographs), _xmls_beside(micrographs)
    elif place.is_dir():
        texts, xmls = (
            sorted(path for path in place.rglob(pattern) if _is_file(path))
            for pattern in ("*.txt", "*.xml")
        )
    elif _is_file(place):
        return read_relion_ctfs(place), ("",)
    else:
        why = "is not a regular file" if place.exists() else "does not exist"
        raise CtfError(f"{place} {why}", _REMEDY)
    found: dict[PurePath, Callable[[], Ctf | None]] = {
        path: partial(read_ctffind, path) for path in texts
    }
    # Beside the micrographs, equal names in different folders belong to different micrographs.
    keys = {path: path.with_suffix("") if place is None else Path(path.stem) for path in xmls}
    taken = {path.with_suffix("") if place is None else Path(path.stem) for path in texts}
    found |= {path: partial(read_warp, path) for path in xmls if keys[path] not in taken}
    return found, CTFFIND_MARKS


def _texts_beside(micrographs: Iterable[Path]) -> list[Path]:
    """Return the texts beside the micrographs that may belong to them."""
    places = (
        micrograph.with_name(f"{stem}{mark}.txt")
        for micrograph in micrographs
        for stem in _stems(micrograph)
        for mark in CTFFIND_MARKS
    )
    return [path for path in dict.fromkeys(places) if _is_file(path)]


def _xmls_beside(micrographs: Iterable[Path]) -> list[Path]:
    places = (
        folder / f"{image_stem(micrograph)}.xml"
        for micrograph in micrographs
        for folder in (micrograph.parent, micrograph.parent.parent)
    )
    return [path for path in dict.fromkeys(places) if _is_file(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # such as a name that is too long with the mark
        return False


def _by_stem(names: Iterable[PurePath]) -> dict[str, list[PurePath]]:
    found: dict[str, list[PurePath]] = {}
    for name in names:
        found.setdefault(image_stem(name), []).append(name)
    return found


def _without_namesakes(named: Mapping[Path, PurePath | None]) -> dict[Path, PurePath]:
    """Return the entry of each micrograph, which it does not share with one in another folder.

    Micrographs of the same name in different folders are different micrographs: an entry belongs to
    the one with which it has more folders in common, or to none.
    """
    claims: dict[PurePath, list[Path]] = {}
    for micrograph, name in named.items():
        if name is not None:
            claims.setdefault(name, []).append(micrograph)
    found: dict[Path, PurePath] = {}
    for name, claimants in claims.items():
        alike = [_common_folders(name, micrograph) for micrograph in claimants]
        nearest = [m for m, count in zip(claimants, alike, strict=True) if count == max(alike)]
        if len({micrograph.parent for micrograph in nearest}) == 1:
            found |= dict.fromkeys(nearest, name)
    return {micrograph: found[micrograph] for micrograph in named if micrograph in found}


def _named(
    micrograph: Path, names: Mapping[str, list[PurePath]], marks: Sequence[str], *, beside: bool
) -> PurePath | None:
    """Return the entry name that matches a micrograph, or None.

    ``beside``: it must be in the folder of the micrograph or in the one above.
    """
    folders = (micrograph.parent, micrograph.parent.parent)
    for stem in _stems(micrograph):
        for mark in marks:
            found = names.get(stem + mark, [])
            if beside:
                found = [name for name in found if name.parent in folders]
            alike = [_common_folders(name, micrograph) for name in found]
            if alike.count(max(alike, default=0)) == 1:
                return found[alike.index(max(alike))]
    return None


def _stems(micrograph: Path) -> list[str]:
    """Return the stems under which a micrograph may be listed, the likeliest first."""
    stem = image_stem(micrograph)
    bare = [stem.removesuffix(mark) for mark in UNWEIGHTED_MARKS if stem.endswith(mark)]
    return [stem, *bare]


def _common_folders(one: PurePath, other: PurePath) -> int:
    """Return the number of parent folders, from the innermost, with equal names."""
    count = 0
    for a, b in zip(reversed(one.parts[:-1]), reversed(other.parts[:-1]), strict=False):
        if a != b:
            break
        count += 1
    return count


# --- text ---------------------------------------------------------------------------------


def _text(path: Path, limit_bytes: int) -> str:
    with errors_of_file(path, CtfError, _REMEDY):
        text = read_bounded(path, limit_bytes=limit_bytes).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _group(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise ValueError(f"its header has no {pattern.pattern.split(':')[0]}")
    return match.group(1)

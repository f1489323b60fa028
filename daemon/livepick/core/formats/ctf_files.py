"""Defocus of micrographs from files of other programs: the entry that belongs to each micrograph.

The defocus is only read, never measured or guessed: a micrograph that no program has measured has
none. Entries are matched by the stem of the micrograph's name. If sub-folders repeat names, the
entry whose folders agree best is used, and none if two agree equally well. Warp's ``NAME.xml`` is
beside a micrograph or in the folder above (``average/``); a text takes precedence over it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath

from livepick.core.formats.ctf_readers import CTF_REMEDY, read_ctffind, read_relion_ctfs
from livepick.core.formats.image_names import image_stem
from livepick.core.formats.warp_xml import read_warp
from livepick.core.imaging.ctf import Ctf
from livepick.errors import CtfError
from livepick.host.foreign_files import errors_of_file, is_file

__all__ = ["find_ctfs"]

CTFFIND_MARKS = ("", "_ctf", "_PS")
"""Endings of a text after the micrograph's stem: CTFFIND run by hand, by scripts, by RELION."""

UNWEIGHTED_MARKS = ("_DW", "_DWS")
"""Endings of a dose-weighted micrograph's stem; the defocus is measured on the unweighted one."""


def find_ctfs(
    place: Path | None, micrographs: Sequence[Path], others: Iterable[Path] = ()
) -> tuple[dict[Path, Ctf], list[CtfError]]:
    """Return the CTF of each micrograph that has an entry, and the errors.

    Parameters
    ----------
    place
        A RELION STAR file, or a folder of CTFFIND's texts and Warp's XML files, with its
        sub-folders; None: the files beside the micrographs.
    micrographs
        Paths of the micrographs.
    others
        Paths of all micrographs: an entry may belong to one of them, such as a namesake in another
        folder. They are read only if there is an entry.
    """
    found: dict[Path, Ctf] = {}
    faults: list[CtfError] = []
    try:
        with errors_of_file(place or Path("CTF files"), CtfError, CTF_REMEDY):
            entries, marks = _entries(place, micrographs)
    except CtfError as error:
        return {}, [error]
    names = _by_stem(entries)
    the_list = place if place is not None and is_file(place) else None
    wanted = set(micrographs)
    named = {each: _named(each, names, marks, beside=place is None) for each in micrographs}
    if any(named.values()):
        stems = {stem for each in micrographs for stem in _stems(each)}
        for other in others:
            if other not in named and not stems.isdisjoint(_stems(other)):
                named[other] = _named(other, names, marks, beside=place is None)
    for micrograph, name in _without_namesakes(named).items():
        if micrograph not in wanted:
            continue
        try:
            with errors_of_file(the_list or Path(name), CtfError, CTF_REMEDY):
                ctf = entries[name]()
        except CtfError as error:
            faults.append(error)
        else:
            if ctf is not None:
                found[micrograph] = ctf
    return found, faults


def _entries(
    place: Path | None, micrographs: Iterable[Path]
) -> tuple[Mapping[PurePath, Callable[[], Ctf | None]], Sequence[str]]:
    """Return the entries, and the marks that may follow a micrograph's stem in their names."""
    if place is None:
        texts, xmls = _texts_beside(micrographs), _xmls_beside(micrographs)
    elif place.is_dir():
        texts, xmls = (
            sorted(path for path in place.rglob(pattern) if is_file(path))
            for pattern in ("*.txt", "*.xml")
        )
    elif is_file(place):
        stems = {stem for micrograph in micrographs for stem in _stems(micrograph)}
        stems |= {stem + mark for stem in stems for mark in UNWEIGHTED_MARKS}  # of namesakes
        return read_relion_ctfs(place, stems), ("",)
    else:
        why = "is not a regular file" if place.exists() else "does not exist"
        raise CtfError(f"{place} {why}", CTF_REMEDY)
    found: dict[PurePath, Callable[[], Ctf | None]] = {
        path: partial(read_ctffind, path) for path in texts
    }

    def key(path: Path) -> Path:
        # Beside the micrographs, equal names in different folders belong to different micrographs.
        return path.with_suffix("") if place is None else Path(path.stem)

    taken = set(map(key, texts))
    found |= {path: partial(read_warp, path) for path in xmls if key(path) not in taken}
    return found, CTFFIND_MARKS


def _texts_beside(micrographs: Iterable[Path]) -> list[Path]:
    """Return the texts beside the micrographs that may belong to them."""
    places = (
        micrograph.with_name(f"{stem}{mark}.txt")
        for micrograph in micrographs
        for stem in _stems(micrograph)
        for mark in CTFFIND_MARKS
    )
    return [path for path in dict.fromkeys(places) if is_file(path)]


def _xmls_beside(micrographs: Iterable[Path]) -> list[Path]:
    places = (
        folder / f"{image_stem(micrograph)}.xml"
        for micrograph in micrographs
        for folder in (micrograph.parent, micrograph.parent.parent)
    )
    return [path for path in dict.fromkeys(places) if is_file(path)]


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

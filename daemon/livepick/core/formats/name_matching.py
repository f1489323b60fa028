"""Matching of names to micrographs: programs add to a name, and use folders of their own."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

__all__ = ["match_names", "micrograph_stem", "plain_name"]

_MARKS = ("_autopick", "_manualpick", "_truth", "_picks")
"""Endings that programs add to a micrograph's name for its coordinates file."""

_UID = re.compile(r"^\d{10,}_")
"""Number that cryoSPARC puts before the name; a date, as 20261123, is shorter."""

_MOTION = re.compile(
    r"(_doseweighted|_dw|_nodw|_aligned|_patch|_rigid|_full|_motioncorr(ected)?)+$",
    re.IGNORECASE,
)
"""Endings that motion correction adds, as ``_patch_aligned_doseweighted``."""


def micrograph_stem(path: PurePath) -> str:
    """Return the stem of the micrograph that a coordinates file is for.

    ``mic_7_autopick.star``, ``mic_7_truth.csv`` and ``mic_7.mrc`` all belong to ``mic_7``. Only
    one extension is removed, because micrographs may have dots in their names.
    """
    stem = path.stem
    for mark in _MARKS:
        stem = stem.removesuffix(mark)
    return stem


def plain_name(stem: str) -> str:
    """Return a micrograph's name without the prefixes and endings that programs add.

    ``012345678901234567890_mic_7_patch_aligned_doseweighted`` and ``mic_7_DW`` become ``mic_7``.
    """
    plain = _MOTION.sub("", _UID.sub("", stem))
    return (plain or stem).lower()


def match_names(theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Match names in a coordinates file to micrographs; return ours → theirs.

    Equal names match first. The others match by their plain names, if a plain name occurs only
    once on both sides. A name that two of our micrographs share matches neither of them.

    Parameters
    ----------
    theirs
        Stems in a coordinates file, each once.
    ours
        Stems of micrographs.
    """
    theirs = list(theirs)
    counts = Counter(ours)
    names = {name for name, count in counts.items() if count == 1}
    found = {name: name for name in theirs if name in names}
    left = _by_plain_name(name for name in theirs if name not in found)
    for plain, own in _by_plain_name(counts).items():
        same = left.get(plain, [])
        if len(own) == len(same) == 1 and own[0] in names and own[0] not in found:
            found[own[0]] = same[0]
    return found


def _by_plain_name(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(plain_name(name), []).append(name)
    return found

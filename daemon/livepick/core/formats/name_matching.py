"""Matching of names to micrographs: programs add to a name, and use folders of their own.

Names are paths without the last suffix. Two names belong to the same micrograph if their last
parts are equal, also after the prefixes and endings that programs add are removed. If several fit,
the one with the most equal folders is the match: ``Dataset1/001`` and ``Dataset2/001`` are two
micrographs. In the same folders, an equal name is a better match than one with such additions.
"""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from typing import NamedTuple, Self

from livepick.core.formats.image_names import image_stem

__all__ = [
    "MatchedNames",
    "listed_name",
    "match_names",
    "micrograph_name",
    "micrograph_stem",
    "nearest_name",
    "plain_name",
    "short_names",
]

_MARK = re.compile(
    r"_(autopick|manualpick|truth|picks?|topazpicks|extract|info|checked|BoxNet[^_]*_\d{8})$"
)
"""Endings that programs add to a micrograph's name for its coordinates file."""

_IMAGE_SUFFIX = re.compile(
    r"\.(mrcs?|map|st|rec|tiff?|eer|hdf|h5|img|em|spi|raw|ser|dm[34]|xmp|stk|png|jpe?g)(\.(gz|bz2))?$",
    re.IGNORECASE,
)
"""Suffix of an image; what else follows a dot in the name of a micrograph belongs to the name."""

_UID = re.compile(r"^\d{15,}_")
"""Number that cryoSPARC puts before the name; a time, as 20261123104500, is shorter."""

_MOTION = re.compile(
    r"(_doseweighted|_dw|_nodw|_aligned(_mic)?|_patch|_rigid|_full|_motion_?corr(ected)?"
    r"|[._]frames|_fractions|_eer)+$",
    re.IGNORECASE,
)
"""Endings that cameras and motion correction add, as ``_patch_aligned_doseweighted``."""

MOST_COMPARED = 2000
"""Maximum number of names among which the nearest one is searched."""


def micrograph_stem(path: PurePath) -> str:
    """Return the stem of the micrograph that a coordinates file is for.

    ``mic_7_autopick.star``, ``mic_7_truth.csv`` and ``mic_7.mrc`` all belong to ``mic_7``. Only
    one extension is removed, because micrographs may have dots in their names.
    """
    stem = image_stem(path)
    return _MARK.sub("", stem) or stem


def micrograph_name(path: PurePath) -> str:
    """Return the name of the micrograph that a coordinates file is for, with its folders."""
    return str(path.parent / micrograph_stem(path))


def listed_name(name: str) -> str:
    """Return the name of a micrograph that a coordinates file names, with its folders.

    ``May.02.mrc`` and, as Topaz writes it, ``May.02`` are the same micrograph.
    """
    path = PurePosixPath(name)
    stem = _IMAGE_SUFFIX.sub("", path.name)
    return str(path.parent / (_MARK.sub("", stem) or stem))


def plain_name(stem: str) -> str:
    """Return a micrograph's name without the prefixes and endings that programs add.

    ``012345678901234567890_mic_7_patch_aligned_doseweighted`` and ``mic_7_DW`` become ``mic_7``.
    """
    plain, longer = _UID.sub("", stem), ""
    while plain != longer:
        plain, longer = _MOTION.sub("", _MARK.sub("", plain)), plain
    return (plain or stem).lower()


@dataclass(frozen=True, slots=True)
class MatchedNames:
    """Names in coordinates files, matched to micrographs."""

    pairs: dict[str, str] = field(default_factory=dict)
    """Name in a coordinates file of each micrograph that has one."""

    ambiguous: dict[str, list[str]] = field(default_factory=dict)
    """Micrographs that several names fit equally well, with these names; none is matched."""


def match_names(theirs: Iterable[str], ours: Iterable[str]) -> MatchedNames:
    """Match names in coordinates files to micrographs.

    A pair is matched if each of the two fits the other better than all other names do.

    Parameters
    ----------
    theirs
        Names in coordinates files, without a suffix, each once.
    ours
        Names of micrographs: their paths without the suffix, or only the stems.
    """
    counts = Counter(list(ours))  # a mapping would be taken as counts
    their_words = [_Words.of(name) for name in theirs]
    our_words = [_Words.of(name) for name in counts]
    undecided = {name for name, count in counts.items() if count == 1}
    free = {words.name for words in their_words}
    pairs: dict[str, str] = {}
    tied: dict[str, list[str]] = {}
    deepest = max((len(words.folders) for words in their_words), default=0)
    for depth in range(deepest, -1, -1):
        for exact in (True, False):
            fitting = _by_tail(their_words, depth, exact=exact)
            for tail, own in _by_tail(our_words, depth, exact=exact).items():
                same = fitting.get(tail, [])
                if not same:
                    continue
                if len(own) == len(same) == 1 and own[0] in undecided and same[0] in free:
                    pairs[own[0]] = same[0]
                elif len(same) > 1:
                    tied |= {name: same for name in own if name in undecided}
                undecided.difference_update(own)
                free.difference_update(same)
    used = set(pairs.values())
    left = {name: [one for one in same if one not in used] for name, same in tied.items()}
    return MatchedNames(pairs, {name: same for name, same in left.items() if len(same) > 1})


class _Words(NamedTuple):
    name: str
    folders: tuple[str, ...]
    last: str
    plain: str

    @classmethod
    def of(cls, name: str) -> Self:
        # Windows separates folders by backslashes, and macOS writes an accent as a letter.
        path = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/"))
        *folders, last = path.parts or ("",)
        return cls(name, tuple(folders), last, plain_name(last))


def _by_tail(
    names: Iterable[_Words], depth: int, *, exact: bool
) -> dict[tuple[str, ...], list[str]]:
    """Return the names that have at least ``depth`` folders, by the last of these and the stem."""
    found: dict[tuple[str, ...], list[str]] = {}
    for words in names:
        start = len(words.folders) - depth
        if start >= 0:
            tail = (*words.folders[start:], words.last if exact else words.plain)
            found.setdefault(tail, []).append(words.name)
    return found


def nearest_name(name: str, others: Collection[str]) -> str | None:
    """Return the most similar of other names; None if none is similar, or there are too many."""
    if len(others) > MOST_COMPARED:
        return None
    return next(iter(difflib.get_close_matches(name, others, n=1, cutoff=0.7)), None)


def short_names(names: Collection[str]) -> dict[str, str]:
    """Return each name with only as many folders as tell it from the others."""
    short: dict[str, str] = {}
    left = {name: PurePosixPath(name).parts for name in names}
    length = 0
    while left:
        length += 1
        counts = Counter(parts[-length:] for parts in left.values())
        for name, parts in list(left.items()):
            if counts[parts[-length:]] == 1 or length >= len(parts):
                short[name] = str(PurePosixPath(*parts[-length:]))
                del left[name]
    return short

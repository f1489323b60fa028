"""Kinds of files that look like micrographs and are left out, with what would take them.

No file is left out without being counted. The counts are those of the last scan: of each kind, and
for products of each rule, with one name as an example. Their number does not grow with the session.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

from livepick.core.formats.header import printable
from livepick.ledger.session_rows import SkippedFiles

__all__ = ["BY_RULES", "SKIP_KINDS", "SkipKind", "SkippedView", "Tally", "added"]

SkipKind = Literal[
    "product",
    "better_version",
    "excluded",
    "not_included",
    "link",
    "broken_link",
    "link_loop",
    "empty",
    "incomplete",
    "waiting",
    "stack",
    "other_format",
    "transferring",
    "hidden",
    "housekeeping",
    "unreadable",
    "special_file",
    "too_deep",
]


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of a kind, for an operator."""

    words: str
    """Name of the files, in the plural."""
    remedy: str
    """Setting or step that would take them, as a sentence."""
    is_suspicious: bool = False
    """True if micrographs may be lost by it, so that somebody should look."""


SKIP_KINDS: Final[dict[str, Meaning]] = {
    "product": Meaning(
        "files made from micrographs",
        "Set watch.exclude, for example to [], to replace the rules that leave them out.",
    ),
    "better_version": Meaning(
        "micrographs of which a better or decompressed version is beside them",
        "Set watch.include to take them too.",
    ),
    "excluded": Meaning("files that watch.exclude leaves out", "Change watch.exclude."),
    "not_included": Meaning(
        "images that watch.preset or watch.include does not take",
        "Set watch.preset, or watch.include.",
    ),
    "link": Meaning(
        "links, which are not followed",
        "Set watch.follow_symlinks: true.",
        is_suspicious=True,
    ),
    "broken_link": Meaning(
        "links to files that do not exist",
        "Make the link point to the micrograph, or mount the share that it is on.",
        is_suspicious=True,
    ),
    "link_loop": Meaning(
        "links to a folder above themselves", "Remove the link; the folder itself is watched."
    ),
    "empty": Meaning(
        "files of 0 bytes",
        "Wait until they are written, or copy them again; they are taken once they have content.",
        is_suspicious=True,
    ),
    "incomplete": Meaning(
        "files that are not complete yet",
        "Wait: they are taken once they are complete. Those that do not change for"
        " watch.incomplete_timeout_seconds are listed as failed, with the reason.",
    ),
    "waiting": Meaning(
        "files that wait for another file beside them",
        "If the program that writes them makes no such file, set watch.preset to that program, or"
        " to plain. Those that wait for watch.incomplete_timeout_seconds are listed as failed.",
    ),
    "stack": Meaning(
        "stacks of several images (.mrcs)",
        "Watch the folder of the motion-corrected micrographs; a stack of one image is taken.",
    ),
    "other_format": Meaning(
        "images in formats that livepick does not read",
        "Convert them to MRC or TIFF; .mrc.gz and .mrc.bz2 are read as well.",
    ),
    "transferring": Meaning(
        "files that are being transferred, by their names",
        "Wait until the transfer renames them; if it has ended, rename them.",
    ),
    "hidden": Meaning(
        "hidden files and folders", "Rename them: names that begin with a dot are not taken."
    ),
    "housekeeping": Meaning(
        "recycle bins, snapshots and other folders of storage systems",
        "Move the micrographs out of them, or name such a folder in watch.directories.",
    ),
    "unreadable": Meaning(
        "files and folders that cannot be read",
        "Give the service's user permission to read the files, and to read and enter the folders.",
        is_suspicious=True,
    ),
    "special_file": Meaning(
        "pipes, sockets and devices", "Replace them with files, or ignore this."
    ),
    "too_deep": Meaning(
        "folders nested too deeply",
        "Name a folder further down in watch.directories.",
        is_suspicious=True,
    ),
}

BY_RULES: Final[tuple[SkipKind, ...]] = ("product", "better_version", "excluded", "not_included")
"""Kinds of images that the globs and rules for names leave out."""


class Tally:
    """Counts the files that are left out, by kind and rule, and keeps one example of each.

    The example is the first by name, so that it is the same at each scan.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[SkipKind, str], int] = {}
        self._examples: dict[tuple[SkipKind, str], str] = {}

    def add(self, kind: SkipKind, example: str, rule: str = "") -> None:
        """Count a file; ``rule`` is the rule that left it out, in words."""
        key = (kind, rule)
        self._counts[key] = self._counts.get(key, 0) + 1
        if key not in self._examples or example < self._examples[key]:
            self._examples[key] = example

    def count(self, *kinds: SkipKind) -> int:
        """Return the number of files of these kinds."""
        return sum(count for (kind, _), count in self._counts.items() if kind in kinds)

    def files(self) -> tuple[SkippedFiles, ...]:
        """Return the counts, in the order of ``SKIP_KINDS``."""
        order = list(SKIP_KINDS)
        return tuple(
            SkippedFiles(kind, count, printable(self._examples[kind, rule]), rule)
            for (kind, rule), count in sorted(
                self._counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
            )
        )


@dataclass(frozen=True, slots=True)
class SkippedView:
    """Files that were left out, in words."""

    kind: str
    words: str
    """Number, kind and example; no full stop."""
    remedy: str
    """Setting or step that would take them, as a sentence; empty if another version of livepick
    counted them."""
    is_suspicious: bool
    """True if micrographs may be lost by it."""

    @classmethod
    def of(cls, files: SkippedFiles) -> Self:
        """Return the words for files that were left out."""
        meaning = SKIP_KINDS.get(files.kind) or Meaning(files.kind, "", is_suspicious=True)
        rule = f" ({files.rule})" if files.rule else ""
        words = f"{meaning.words}{rule}: {files.count:,}, such as {files.example}"
        return cls(files.kind, words, meaning.remedy, meaning.is_suspicious)


def added(counts: Iterable[SkippedFiles]) -> tuple[SkippedFiles, ...]:
    """Return the sum of the counts of several folders, by kind and rule."""
    found: dict[tuple[str, str], SkippedFiles] = {}
    for one in counts:
        key = (one.kind, one.rule)
        before = found.get(key)
        found[key] = one if before is None else replace(before, count=before.count + one.count)
    return tuple(found.values())

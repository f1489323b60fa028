"""The tree of the output folder: where the files of a micrograph are.

The tree of the watched folder is mirrored below the output folder, because file names are unique
only within a folder. A single watched folder is mirrored directly. If there are several, each gets
a folder with its own name, plus as many parent folders as are needed to tell them apart. This is
done always, not just on collision, so that the location of a file does not depend on which one came
first. When a second folder is added to a session, the coordinates of the first move at the next
start (``output_sync``); the list then names the new locations.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from livepick.core.formats.image_names import image_stem
from livepick.errors import MicrographError

__all__ = ["Branches"]


class Branches:
    """The sub-folder of each watched folder in the mirrored tree.

    Parameters
    ----------
    roots
        All watched folders that the session has or had.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self._branches = _branches(sorted(set(roots)))

    def place(self, root: Path, relative: Path) -> Path:
        """Return the path of a micrograph in the mirrored tree, without its suffix.

        Raises
        ------
        MicrographError
            No STAR file could hold such a name.
        """
        _check_name(relative)
        branch = self._branches.get(root, Path(root.name))
        return branch / relative.parent / image_stem(relative)


def _branches(roots: Sequence[Path]) -> dict[Path, Path]:
    """Return the output subfolder of each watched folder."""
    if len(roots) == 1:
        return {roots[0]: Path()}
    parts = {root: root.relative_to(root.anchor).parts for root in roots}
    depth = 1
    while len({names[-depth:] for names in parts.values()}) < len(roots):
        depth += 1
    return {root: Path(*names[-depth:]) for root, names in parts.items()}


def _check_name(relative: Path) -> None:
    text = str(relative)
    if text.isprintable() and '"' not in text:
        return
    raise MicrographError(
        f"{text!r} has a character that a STAR file cannot contain (a line break or a quotation"
        " mark)",
        "Rename the micrograph.",
    )

"""Comparison of a watched folder on a node with that of the service, by a few of its files.

Another folder can be mounted at the same path, and even have files with the same names, as cameras
number them. Nothing may be written into a watched folder, so what tells the two is size and time of
files that are there. Both come from the file server, so the clocks of the machines do not matter.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from livepick.core.contracts.node import FileSample

__all__ = ["is_other_folder", "sample_files"]

MOST_FILES = 8
"""Number of files that are compared."""

MOST_ENTRIES = 2000
"""Number of entries to look through for them."""

SAME_SECONDS = 2.0
"""Largest difference between the times of a file on two machines: some file systems round them."""


def sample_files(root: Path) -> tuple[FileSample, ...]:
    """Return some files of a folder, with those in its sub-folders; fewer if there are not as many.

    What cannot be read is left out.
    """
    found: list[FileSample] = []
    for left, entry in zip(range(MOST_ENTRIES), _entries(root), strict=False):
        del left
        try:
            if not entry.is_file(follow_symlinks=False):
                continue
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        path = Path(entry.path).relative_to(root)
        found.append(FileSample(root, path, status.st_size, status.st_mtime))
        if len(found) == MOST_FILES:
            break
    return tuple(found)


def is_other_folder(samples: Iterable[FileSample]) -> bool:
    """Return True if none of these files is here as on the machine that saw them.

    Files come, grow and go, so one that is the same is enough.
    """
    return not any(map(_is_same, samples))


def _is_same(sample: FileSample) -> bool:
    try:
        status = os.lstat(sample.root / sample.path)
    except OSError:
        return False
    is_as_old = abs(status.st_mtime - sample.modified_at) <= SAME_SECONDS
    return status.st_size == sample.size_bytes and is_as_old


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder, and then those of its sub-folders."""
    folders = [str(root)]
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    yield entry
        except OSError:
            continue

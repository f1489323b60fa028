"""Place of a ledger on disk: its folder may be renamed or unmounted while the service runs.

Nothing new is begun in what is at its path then, such as the empty folder of a mount.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from livepick.errors import StateFolderGoneError

__all__ = ["Place"]

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class Place:
    """A ledger and its folder, told from others at the same path."""

    path: Path
    """Path of the ledger."""
    folder: Identity | None
    """None: there is none."""
    ledger: Identity | None
    """None: there is none."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return what is at a path now."""
        return cls(path, _identity(path.parent), _identity(path))

    def refuse_other_folder(self) -> None:
        """Check that the folder at the path is still this one.

        A file system that was mounted again may have another device number; then the inode of the
        ledger decides.

        Raises
        ------
        StateFolderGoneError
            It has gone, or is another one.
        """
        now = Place.of(self.path)
        is_same_ledger = (
            self.ledger is not None and now.ledger is not None and self.ledger[1] == now.ledger[1]
        )
        if self.folder == now.folder or is_same_ledger:
            return
        folder = self.path.parent
        what = "has gone" if now.folder is None else "is another folder now"
        raise StateFolderGoneError(
            f"the state folder {folder} {what}: it was renamed or unmounted while livepick was"
            " running",
            "Mount it or move it back: livepick then continues by itself. To begin a new session in"
            " what is there now, restart livepick.",
        )


def _identity(path: Path) -> Identity | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

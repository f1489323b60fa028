"""Identity of a file's content, by which an overwritten file is noticed."""

import os
from dataclasses import dataclass
from typing import Self

__all__ = ["FileVersion"]

MOST_NANOSECONDS = 2**63 - 1
"""Largest number that SQLite stores."""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Identity of a file's content: changes whenever the file is written again."""

    size_bytes: int
    mtime_ns: int
    inode: int
    """0 on file systems that renumber their files (FUSE, SMB), where it has no meaning."""

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the version that ``stat`` describes."""
        # A time after the year 2262, as some transfers leave it, does not fit into the ledger.
        mtime_ns = min(max(status.st_mtime_ns, -MOST_NANOSECONDS), MOST_NANOSECONDS)
        return cls(status.st_size, mtime_ns, status.st_ino)

    def describes(self, status: os.stat_result) -> bool:
        """Return True if a file with this ``stat`` has this version's content."""
        present = FileVersion.of(status)
        return (
            self.size_bytes == present.size_bytes
            and self.mtime_ns == present.mtime_ns
            and self.inode in (0, present.inode)
        )

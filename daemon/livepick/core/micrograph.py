"""MRC and TIFF files → ``Micrograph`` (placeholder of the contract; see helpers)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Which content of a file is meant: changes whenever the file is written anew."""

    size_bytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the version that ``stat`` describes."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Micrograph:
    """A micrograph in memory."""

    image: NDArray[Any]
    """``[y, x]``, rows in file order, in the type and byte order of the file."""

    pixel_size_angstrom: float
    """Configured, else of the header; never 0."""


def read_micrograph(
    path: Path, *, pixel_size_angstrom: float | None, version: FileVersion | None = None
) -> Micrograph:
    """Read a whole micrograph; see the module docstring for the errors."""
    raise NotImplementedError

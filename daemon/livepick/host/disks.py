"""Free disk space where micrographs land and where livepick writes.

The alerts (``deploy/observability/disk_alerts.py``), ``livepick check`` and the page take their
limits from here, and the page shows the same values as the gauges.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

__all__ = ["LOW_FRACTION", "ROLES", "TIGHT_GIB", "Disk", "Role", "Space", "space_of"]

LOW_FRACTION = 0.1
"""Fraction of a disk. If less is free, an operator should free space: amber, a warning."""

TIGHT_GIB = 0.2
"""A disk with less free space than this counts as full: it holds one more micrograph, or one more
training. Where livepick writes, that is red and critical."""

Role = Literal["output", "state", "watch"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Space:
    """Space on a file system."""

    free_bytes: int
    """Space available to programs that do not run as root."""
    size_bytes: int
    device: int
    """Device number; distinguishes the file systems of this machine."""

    @property
    def free_fraction(self) -> float:
        """Free fraction of the file system, 0 to 1."""
        return self.free_bytes / self.size_bytes if self.size_bytes else 0.0

    @property
    def is_low(self) -> bool:
        """True if an operator should free space."""
        return self.free_fraction < LOW_FRACTION

    @property
    def is_full(self) -> bool:
        """True if there is almost no free space."""
        return self.free_bytes < TIGHT_GIB * 2**30


@dataclass(frozen=True, slots=True)
class Disk:
    """A folder of the session, and the space of its file system."""

    role: Role
    folder: Path
    space: Space


def space_of(folder: Path) -> Space | None:
    """Return the space of a folder's file system; None if the folder is missing or it is unknown.

    The call may hang for as long as the file system does.
    """
    try:
        found = os.statvfs(folder)
        device = folder.stat().st_dev
    except OSError:
        return None
    if found.f_blocks == 0:  # some network file systems, and automounts
        return None
    if found.f_bfree == 0 and found.f_flag & os.ST_RDONLY:  # an image, which is always full
        return None
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, device)

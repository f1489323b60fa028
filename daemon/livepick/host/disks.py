"""How much room is left where micrographs land and where livepick writes.

The alert rules (``deploy/observability/alerts.py``), ``livepick check`` and the page have their
limits from here, and what the page shows is what the gauges say.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

__all__ = ["LOW_FRACTION", "ROLES", "TIGHT_GIB", "Disk", "Role", "Space", "space_of"]

LOW_FRACTION = 0.1
"""Of a disk; with less of it free, somebody should make room: amber, a warning."""

TIGHT_GIB = 0.2
"""With less than this a disk is as good as full: one micrograph more, or one training.
Where livepick writes that is red, and critical."""

Role = Literal["output", "state", "watch"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Space:
    """The room of a file system."""

    free_bytes: int
    """For programs that are not root's."""
    size_bytes: int
    device: int
    """Tells file systems of this machine apart."""

    @property
    def free_fraction(self) -> float:
        """0 to 1."""
        return self.free_bytes / self.size_bytes if self.size_bytes else 0.0

    @property
    def is_low(self) -> bool:
        """Whether somebody should make room."""
        return self.free_fraction < LOW_FRACTION

    @property
    def is_full(self) -> bool:
        """Whether there is next to none."""
        return self.free_bytes < TIGHT_GIB * 2**30


@dataclass(frozen=True, slots=True)
class Disk:
    """A folder of the session, and the room it has."""

    role: Role
    folder: Path
    space: Space


def space_of(folder: Path) -> Space | None:
    """Return the room that a folder has; None if it is not there, or does not say.

    It may hang as long as the file system does.
    """
    try:
        found = os.statvfs(folder)
        device = folder.stat().st_dev
    except OSError:
        return None
    if found.f_blocks == 0:  # some network file systems, and automounts
        return None
    if found.f_bfree == 0 and found.f_flag & os.ST_RDONLY:  # an image, which is full by nature
        return None
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, device)

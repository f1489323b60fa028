"""Disk space of a session for display: each disk once, however many folders are on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from livepick.core.formats.header import printable
from livepick.host.disks import Disk, Role, Space
from livepick.monitoring.human_units import size
from livepick.monitoring.problem import Problem

__all__ = ["DiskUsage", "disk_problems", "disk_usages"]

_NAMES: dict[Role, str] = {"watch": "watched", "output": "output", "state": "state"}


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """One disk."""

    roles: tuple[str, ...]
    """Names of the session's folders on this disk: watched, output or state."""
    folders: tuple[str, ...]
    space: Space

    @property
    def is_blocking(self) -> bool:
        """True if livepick has no space to write; a disk that is only watched may stay full."""
        return self.space.is_full and self.roles != (_NAMES["watch"],)

    @property
    def used_percent(self) -> float:
        """Used share of the disk, 0 to 100."""
        return 100 * (1 - self.space.free_fraction)


def disk_usages(disks: Sequence[Disk]) -> tuple[DiskUsage, ...]:
    """Return each disk once, in the order in which they are first named."""
    devices = dict.fromkeys(disk.space.device for disk in disks)
    return tuple(_usage([d for d in disks if d.space.device == device]) for device in devices)


def _usage(disks: Sequence[Disk]) -> DiskUsage:
    return DiskUsage(
        roles=tuple(dict.fromkeys(_NAMES[disk.role] for disk in disks)),
        folders=tuple(dict.fromkeys(printable(disk.folder) for disk in disks)),
        space=disks[0].space,
    )


def disk_problems(usages: Iterable[DiskUsage]) -> list[Problem]:
    """Return a problem for each disk that is full or almost full."""
    return [_problem(usage) for usage in usages if usage.space.is_full or usage.space.is_low]


def _problem(usage: DiskUsage) -> Problem:
    space, what = usage.space, " and ".join(usage.roles)
    folders = "folder" if len(usage.roles) == 1 else "folders"
    return Problem(
        "disk_full",
        "bad" if usage.is_blocking else "attention",
        f"The disk with the {what} {folders} is {'full' if space.is_full else 'almost full'}:"
        f" {size(space.free_bytes)} of {size(space.size_bytes)} free at {usage.folders[0]}.",
        "Free some space: move finished sessions and raw movies elsewhere, and remove old models"
        " with livepick models prune.",
    )

"""Disk space of a session for display: each disk once, however many folders are on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from livepick.core.formats.header import printable
from livepick.host.disks import Disk, Role, Space
from livepick.monitoring.human_units import size
from livepick.monitoring.problem import Problem

__all__ = ["Room", "rooms_of", "tight"]

_NAMES: dict[Role, str] = {"watch": "watched", "output": "output", "state": "state"}


@dataclass(frozen=True, slots=True)
class Room:
    """One disk."""

    roles: tuple[str, ...]
    """Names of the session's folders on this disk: watched, output or state."""
    folders: tuple[str, ...]
    space: Space

    @property
    def grave(self) -> bool:
        """True if livepick has no space to write; a disk that is only watched may stay full."""
        return self.space.is_full and self.roles != (_NAMES["watch"],)

    @property
    def used_percent(self) -> float:
        """Used share of the disk, 0 to 100."""
        return 100 * (1 - self.space.free_fraction)


def rooms_of(disks: Sequence[Disk]) -> tuple[Room, ...]:
    """Return each disk once, in the order in which they are first named."""
    devices = dict.fromkeys(disk.space.device for disk in disks)
    return tuple(_room([d for d in disks if d.space.device == device]) for device in devices)


def _room(disks: Sequence[Disk]) -> Room:
    return Room(
        roles=tuple(dict.fromkeys(_NAMES[disk.role] for disk in disks)),
        folders=tuple(dict.fromkeys(printable(disk.folder) for disk in disks)),
        space=disks[0].space,
    )


def tight(rooms: Iterable[Room]) -> list[Problem]:
    """Return a problem for each disk that is full or almost full."""
    return [_problem(room) for room in rooms if room.space.is_full or room.space.is_low]


def _problem(room: Room) -> Problem:
    space, what = room.space, " and ".join(room.roles)
    folders = "folder" if len(room.roles) == 1 else "folders"
    return Problem(
        "disk_full",
        "bad" if room.grave else "attention",
        f"The disk with the {what} {folders} is {'full' if space.is_full else 'almost full'}:"
        f" {size(space.free_bytes)} of {size(space.size_bytes)} free at {room.folders[0]}.",
        "Free some space: move finished sessions and raw movies elsewhere, and remove old models"
        " with livepick models prune.",
    )

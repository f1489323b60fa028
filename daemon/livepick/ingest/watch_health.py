"""Health of watching, for the metrics and the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.host.disks import Space
from livepick.ledger.session_rows import SkippedFiles

__all__ = ["FileEvents", "FolderHealth", "WatchHealth"]


@dataclass(frozen=True, slots=True)
class FileEvents:
    """Number of events that the kernel has reported for files and folders since the start."""

    created: int = 0
    closed: int = 0
    """Files closed by their writer: the sign that a file may be complete."""
    moved: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class FolderHealth:
    """Health of one watched folder."""

    root: Path
    available: bool | None
    """None before the first check."""
    detail: str
    """Reason why it is not available; or its file system and how it is watched."""

    mode: Literal["inotify", "poll"]
    """Mode in use: ``poll`` also if inotify was wanted and is not available."""

    is_awaited: bool = False
    """True if it is not available because it has never been there: it may still be created."""

    space: Space | None = None
    """Space at the last scan; None if the folder is not available, or its space is unknown."""


@dataclass(frozen=True, slots=True)
class WatchHealth:
    """Health of all watched folders and of the watching thread."""

    folders: tuple[FolderHealth, ...]
    last_scan_at: float
    """End of the last complete scan of any folder, in Unix seconds; 0.0 before the first."""

    seconds_since_scan: float
    """Time since then, by a monotonic clock; infinite before the first."""

    last_scan_seconds: float
    """Duration of that scan."""

    interval_seconds: float
    """Time between scans of the folder that is scanned least often."""

    watching: int
    """Number of files that are not settled yet."""

    excluded: int
    """Number of image files left out by the globs at the last scan."""

    oversized: int
    """Number of micrographs longer than their header says, since the start; they were picked."""

    events: FileEvents
    overflows: int
    """Number of times that the kernel dropped events."""

    restarts: int
    """Number of times that watchdog's threads had to be restarted."""

    errors: int
    """Number of unexpected failures of the watching thread itself; each is logged."""

    skipped: tuple[SkippedFiles, ...] = ()
    """Files that look like micrographs and were left out at the last scan of each folder."""

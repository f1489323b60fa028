"""Preflight checks of the folders: they can be read and written, and there is space.

The checks leave nothing behind: a missing folder is not created.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from livepick.config.schema import Config
from livepick.host.atomic_files import TEMPORARY_PREFIX
from livepick.host.disks import TIGHT_GIB
from livepick.host.filesystem import file_system_type, is_network
from livepick.host.lock import holder
from livepick.ingest.file_system import file_system
from livepick.ledger.database import LEDGER
from livepick.monitoring.preflight.check import Check

__all__ = [
    "free_space",
    "ledger_file_system",
    "other_service",
    "watched_folder",
    "writable_folder",
]


def watched_folder(folder: Path, mode: Literal["auto", "inotify", "poll"]) -> Check:
    """Check that a watched folder can be read, and that new files in it are noticed."""
    name = "watched folder"
    if not folder.exists():
        return Check(
            name,
            "warning",
            f"{folder} does not exist yet",
            "The service waits for it. Make sure that the path and the mount are right.",
        )
    if not folder.is_dir():
        return Check(name, "fault", f"{folder} is not a folder", "Name the folder that holds it.")
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError as error:
        return Check(
            name,
            "fault",
            f"{folder} cannot be read: {error.strerror}",
            "Give the service's user permission to read and enter it.",
        )
    on = file_system(folder)
    if mode == "inotify" and not on.local:
        return Check(
            name,
            "warning",
            f"{folder} is on {on.kind}, where inotify misses files written by other machines",
            "New micrographs are found only by the next scan. Set watch.mode: auto to scan more"
            " often.",
        )
    how = "polled" if mode == "poll" or not on.local else "inotify"
    return Check(name, "ok", f"{folder} ({on.kind}, {how})")


def writable_folder(name: str, folder: Path) -> Check:
    """Check that files can be written to a folder, or to where it will be created."""
    place = _nearest(folder)
    try:
        if not place.is_dir():
            raise NotADirectoryError(20, f"{place} is not a folder")
        with tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, dir=place) as file:
            file.write(b"livepick check")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check(
            name,
            "fault",
            f"{folder} cannot be written: {error.strerror}",
            "Choose another folder, or give the service's user permission to write to it.",
        )
    return Check(name, "ok", f"{folder}" if place == folder else f"{folder} (will be created)")


def ledger_file_system(state: Path) -> Check:
    """Check that the state folder is on a local disk."""
    name = "ledger's file system"
    kind = file_system_type(state)
    if is_network(kind):
        return Check(
            name,
            "fault",
            f"{state} is on a network file system ({kind})",
            "SQLite's write-ahead log would be damaged there. Put state.directory on a local disk.",
        )
    if not file_system(_nearest(state)).local:
        return Check(
            name,
            "warning",
            f"{state} is on {kind or 'an unknown file system'}",
            "Make sure that it is a local disk: SQLite's write-ahead log would be damaged on a"
            " network file system.",
        )
    return Check(name, "ok", f"local ({kind})")


def other_service(config: Config) -> Check:
    """Check that no other service uses the state folder."""
    name = "other service"
    process = holder(config.state.directory / LEDGER)
    if process is None:
        return Check(name, "ok", f"none is running on {config.state.directory}")
    return Check(
        name,
        "warning",
        f"livepick is already running on {config.state.directory} (process {process})",
        "A second service would not start. Stop the first one, or choose another state.directory.",
    )


def free_space(name: str, folder: Path, expected_gib: float) -> Check:
    """Check that the disk of a folder has space for a long session."""
    free_gib = shutil.disk_usage(_nearest(folder)).free / 2**30
    found = f"{free_gib:.1f} GiB free at {folder}"
    if free_gib < TIGHT_GIB:
        return Check(
            name, "fault", found, f"Free some space: a session needs up to {expected_gib:g} GiB."
        )
    if free_gib < expected_gib:
        return Check(
            name,
            "warning",
            found,
            f"Free some space: a long session needs up to {expected_gib:g} GiB.",
        )
    return Check(name, "ok", found)


def _nearest(folder: Path) -> Path:
    """Return the nearest existing folder: the path itself or one of its parents."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder

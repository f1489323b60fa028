"""Availability of a watched folder: it can be read, on which file system, and how it is watched.

A share that is not mounted looks like an empty folder. It counts as not available if files were
known in it, or if it is on another device than before.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from livepick.config.sections import Watch
from livepick.core.formats.header import printable
from livepick.host.disks import Space, space_of
from livepick.host.filesystem import awaited_mount
from livepick.ingest.file_system import FileSystem, file_system
from livepick.ledger.inbox import Message, RootState

__all__ = ["FolderAvailability"]

SETTLE_SECONDS_LOCAL = 5.0
SETTLE_SECONDS_NETWORK = 15.0

_log = logging.getLogger(__name__)


class FolderAvailability:
    """Availability of a watched folder. Used only by the watching thread.

    Attributes
    ----------
    available, detail
        True if the folder can be read, None before the first check; and why it cannot, or its file
        system and how it is watched.
    system
        File system of the folder.
    is_awaited
        True if the folder has never been there, so that it may still be created.
    space
        Space at the last check. It is read in this thread because a file system that hangs may
        block this thread only.
    """

    def __init__(self, root: Path, watch: Watch, send: Callable[[Message], None]) -> None:
        self.available: bool | None = None
        self.detail = "not checked yet"
        self.is_awaited = False
        self.system = FileSystem("unknown")
        self.space: Space | None = None
        self._root = root
        self._watch = watch
        self._send = send
        self._device: int | None = None

    @property
    def mode(self) -> Literal["inotify", "poll"]:
        """The mode in which the folder should be watched."""
        if self._watch.mode != "auto":
            return self._watch.mode
        return "inotify" if self.system.local else "poll"

    @property
    def settle_seconds(self) -> float:
        """Time that a file must stay unchanged, in seconds."""
        if self._watch.settle_seconds is not None:
            return self._watch.settle_seconds
        return SETTLE_SECONDS_LOCAL if self.system.local else SETTLE_SECONDS_NETWORK

    def check(self, *, had_files: bool) -> bool:
        """Check the folder and its file system; return True if the folder is available.

        ``had_files``: files in it are known, so it cannot be empty when it is checked first.
        """
        try:
            status = self._root.stat()
            with os.scandir(self._root) as entries:
                empty = next(entries, None) is None
        except FileNotFoundError as error:
            is_new = self._device is None and not had_files
            if is_new and awaited_mount(self._root) is None:
                self._not_there_yet()
            else:
                self.unavailable(error.strerror or str(error))
            return False
        except OSError as error:
            self.unavailable(error.strerror or str(error))
            return False
        elsewhere = had_files if self._device is None else self._device != status.st_dev
        if empty and elsewhere:
            # The mount point of a share that is not mounted looks like this.
            self.unavailable("it is empty now, but was not before; is the share mounted?")
            return False
        if not self.available or self._device != status.st_dev:
            self._now_available()
        self.space = space_of(self._root)
        self._device = status.st_dev
        return True

    def unavailable(self, detail: str) -> None:
        """Note that the folder is not available, and why; report it once."""
        if self.available is False and detail == self.detail:
            return
        self.available, self.detail, self.space = False, detail, None
        self.is_awaited = False
        _log.error("%s: not available: %s", printable(self._root), detail)
        self._send(RootState(self._root, available=False, detail=detail))

    def _not_there_yet(self) -> None:
        """Note that the folder has not been created yet; this is no fault."""
        if self.is_awaited:
            return
        self.available, self.detail, self.space = False, "it does not exist yet", None
        self.is_awaited = True
        _log.info("%s: does not exist yet; livepick waits for it", printable(self._root))
        self._send(RootState(self._root, available=False, detail=self.detail))

    def _now_available(self) -> None:
        self.system = file_system(self._root)
        self.available, self.is_awaited = True, False
        self.detail = f"{self.system.kind}, {self.mode}"
        _log.info("%s: watched (%s)", printable(self._root), self.detail)
        self._send(RootState(self._root, available=True, detail=self.detail))

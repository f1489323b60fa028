"""inotify events through watchdog. Events are hints; a scan is the source of truth."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver

__all__ = ["Handler", "Notifier", "OverflowListener"]

_log = logging.getLogger(__name__)


_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


class Handler(FileSystemEventHandler):
    """Turns watchdog's events into hints. It never raises, which would end watchdog's thread."""

    def __init__(
        self, count: Callable[[str], None], tell: Callable[[str, bool, bool], None]
    ) -> None:
        self._count = count
        self._tell = tell

    def dispatch(self, event: FileSystemEvent) -> None:
        """Pass on the path, whether it is a folder, and whether its writer has finished."""
        try:
            self._count(event.event_type)
            if source := os.fsdecode(event.src_path):
                self._tell(source, event.is_directory, isinstance(event, FileClosedEvent))
            if place := os.fsdecode(event.dest_path):  # of a move; either end may be outside
                self._tell(place, event.is_directory, not event.is_directory)
        except Exception:  # noqa: BLE001 - logged with its traceback; raising would deafen us
            _log.exception("event not understood: %r", event)


class Notifier:
    """An inotify observer for one folder, with the threads that it depends on."""

    def __init__(self, root: Path, handler: Handler) -> None:
        """Start watching. Raises OSError if the kernel refuses the watch.

        Links are never followed here: watchdog would follow a circular link for ever.
        """
        self._identity = _identity(root)
        self._observer = InotifyObserver(generate_full_events=True)
        try:
            self._observer.schedule(handler, os.fspath(root), recursive=True, event_filter=_EVENTS)
            self._observer.start()
        except BaseException:
            self.stop()
            raise

    def works(self, root: Path) -> bool:
        """Return True if all threads are alive and the folder is still the one being watched.

        ``observer.is_alive()`` alone stays True after the emitters have ended.
        """
        reader = getattr(self._observer, "_inotify_fd", None)  # a thread not accessible otherwise
        threads: list[threading.Thread] = [self._observer, *self._observer.emitters]
        if isinstance(reader, threading.Thread):
            threads.append(reader)
        alive = all(thread.is_alive() for thread in threads) and bool(self._observer.emitters)
        return alive and _identity(root) == self._identity

    def stop(self) -> None:
        """Stop the threads, whatever state they are in."""
        with contextlib.suppress(OSError, RuntimeError, KeyError):
            self._observer.stop()
        if self._observer.is_alive():
            self._observer.join(timeout=2)


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class OverflowListener(logging.Handler):
    """Catches watchdog's log warning that the kernel dropped events, its only sign of that."""

    LOGGER = "watchdog.observers.inotify_c"

    def __init__(self, overflowed: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._overflowed = overflowed

    def emit(self, record: logging.LogRecord) -> None:
        """Call back if the record is about an overflow."""
        if "overflow" in str(record.msg):
            self._overflowed()

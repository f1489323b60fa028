"""inotify events through watchdog. Events are hints; a scan is the source of truth."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
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

__all__ = ["Handler", "Hint", "Notifier", "OverflowListener"]

_log = logging.getLogger(__name__)


_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


@dataclass(frozen=True, slots=True)
class Hint:
    """A path that an event was about."""

    path: str
    is_folder: bool
    closed: bool
    """True if the writer of the file has finished: closed it, or moved it here."""


class Handler(FileSystemEventHandler):
    """Turns watchdog's events into hints. It never raises, which would end watchdog's thread."""

    def __init__(self, count: Callable[[str], None], hint: Callable[[Hint], None]) -> None:
        self._count = count
        self._hint = hint

    def dispatch(self, event: FileSystemEvent) -> None:
        """Count an event, and pass on its paths as hints."""
        try:
            self._count(event.event_type)
            is_folder = event.is_directory
            if source := os.fsdecode(event.src_path):
                self._hint(Hint(source, is_folder, isinstance(event, FileClosedEvent)))
            if target := os.fsdecode(event.dest_path):  # of a move; either end may be outside
                self._hint(Hint(target, is_folder, not is_folder))
        except Exception:  # noqa: BLE001 - raising would end all events; logged with its traceback
            _log.exception("inotify: event could not be handled: %r", event)


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

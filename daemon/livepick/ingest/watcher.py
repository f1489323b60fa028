"""Folder → ``Landed``: one thread that scans, and events that tell it what to check first.

Events are hints; the scan is the source of truth. inotify does not report writes by other machines,
loses events when its queue overflows, and does not report ``closed`` for a file that appears
together with its folder; watchdog's threads can die silently. So nothing depends on an event: a
hint only makes the thread check a path now instead of at the next scan, and a missed hint costs
``rescan_seconds``. Where inotify cannot work (network file systems, FUSE) there are no hints.

Only this thread reads files. watchdog's threads append to a list and wake it.
"""

import dataclasses
import logging
import math
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from livepick.config.sections import Watch
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.header import printable
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ingest.folder import Folder
from livepick.ingest.inotify import Hint, OverflowListener
from livepick.ingest.presets import rules_for
from livepick.ingest.skipped import added
from livepick.ingest.watch_health import FileEvents, WatchHealth
from livepick.ingest.watched_folder import WatchedFolder
from livepick.ledger.inbox import Message

__all__ = ["Watcher"]

_log = logging.getLogger(__name__)

SUPERVISE_SECONDS = 1.0
"""Pause between checks of watchdog's threads; also the longest sleep."""

SHORTEST_SLEEP_SECONDS = 0.02
"""Shortest sleep, so that a stream of events is processed in batches."""


_EVENT_TYPES = [field.name for field in dataclasses.fields(FileEvents)]


class Watcher:
    """Watches the configured folders and sends a message for each file that lands in them.

    Parameters
    ----------
    watch
        The configuration.
    send
        Function that receives each message; called from the watching thread, and must not block.
    known
        Files that are already in the ledger, by watched folder and path below it. Leave out those
        that were set aside as ``incomplete`` or ``io``, so that they are checked again.
    movies
        Paths of the known files that are movies, below each watched folder.
    clock
        Monotonic clock, in seconds.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        watch: Watch,
        send: Callable[[Message], None],
        *,
        known: Mapping[Path, Mapping[str, FileVersion]] | None = None,
        movies: Mapping[Path, Collection[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._unexpected = unexpected or UnexpectedErrors()
        self._clock = clock
        rules = rules_for(watch)
        roots = list(dict.fromkeys(watch.directories))
        skip = frozenset(os.fspath(root) for root in roots)
        self._watched = [
            WatchedFolder(
                Folder(
                    root,
                    watch,
                    rules,
                    known=(known or {}).get(root, {}),
                    movies=(movies or {}).get(root, ()),
                    skip=skip,
                    send=send,
                    clock=clock,
                    unexpected=self._unexpected,
                ),
                watch,
                count=self._count_event,
                hint=self._on_hint,
                clock=clock,
            )
            for root in roots
        ]
        self._hints: deque[tuple[WatchedFolder, Hint]] = deque()
        self._not_found: deque[tuple[Path, str, bool]] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._listener = OverflowListener(self._on_overflow)
        self._overflowed = self._scan_wanted = False
        self._supervise_at = -math.inf
        self._reexamine_at = -math.inf
        self._events = dict.fromkeys(_EVENT_TYPES, 0)
        self._overflows = self._restarts = 0
        self._last_scan_at = self._last_scan_seconds = 0.0
        self._last_scan_clock = float("-inf")

    def start(self) -> None:
        """Start watching; the first scan begins at once."""
        # watchdog emits kilobytes of warnings when a folder and its sub-folder appear at the same
        # time. If warnings were turned into errors, this one would end watchdog's thread.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        logging.getLogger(OverflowListener.LOGGER).addHandler(self._listener)
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Stop watching; no message is sent after it returns (unless a disk hangs)."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        logging.getLogger(OverflowListener.LOGGER).removeHandler(self._listener)

    def not_found(self, root: Path, relative: Path, *, gone: bool) -> None:
        """Check a watched folder now, because a worker could not read a file in it.

        If the folder is gone, a message says so at once. May be called from any thread.

        Parameters
        ----------
        root, relative
            Watched folder, and path of the file below it.
        gone
            True if the file was not there: it is sent again when it is.
        """
        self._not_found.append((root, str(relative), gone))
        self._wake.set()

    def scan_soon(self) -> None:
        """List all folders now, and not only when the next listing is due. From any thread."""
        self._scan_wanted = True
        self._wake.set()

    def is_alive(self) -> bool:
        """Return True if the watching thread is running."""
        return self._thread.is_alive()

    def health(self) -> WatchHealth:
        """Return the present health of watching. May be called from any thread."""
        folders = [watched.folder for watched in self._watched]
        return WatchHealth(
            folders=tuple(watched.health() for watched in self._watched),
            last_scan_at=self._last_scan_at,
            seconds_since_scan=self._clock() - self._last_scan_clock,
            last_scan_seconds=self._last_scan_seconds,
            interval_seconds=max(watched.interval_seconds() for watched in self._watched),
            watching=sum(folder.watching for folder in folders),
            excluded=sum(folder.excluded for folder in folders),
            oversized=sum(folder.oversized for folder in folders),
            events=FileEvents(**self._events),
            overflows=self._overflows,
            restarts=self._restarts,
            errors=self._unexpected.count_of("watch"),
            skipped=added(files for folder in folders for files in folder.skipped),
        )

    # --- watchdog's threads ---

    def _count_event(self, kind: str) -> None:
        self._events[kind] += 1

    def _on_hint(self, watched: WatchedFolder, hint: Hint) -> None:
        self._hints.append((watched, hint))
        self._wake.set()

    def _on_overflow(self) -> None:
        self._overflows += 1
        self._overflowed = True
        self._wake.set()

    # --- the watching thread ---

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - the next micrographs must still be seen
                self._unexpected.passed_over("watch", "the watched folders", error)
                self._stop.wait(1.0)
        for watched in self._watched:
            watched.stop_notifier()

    def _turn(self) -> None:
        self._supervise()
        self._follow_hints()
        self._look_for_missing()
        for watched in self._watched:
            if self._clock() >= watched.scan_at and not self._stop.is_set():
                self._scan(watched)
        self._reexamine()
        now = self._clock()
        due = min(
            now + SUPERVISE_SECONDS,
            *(min(watched.scan_at, watched.folder.next_due()) for watched in self._watched),
        )
        self._wake.wait(max(due - now, SHORTEST_SLEEP_SECONDS))
        self._wake.clear()
        self._stop.wait(SHORTEST_SLEEP_SECONDS)

    def _between(self) -> bool:
        """Check due files during a long scan; return False if the scan should stop."""
        if self._clock() >= self._reexamine_at:
            self._reexamine()
        self._look_for_missing()
        return not self._stop.is_set()

    def _reexamine(self) -> None:
        for watched in self._watched:
            if watched.folder.availability.available:
                watched.folder.reexamine()
        self._reexamine_at = self._clock() + 0.5

    def _scan(self, watched: WatchedFolder) -> None:
        seconds = watched.scan(self._between)
        if seconds is not None:
            self._last_scan_at, self._last_scan_clock = time.time(), self._clock()
            self._last_scan_seconds = seconds

    def _supervise(self) -> None:
        now = self._clock()
        if self._overflowed:
            self._overflowed = False
            _log.warning("inotify dropped events; all folders are scanned")
            self._scan_wanted = True
        if self._scan_wanted:
            self._scan_wanted = False
            for watched in self._watched:
                watched.scan_at = now
        if now < self._supervise_at:
            return
        self._supervise_at = now + SUPERVISE_SECONDS
        for watched in self._watched:
            self._restarts += watched.supervise()

    def _look_for_missing(self) -> None:
        """Check the folders in which workers could not read a file."""
        while self._not_found:
            root, relative, gone = self._not_found.popleft()
            for watched in self._watched:
                if watched.folder.root == root and watched.folder.availability.available:
                    watched.folder.not_found(relative, gone=gone)

    def _follow_hints(self) -> None:
        """Check the paths that events reported, each once."""
        hints: dict[tuple[WatchedFolder, str, bool], bool] = {}
        while self._hints:
            watched, hint = self._hints.popleft()
            key = (watched, hint.path, hint.is_folder)
            hints[key] = hints.get(key, False) or hint.closed
        for (watched, path, is_folder), closed in hints.items():
            relative = os.path.relpath(path, watched.folder.root)
            if relative.startswith("..") or not watched.folder.availability.available:
                continue
            with self._unexpected.passing_over("watch", printable(path)):
                if is_folder:
                    below = "" if relative == "." else relative
                    watched.folder.examine_below(below, self._between)
                else:
                    watched.folder.examine(relative, closed=closed)
            self._between()

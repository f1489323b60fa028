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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.config.sections import Watch
from livepick.core.formats.header import printable
from livepick.core.formats.micrograph import FileVersion
from livepick.host.disks import Space
from livepick.ingest.folder import FileEvents, Folder
from livepick.ingest.inotify import Handler, Notifier, OverflowListener
from livepick.ingest.presets import rules_for
from livepick.ledger.inbox import Message

__all__ = ["FolderHealth", "Health", "Watcher"]

_log = logging.getLogger(__name__)

RESCAN_SECONDS_POLL = 10.0
RESCAN_SECONDS_INOTIFY = 60.0
ABSENT_SECONDS = 2.0
"""Pause between checks for a folder that is missing."""

SUPERVISE_SECONDS = 1.0
"""Pause between checks of watchdog's threads; also the longest sleep."""

RENEW_SECONDS = 30.0
"""Pause before inotify is tried again after it was not available."""

SHORTEST_SLEEP_SECONDS = 0.02
"""Shortest sleep, so that a stream of events is processed in batches."""


_EVENT_TYPES = [field.name for field in dataclasses.fields(FileEvents)]


@dataclass(frozen=True, slots=True)
class FolderHealth:
    """State of one watched folder."""

    root: Path
    available: bool | None
    """None before the first check."""
    detail: str
    """Reason why it is not available; or its file system and how it is watched."""

    mode: Literal["inotify", "poll"]
    """Mode in use: ``poll`` also if inotify was wanted and is not available."""

    space: Space | None = None
    """Space at the last scan; None if the folder is not available, or its space is unknown."""


@dataclass(frozen=True, slots=True)
class Health:
    """State of watching, for metrics and the page."""

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


@dataclass(frozen=True, slots=True)
class _Hint:
    watched: "_Watched"
    path: str
    folder: bool
    closed: bool


class _Watched:
    """A folder, its notifier if it has one, and the times when its actions are due."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.notifier: Notifier | None = None
        self.renew_at = -math.inf
        self.scan_at = -math.inf


class Watcher:
    """Watches the configured folders and sends a message for each file that lands in them.

    Parameters
    ----------
    watch
        The configuration.
    send
        Function that receives each message; called from the watching thread, and must not block.
    known
        Files that are already in the ledger: (watched folder, path below it) → version. Leave out
        those that were set aside as ``incomplete`` or ``io``, so that they are checked again.
    clock
        Monotonic clock, in seconds.
    """

    def __init__(
        self,
        watch: Watch,
        send: Callable[[Message], None],
        *,
        known: Mapping[tuple[Path, Path], FileVersion] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._clock = clock
        rules = rules_for(watch)
        known_below: dict[Path, dict[str, FileVersion]] = {}
        for (root, relative), version in (known or {}).items():
            known_below.setdefault(root, {})[str(relative)] = version
        roots = list(dict.fromkeys(watch.directories))
        skip = frozenset(os.fspath(root) for root in roots)
        self._watched = [
            _Watched(
                Folder(
                    root,
                    watch,
                    rules,
                    known=known_below.get(root, {}),
                    skip=skip,
                    send=send,
                    clock=clock,
                )
            )
            for root in roots
        ]
        self._hints: deque[_Hint] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._listener = OverflowListener(self._on_overflow)
        self._overflowed = False
        self._supervise_at = -math.inf
        self._reexamine_at = -math.inf
        self._events = dict.fromkeys(_EVENT_TYPES, 0)
        self._overflows = self._restarts = self._errors = 0
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

    def is_alive(self) -> bool:
        """Return True if the watching thread is running."""
        return self._thread.is_alive()

    def health(self) -> Health:
        """Return the present state of watching. May be called from any thread."""
        folders = [watched.folder for watched in self._watched]
        return Health(
            folders=tuple(
                FolderHealth(
                    root=watched.folder.root,
                    available=watched.folder.available,
                    detail=watched.folder.detail,
                    mode="poll" if watched.notifier is None else "inotify",
                    space=watched.folder.space,
                )
                for watched in self._watched
            ),
            last_scan_at=self._last_scan_at,
            seconds_since_scan=self._clock() - self._last_scan_clock,
            last_scan_seconds=self._last_scan_seconds,
            interval_seconds=max(map(self._interval_seconds, self._watched)),
            watching=sum(folder.watching for folder in folders),
            excluded=sum(folder.excluded for folder in folders),
            oversized=sum(folder.oversized for folder in folders),
            events=FileEvents(**self._events),
            overflows=self._overflows,
            restarts=self._restarts,
            errors=self._errors,
        )

    # --- watchdog's threads ---

    def _on_event(self, watched: _Watched, path: str, *, folder: bool, closed: bool) -> None:
        self._hints.append(_Hint(watched, path, folder, closed))
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
            except Exception:  # noqa: BLE001 - the next micrographs must still be seen
                self._errors += 1
                _log.exception("watching failed, and goes on")
                self._stop.wait(1.0)
        for watched in self._watched:
            self._drop(watched)

    def _turn(self) -> None:
        self._supervise()
        self._follow_hints()
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
        return not self._stop.is_set()

    def _reexamine(self) -> None:
        for watched in self._watched:
            if watched.folder.available:
                watched.folder.reexamine()
        self._reexamine_at = self._clock() + 0.5

    def _scan(self, watched: _Watched) -> None:
        folder = watched.folder
        started = self._clock()
        scans = folder.scans
        watched.scan_at = started + RESCAN_SECONDS_POLL  # in case of an unexpected failure
        was_available = folder.available
        if folder.appear() and not was_available:
            self._renew(watched)  # before the listing, so that no file is missed
        folder.scan(self._between)
        ended = self._clock()
        if folder.scans > scans:
            self._last_scan_at, self._last_scan_clock = time.time(), ended
            self._last_scan_seconds = ended - started
        # A scan that takes long on a slow file system may use at most half of the time.
        watched.scan_at = ended + max(self._interval_seconds(watched), ended - started)

    def _interval_seconds(self, watched: _Watched) -> float:
        chosen = self._watch.rescan_seconds
        if not watched.folder.available:
            return min(chosen or ABSENT_SECONDS, ABSENT_SECONDS)
        if chosen is not None:
            return chosen
        deaf = (
            watched.notifier is None
            or watched.folder.unannounced > 0  # inotify should have reported those
            or self._watch.follow_symlinks  # inotify does not report files behind links
        )
        return RESCAN_SECONDS_POLL if deaf else RESCAN_SECONDS_INOTIFY

    def _supervise(self) -> None:
        now = self._clock()
        if self._overflowed:
            self._overflowed = False
            _log.warning("inotify dropped events; all folders are scanned")
            for watched in self._watched:
                watched.scan_at = now
        if now < self._supervise_at:
            return
        self._supervise_at = now + SUPERVISE_SECONDS
        for watched in self._watched:
            if not watched.folder.available or watched.folder.mode == "poll":
                continue
            if watched.notifier is None:
                if now >= watched.renew_at:
                    self._renew(watched)
                    watched.scan_at = now
            elif not watched.notifier.works(watched.folder.root):
                self._restart(watched)

    def _restart(self, watched: _Watched) -> None:
        watched.scan_at = self._clock()
        self._drop(watched)
        if watched.folder.appear():  # otherwise the scan that finds it again renews the notifier
            self._restarts += 1
            _log.warning("%s: inotify ended, started anew", printable(watched.folder.root))
            self._renew(watched)

    def _drop(self, watched: _Watched) -> None:
        if watched.notifier is not None:
            watched.notifier.stop()
            watched.notifier = None

    def _renew(self, watched: _Watched) -> None:
        """Give a folder a new notifier, if it should have one and the kernel allows it."""
        self._drop(watched)
        folder = watched.folder
        if folder.mode == "poll":
            return

        def count(kind: str) -> None:
            self._events[kind] += 1

        def tell(path: str, is_folder: bool, closed: bool) -> None:  # noqa: FBT001
            self._on_event(watched, path, folder=is_folder, closed=closed)

        try:
            watched.notifier = Notifier(folder.root, Handler(count, tell))
        except OSError as error:
            watched.renew_at = self._clock() + RENEW_SECONDS
            _log.warning(
                "%s: no inotify (%s), polled instead; see fs.inotify.max_user_watches and"
                " max_user_instances",
                printable(folder.root),
                error,
            )

    def _follow_hints(self) -> None:
        """Check the paths that events reported, each once."""
        hints: dict[tuple[_Watched, str, bool], bool] = {}
        while self._hints:
            hint = self._hints.popleft()
            key = (hint.watched, hint.path, hint.folder)
            hints[key] = hints.get(key, False) or hint.closed
        for (watched, path, is_folder), closed in hints.items():
            relative = os.path.relpath(path, watched.folder.root)
            if relative.startswith("..") or not watched.folder.available:
                continue
            if is_folder:
                watched.folder.look_below("" if relative == "." else relative)
            else:
                watched.folder.look(relative, closed=closed)
            self._between()

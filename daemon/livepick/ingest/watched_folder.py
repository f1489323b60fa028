"""A folder, the inotify events that it gets where the kernel has them, and when it is scanned."""

import logging
import math
from collections.abc import Callable
from typing import Literal

from livepick.config.sections import Watch
from livepick.core.formats.header import printable
from livepick.ingest.folder import Folder
from livepick.ingest.inotify import Handler, Hint, Notifier
from livepick.ingest.watch_health import FolderHealth

__all__ = ["WatchedFolder"]

_log = logging.getLogger(__name__)

RESCAN_SECONDS_POLL = 10.0
RESCAN_SECONDS_INOTIFY = 60.0
ABSENT_SECONDS = 2.0
"""Pause between checks for a folder that is missing."""

RENEW_SECONDS = 30.0
"""Pause before inotify is tried again after it was not available."""


class WatchedFolder:
    """A folder with its notifier, if it has one, and the time of its next scan.

    Parameters
    ----------
    folder
        The folder, and the files in it.
    watch
        The configuration.
    count
        Function that counts an event by its type; called from watchdog's threads, as is ``hint``.
    hint
        Function that receives the path that an event is about.
    clock
        Monotonic clock, in seconds.
    """

    def __init__(
        self,
        folder: Folder,
        watch: Watch,
        *,
        count: Callable[[str], None],
        hint: Callable[["WatchedFolder", Hint], None],
        clock: Callable[[], float],
    ) -> None:
        self.folder = folder
        self.scan_at = -math.inf
        """Time of the next scan, on the monotonic clock."""
        self._watch = watch
        self._count = count
        self._hint = hint
        self._clock = clock
        self._notifier: Notifier | None = None
        self._renew_at = -math.inf

    def health(self) -> FolderHealth:
        """Return the present health. May be called from any thread."""
        mode: Literal["inotify", "poll"] = "poll" if self._notifier is None else "inotify"
        now = self.folder.availability
        return FolderHealth(
            self.folder.root, now.available, now.detail, mode, now.is_awaited, now.space
        )

    def interval_seconds(self) -> float:
        """Return the time between two scans."""
        chosen = self._watch.rescan_seconds
        if not self.folder.availability.available:
            return min(chosen or ABSENT_SECONDS, ABSENT_SECONDS)
        if chosen is not None:
            return chosen
        misses_events = (
            self._notifier is None
            or self.folder.unannounced > 0  # inotify should have reported those
            or self._watch.follow_symlinks  # inotify does not report files behind links
        )
        return RESCAN_SECONDS_POLL if misses_events else RESCAN_SECONDS_INOTIFY

    def scan(self, between: Callable[[], bool]) -> float | None:
        """Scan the folder, and set the time of the next scan.

        Parameters
        ----------
        between
            Called after each folder below; if it returns False the scan is aborted.

        Returns
        -------
        float or None
            Duration in seconds; None if the scan was not completed.
        """
        folder = self.folder
        started = self._clock()
        scans = folder.scans
        self.scan_at = started + RESCAN_SECONDS_POLL  # in case of an unexpected failure
        was_available = folder.availability.available
        if folder.check_available() and not was_available:
            self._renew()  # before the listing, so that no file is missed
        folder.scan(between)
        seconds = self._clock() - started
        # A scan that takes long on a slow file system may use at most half of the time.
        self.scan_at = started + seconds + max(self.interval_seconds(), seconds)
        return seconds if folder.scans > scans else None

    def supervise(self) -> bool:
        """Check the notifier, and replace it if it has ended; return True if it had.

        If there is none although there should be, try again from time to time.
        """
        now = self._clock()
        if not self.folder.availability.available or self.folder.availability.mode == "poll":
            return False
        if self._notifier is None:
            if now >= self._renew_at:
                self._renew()
                self.scan_at = now
            return False
        if self._notifier.works(self.folder.root):
            return False
        self.scan_at = now
        self.stop_notifier()
        if not self.folder.check_available():
            return False  # the scan that finds it again renews the notifier
        _log.warning("%s: inotify stopped working, restarted", printable(self.folder.root))
        self._renew()
        return True

    def stop_notifier(self) -> None:
        """Stop receiving events."""
        if self._notifier is not None:
            self._notifier.stop()
            self._notifier = None

    def _renew(self) -> None:
        """Start a new notifier, if the folder should have one and the kernel allows it."""
        self.stop_notifier()
        if self.folder.availability.mode == "poll":
            return
        handler = Handler(self._count, lambda hint: self._hint(self, hint))
        try:
            self._notifier = Notifier(self.folder.root, handler)
        except OSError as error:
            self._renew_at = self._clock() + RENEW_SECONDS
            _log.warning(
                "%s: no inotify (%s), polled instead; see fs.inotify.max_user_watches and"
                " max_user_instances",
                printable(self.folder.root),
                error,
            )

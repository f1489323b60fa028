"""Detection of complete files: quiet and structurally whole; neither alone is reliable.

*Quiet*: the same (size, mtime, inode) in two checks that are ``settle_seconds`` apart on our own
monotonic clock. File times cannot be used for this: the clocks of cameras and file servers run
ahead, and a transfer keeps the source's times. *Whole*: the header parses and the file has the
length that the header says. SMB copies and memory maps have their final length before any content,
and MotionCor writes the header last, so length alone is not reliable either.

A file that its writer closed, or that was renamed into place, only has to be quiet for one second.

A file that is not whole is checked again after a tenth of the time that it has already waited.
After ``incomplete_timeout_seconds`` without a change it is set aside, and from then on checked once
a minute, because a memory map changes a file without changing its mtime.

This module reads no clock and no folder: times and observations are passed in.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from livepick.core.formats.file_version import FileVersion
from livepick.errors import IncompleteFileError, MicrographError, VanishedFileError

__all__ = ["Outcome", "Settler"]

CLOSED_SETTLE_SECONDS = 1.0
"""Time that a file must stay unchanged after its writer closed it."""

MIN_GAP_SECONDS = 0.1
"""Two checks closer than this count as one."""

RECHECK_SECONDS = (0.25, 30.0)
"""Shortest and longest pause between checks of a file that is quiet but not whole."""

SET_ASIDE_PAUSE_SECONDS = 60.0
"""Pause between checks of a file that was set aside and may still become whole."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome for a file: complete, or set aside with an error."""

    version: FileVersion
    landed_at: float
    """Time when this content was first seen, in Unix seconds."""

    error: MicrographError | None
    """None: complete. A retryable error: the file may still become whole, and is checked again."""

    needed_bytes: int = 0
    """Length of a complete file according to its header; the file may be longer."""


@dataclass(slots=True)
class _File:
    """A file that is not settled."""

    version: FileVersion
    since: float
    """Time when this version was first seen, on the monotonic clock."""

    landed_at: float
    due: float
    """Time of the next check."""

    closed: bool = False
    blocked: bool = False
    set_aside: bool = False
    error: MicrographError | None = None
    """Reason why it was not complete at the last check; None before the first."""


class Settler:
    """Tracks the files that are not settled, and reports when each one is.

    Parameters
    ----------
    settle_seconds
        Time that a file must stay unchanged.
    incomplete_timeout_seconds
        Time without a change after which a file that is not whole is set aside.
    check
        Function that returns the length of the file at this path according to its header, and
        raises a MicrographError unless the file is structurally whole.
    """

    def __init__(
        self,
        *,
        settle_seconds: float,
        incomplete_timeout_seconds: float,
        check: Callable[[str], int],
    ) -> None:
        self.settle_seconds = settle_seconds
        self._timeout_seconds = incomplete_timeout_seconds
        self._check = check
        self._files: dict[str, _File] = {}

    def __contains__(self, path: object) -> bool:
        return path in self._files

    @property
    def watching(self) -> int:
        """Number of files that are not settled, without those that were set aside."""
        return sum(not file.set_aside for file in list(self._files.values()))

    def not_complete(self) -> Iterator[tuple[str, MicrographError]]:
        """Yield the files that are quiet but not complete, each with the reason.

        Those that wait for another file are left out, and those that were set aside: they were
        reported.
        """
        for path, file in self._files.items():
            if file.error is not None and not file.set_aside and not file.blocked:
                yield path, file.error

    def is_set_aside(self, path: str) -> bool:
        """Return True if a file was reported as not complete, and is still being checked."""
        return (file := self._files.get(path)) is not None and file.set_aside

    def due(self, now: float) -> list[str]:
        """Return the paths to check now."""
        return [path for path, file in self._files.items() if file.due <= now]

    def next_due(self) -> float:
        """Return the time of the next check; infinity if there is nothing to check."""
        return min((file.due for file in self._files.values()), default=math.inf)

    def closed(self, path: str) -> None:
        """Record that the writer closed a file, or renamed it into place.

        Call it after the ``observe`` call for the same event: a change that is observed later
        reverts it.
        """
        if (file := self._files.get(path)) is not None and not file.closed:
            file.closed = True
            file.due = min(file.due, file.since + self._quiet_seconds(file))

    def forget(self, path: str) -> None:
        """Stop waiting for a file: it is gone, or its version is settled elsewhere."""
        self._files.pop(path, None)

    def observe(
        self, path: str, version: FileVersion, blocked: str | None, *, now: float, wall: float
    ) -> Outcome | None:
        """Process an observation of a file; return its outcome, or None if it is not settled yet.

        Parameters
        ----------
        path, version
            The file and its version from ``stat``.
        blocked
            Reason, in words, why it has to wait: a sidecar that is missing, or that still exists.
        now, wall
            Monotonic and Unix seconds of the observation.
        """
        file = self._files.get(path)
        if file is None or file.version != version:
            file = _File(version, now, wall, due=now)
            file.due = now + self._quiet_seconds(file)
            self._files[path] = file
            return None
        unblocked = file.blocked and blocked is None
        if now < file.due and not unblocked:
            return None
        file.blocked = blocked is not None
        if (due := file.since + self._quiet_seconds(file)) > now:
            file.due = due
            return None
        return self._end(path, file, blocked, now)

    def _end(self, path: str, file: _File, blocked: str | None, now: float) -> Outcome | None:
        """Settle a quiet file if it is whole, or if it never will be."""
        try:
            needed_bytes = self._checked(path, blocked)
        except VanishedFileError:
            del self._files[path]
            return None
        except MicrographError as error:
            if error.retryable:
                return self._wait(file, error, now)
            del self._files[path]
            return Outcome(file.version, file.landed_at, error)
        del self._files[path]
        return Outcome(file.version, file.landed_at, None, needed_bytes)

    def _quiet_seconds(self, file: _File) -> float:
        limit = CLOSED_SETTLE_SECONDS if file.closed else math.inf
        return max(MIN_GAP_SECONDS, min(self.settle_seconds, limit))

    def _checked(self, path: str, blocked: str | None) -> int:
        if blocked is not None:
            raise IncompleteFileError(
                blocked,
                "The program that writes it has not finished, or watch.preset is wrong for it.",
            )
        return self._check(path)

    def _wait(self, file: _File, error: MicrographError, now: float) -> Outcome | None:
        file.error = error
        waited_seconds = now - file.since
        if file.set_aside:
            file.due = now + SET_ASIDE_PAUSE_SECONDS
            return None
        if waited_seconds >= self._timeout_seconds:
            file.set_aside = True
            file.due = now + SET_ASIDE_PAUSE_SECONDS
            return Outcome(file.version, file.landed_at, error)
        shortest, longest = RECHECK_SECONDS
        pause_seconds = min(max(waited_seconds / 10, shortest), longest)
        file.due = min(now + pause_seconds, file.since + self._timeout_seconds)
        return None

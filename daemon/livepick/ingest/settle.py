"""When a file is complete: quiet, and structurally whole. Both, for each alone is fooled.

*Quiet* is the same (size, mtime, inode) in two looks that are ``settle_seconds`` apart on our own
monotonic clock. File times say nothing about when that is: the clocks of cameras and file servers
run ahead, and a transfer keeps the source's times. *Whole* is a header that parses and a length
that it promises; SMB copies and memory maps have their final length before any content, and
MotionCor writes the header last, so length alone is no better.

A file that its writer closed, or that was renamed into its place, is believed after one second.

A file that is not whole is looked at again and again, after a tenth of the time that it has
already waited; after ``incomplete_timeout_seconds`` without a change it is set aside, and then
looked at once a minute still, for a memory map changes a file without changing its mtime.

Nothing here reads a clock or a folder: times and observations are handed in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from livepick.core.formats.micrograph import FileVersion
from livepick.errors import IncompleteFileError, MicrographError, VanishedFileError

__all__ = ["Outcome", "Settler"]

CLOSED_SETTLE_SECONDS = 1.0
"""How long a file stays unchanged that its writer closed."""

MIN_GAP_SECONDS = 0.1
"""Two looks closer than this are one."""

LOOK_AGAIN_SECONDS = (0.25, 30.0)
"""Shortest and longest pause between looks at a file that is quiet but not whole."""

SET_ASIDE_PAUSE_SECONDS = 60.0
"""Between looks at a file that was set aside and may yet become whole."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: complete, or set aside with an error."""

    version: FileVersion
    landed_at: float
    """Unix seconds: when this content was first seen."""

    error: MicrographError | None
    """None: complete. A retryable one: it may still become whole, and is looked at again."""

    needed_bytes: int = 0
    """Length that the header of a complete file promises; it may be longer."""


@dataclass(slots=True)
class _File:
    """A file that is not settled."""

    version: FileVersion
    since: float
    """When this version was first seen, on the monotonic clock."""

    landed_at: float
    due: float
    """When to look again."""

    closed: bool = False
    blocked: bool = False
    set_aside: bool = False


class Settler:
    """Keeps the files that are not settled, and says when each is.

    Parameters
    ----------
    settle_seconds
        How long a file must stay unchanged.
    incomplete_timeout_seconds
        After how long without a change a file that is not whole is set aside.
    check
        Returns the length that the header of the file at this path promises; raises a
        MicrographError unless the file is structurally whole.
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
        """How many files are waited for, without those that were set aside."""
        return sum(not file.set_aside for file in list(self._files.values()))

    def due(self, now: float) -> list[str]:
        """Return the paths that are to be looked at now."""
        return [path for path, file in self._files.items() if file.due <= now]

    def next_due(self) -> float:
        """Return when the next look is due; infinity if there is nothing to look at."""
        return min((file.due for file in self._files.values()), default=math.inf)

    def closed(self, path: str) -> None:
        """Note that the writer closed a file, or renamed it into its place.

        Call it after the ``observe`` that the same event brought about: a change that is seen
        later undoes it.
        """
        if (file := self._files.get(path)) is not None and not file.closed:
            file.closed = True
            file.due = min(file.due, file.since + self._quiet_seconds(file))

    def forget(self, path: str) -> None:
        """Wait no longer for a file: it is gone, or its version is settled elsewhere."""
        self._files.pop(path, None)

    def observe(
        self, path: str, version: FileVersion, blocked: str | None, *, now: float, wall: float
    ) -> Outcome | None:
        """Take in a look at a file; return what became of it, or None while it is waited for.

        Parameters
        ----------
        path, version
            The file and what ``stat`` said of it.
        blocked
            What else it has to wait for, in words: a sidecar that is missing, or still there.
        now, wall
            Monotonic and unix seconds of the look.
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
        """Settle a quiet file if it is whole, or never will be."""
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
                "The program that writes it has not finished, or watch.preset does not fit it.",
            )
        return self._check(path)

    def _wait(self, file: _File, error: MicrographError, now: float) -> Outcome | None:
        waited_seconds = now - file.since
        if file.set_aside:
            file.due = now + SET_ASIDE_PAUSE_SECONDS
            return None
        if waited_seconds >= self._timeout_seconds:
            file.set_aside = True
            file.due = now + SET_ASIDE_PAUSE_SECONDS
            return Outcome(file.version, file.landed_at, error)
        shortest, longest = LOOK_AGAIN_SECONDS
        pause_seconds = min(max(waited_seconds / 10, shortest), longest)
        file.due = min(now + pause_seconds, file.since + self._timeout_seconds)
        return None

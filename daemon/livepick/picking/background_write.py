"""A file about the session as a whole, written in a thread of its own.

Such a file is written anew each time, so that a reader sees a whole one, and it grows with the
session. In the dispatch thread it would hold up the picks. It is written at most once in an
interval; the interval becomes longer when writing takes longer, so that writing costs a small
fraction of the time however long the session is.
"""

import threading
import time
from collections.abc import Callable

__all__ = ["BackgroundWrite"]

SHARE = 0.02
"""Largest fraction of the time for writing one file."""


class BackgroundWrite:
    """Something that is written in the background when it is due. For one thread.

    Parameters
    ----------
    name
        Name of the thread.
    write
        Function that writes; called in another thread, never twice at a time.
    interval_seconds
        Function that returns the shortest interval between two writes.
    """

    def __init__(
        self, name: str, write: Callable[[], None], interval_seconds: Callable[[], float]
    ) -> None:
        self._name = name
        self._write = write
        self._interval_seconds = interval_seconds
        self._due = True
        self._next_at = self._earliest_at = float("-inf")
        self._is_urgent = False
        self._thread: threading.Thread | None = None
        self._began_at = 0.0
        self._error: BaseException | None = None
        self.written_as_of = float("-inf")
        """Start of the last successful write, in monotonic seconds: it has all earlier changes."""

    def changed(self) -> None:
        """Schedule a write: the content has changed."""
        self._due = True

    def changed_by_person(self) -> None:
        """Schedule a write without the interval: a person has changed the content, and looks."""
        self._due = self._is_urgent = True
        self._next_at = self._earliest_at

    def turn(self) -> bool:
        """Start a write if it is due; return True if one has ended since the last call.

        Raises
        ------
        OutputError
            The last write failed; it is due again.
        LedgerError
            The ledger could not be read; the write is due again.
        """
        ended = self._thread is not None and not self._thread.is_alive()
        if ended:
            self._end()
        if self._thread is None and self._due and time.monotonic() >= self._next_at:
            self._begin()
        return ended

    def finish(self) -> None:
        """Write all changes now, and return when they are written. Raises as ``turn``."""
        if self._thread is not None:
            self._end()
        if self._due:
            self._begin()
            self._end()

    def _begin(self) -> None:
        self._due, self._is_urgent, self._error = False, False, None
        self._began_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that wants the file
            self._error = error

    def _end(self) -> None:
        """Wait for the write in progress, and set the time of the next; raise its error."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        seconds = time.monotonic() - self._began_at
        self._earliest_at = self._began_at + seconds / SHARE
        usual_at = max(self._earliest_at, self._began_at + self._interval_seconds())
        self._next_at = self._earliest_at if self._is_urgent else usual_at
        if self._error is not None:
            self._due = True
            raise self._error
        self.written_as_of = self._began_at

"""Errors that nobody expected: one item fails, and the thread that met it continues.

What can be wrong with a file, a disk or a setting is a ``LivepickError``, and each thread knows
what to do about it. Any other exception is a bug in livepick, or something in a file that no reader
thought of. It must not stop the work on all other items, and it must not be hidden: the item is
named in the log, the error is counted by the part that met it, and the operator is told.

A part whose every try fails is at fault itself, not its items: see ``stuck``.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from livepick.errors import LivepickError

__all__ = ["PARTS", "Part", "UnexpectedError", "UnexpectedErrors"]

Part = Literal[
    "watch",
    "dispatch",
    "output",
    "on_picked",
    "ctf",
    "particle",
    "classes",
    "training",
    "drift",
    "monitoring",
    "config",
    "page",
]
PARTS: tuple[Part, ...] = get_args(Part)
"""Parts of the service that pass over such errors."""

STUCK_SECONDS = 300.0
"""A part is stuck if it has only met unexpected errors for this long."""

LOG_SECONDS = 60.0
"""Shortest interval between two log entries of the same error of the same part."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnexpectedError:
    """The latest unexpected error."""

    part: Part
    item: str
    """Item that the part was working on, such as the name of a file."""
    error: str
    """Type and text of the exception."""
    at: float
    """Unix seconds."""


class UnexpectedErrors:
    """Logs and counts the unexpected errors of all parts; callable from any thread.

    Parameters
    ----------
    counted
        Called with the part at each error, in the thread of the error.
    clock
        Monotonic clock, in seconds.
    """

    def __init__(
        self,
        counted: Callable[[Part], None] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counted = counted
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[Part, int] = dict.fromkeys(PARTS, 0)
        self._latest: UnexpectedError | None = None
        self._failing_since: dict[Part, float] = {}
        self._logged_at: dict[tuple[Part, str], float] = {}

    @property
    def count(self) -> int:
        """Number of errors since the start."""
        return sum(self._counts.values())

    def count_of(self, part: Part) -> int:
        """Return the number of errors of a part since the start."""
        return self._counts[part]

    @property
    def latest(self) -> UnexpectedError | None:
        """The latest error; None if there was none."""
        return self._latest

    @contextlib.contextmanager
    def passing_over(self, part: Part, item: str) -> Iterator[None]:
        """Pass over an unexpected error of the block; a ``LivepickError`` is raised as it is."""
        try:
            yield
        except LivepickError:
            self.works(part)
            raise
        except Exception as error:  # noqa: BLE001 - logged, counted and shown
            self.passed_over(part, item, error)
        else:
            self.works(part)

    def passed_over(self, part: Part, item: str, error: BaseException) -> None:
        """Log and count an error, after which the part continues with the next item."""
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        now = self._clock()
        with self._lock:
            self._counts[part] += 1
            self._latest = UnexpectedError(part, item, text, time.time())
            self._failing_since.setdefault(part, now)
            key = (part, f"{type(error).__name__} {_place(error)}")
            is_new = key not in self._logged_at
            is_due = is_new or now - self._logged_at[key] >= LOG_SECONDS
            if is_due:
                self._logged_at[key] = now
        if is_due:
            _log.error(
                "%s: unexpected error with %s, which is passed over: %s",
                part,
                item,
                text,
                exc_info=error if is_new else None,
            )
        self._counted(part)

    def works(self, part: Part) -> None:
        """Note that a part has handled an item, so that it is not stuck."""
        with self._lock:
            self._failing_since.pop(part, None)

    def stuck(self) -> dict[Part, float]:
        """Return the parts that have only met unexpected errors for long, and for how long."""
        now = self._clock()
        with self._lock:
            return {
                part: now - since
                for part, since in self._failing_since.items()
                if now - since >= STUCK_SECONDS
            }


def _place(error: BaseException) -> str:
    """Return file and line in which an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"

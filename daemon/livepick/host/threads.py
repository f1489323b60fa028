"""Threads of a program, and what its main thread waits for: signals, and ends of other threads."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Ended", "Threads"]


@dataclass(frozen=True, slots=True)
class Ended:
    """Message that a thread has ended, whether it was told to or not."""

    thread: str
    error: BaseException | None
    """Error that ended it; None if its function returned."""


class Threads:
    """Threads that run until the end of the program, and the events of its main thread."""

    def __init__(self) -> None:
        # Only a SimpleQueue is safe to use in a signal handler.
        self._events: queue.SimpleQueue[int | Ended] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Start a thread; its end is an event."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - the main thread decides
                self._events.put(Ended(name, error))
            else:
                self._events.put(Ended(name, None))

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def signal(self, number: int) -> None:
        """Add a signal to the events; may be called from a signal handler."""
        self._events.put(number)

    @property
    def has_event(self) -> bool:
        """True if an event is waiting."""
        return not self._events.empty()

    def next_event(self, timeout_seconds: float) -> int | Ended | None:
        """Wait for the next event, a signal number or the end of a thread; None: timeout."""
        try:
            return self._events.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def join(self, timeout_seconds: float) -> None:
        """Wait until all threads have ended, but no longer than this."""
        give_up = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))

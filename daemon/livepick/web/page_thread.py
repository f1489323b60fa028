"""The thread that renders the page, so that a slow query or disk does not delay the event loop.

One thread, because Python runs one at a time anyway: requests for the page wait for each other, and
never delay a scrape or a health check. What a program asks for overtakes them.
"""

import asyncio
import itertools
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["WAIT_SECONDS", "PageThread"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

WAIT_SECONDS = 30.0
"""Maximum time that a caller waits, for example while a disk hangs."""


class PageThread:
    """Runs functions one after another, for the event loops of other threads.

    It is a daemon thread, unlike those of ``concurrent.futures``: a disk that hangs must not keep
    the service from ending.

    Parameters
    ----------
    name
        Name of the thread.
    wait_seconds
        Maximum time that a caller waits.
    """

    def __init__(self, name: str = "page", wait_seconds: float | None = None) -> None:
        self._wait_seconds = wait_seconds
        self._calls: queue.PriorityQueue[tuple[int, int, Callable[[], None] | None]]
        self._calls = queue.PriorityQueue()
        self._numbers = itertools.count()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[..., T], *arguments: Any, urgent: bool = False) -> T:
        """Return what a function returns, or raise its exception.

        Parameters
        ----------
        function, arguments
            Function to call in the thread, and its arguments.
        urgent
            True to overtake the calls that are not.

        Raises
        ------
        TimeoutError
            The function was not called, or has not returned, in time.
        """
        answer: Future[T] = Future()

        def work() -> None:
            if not answer.set_running_or_notify_cancel():  # the client has gone
                return
            try:
                result = function(*arguments)
            except Exception as error:  # noqa: BLE001 - raised again where it is awaited
                answer.set_exception(error)
            else:
                answer.set_result(result)

        self._put(0 if urgent else 1, work)
        seconds = WAIT_SECONDS if self._wait_seconds is None else self._wait_seconds
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(answer)

    def soon(self, function: Callable[[], object]) -> None:
        """Call a function that prepares something; the call that needs it reports its errors."""

        def work() -> None:
            try:
                function()
            except Exception as error:  # noqa: BLE001 - raised again where it is needed
                _log.debug("page: not prepared: %s", error)

        self._put(1, work)

    def stop(self) -> None:
        """End the thread after the function that it runs now."""
        self._put(2, None)

    def _put(self, rank: int, work: Callable[[], None] | None) -> None:
        self._calls.put((rank, next(self._numbers), work))

    def _run(self) -> None:
        while (work := self._calls.get()[2]) is not None:
            work()

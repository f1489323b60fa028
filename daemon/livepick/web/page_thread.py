"""The thread that renders the page, so that a slow query or disk does not delay the event loop.

One thread, because Python runs one at a time anyway: requests for the page wait for each other, and
never delay a scrape or a health check.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["PageThread"]

T = TypeVar("T")


class PageThread:
    """Runs functions one after another, for the event loops of other threads.

    It is a daemon thread, unlike those of ``concurrent.futures``: a disk that hangs must not keep
    the service from ending.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="page", daemon=True).start()

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what a function returns, or raise its exception."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            if future.done():  # the client has gone
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only with an error

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = function(*arguments)
            except Exception as error:  # noqa: BLE001 - raised again where it is awaited
                reply = (None, error)
            else:
                reply = (result, None)  # type: ignore[assignment]  # the other half
            try:
                loop.call_soon_threadsafe(finish, *reply)
            except RuntimeError:  # the loop was closed meanwhile
                return

        self._calls.put(work)
        return await future

    def stop(self) -> None:
        """End the thread after the function that it runs now."""
        self._calls.put(None)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            work()

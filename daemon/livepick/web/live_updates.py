"""Server-sent events that tell all open pages which parts have changed.

Each event names every part with a digest of its content; the browser fetches the parts whose digest
it does not have. Missed events therefore do not matter.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable

from livepick.errors import LedgerError
from livepick.web.page import Sections, digest
from livepick.web.page_thread import PageThread

__all__ = ["Live"]

INTERVAL_SECONDS = 2.0
"""Interval between two checks for changes, and so the maximum delay of a change on the page."""

SILENT_CHECKS = 7
"""Checks without a change before a comment is sent, so that no proxy closes the connection."""

MOST_LISTENERS = 32
"""Maximum number of listeners. Further ones are rejected, and retry by themselves."""

_log = logging.getLogger(__name__)


class Live:
    """Sends change events to the listeners. For one event loop, except for ``close``."""

    def __init__(
        self,
        sections: Sections,
        page_thread: PageThread,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        counted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._sections = sections
        self._page_thread = page_thread
        self._interval_seconds = interval_seconds
        self._closed = False
        self._listeners = 0
        self._counted = counted

    def close(self) -> None:
        """End all streams soon; callable from any thread."""
        self._closed = True

    def enter(self) -> bool:
        """Register a listener until ``leave``; return False if there are too many already."""
        if self._listeners >= MOST_LISTENERS:
            return False
        self._listeners += 1
        self._counted(self._listeners)
        return True

    def leave(self) -> None:
        """Unregister a listener."""
        self._listeners -= 1
        self._counted(self._listeners)

    async def events(self) -> AsyncIterator[str]:
        """Yield events until ``close`` is called or the ledger cannot be read.

        The browser treats the end of a stream as a lost connection, and shows how old its data are.
        """
        sent, silent = "", 0
        while not self._closed and (present := await self._digests()):
            if present != sent:
                sent, silent = present, 0
                yield f"data: {present}\n\n"
            elif (silent := silent + 1) > SILENT_CHECKS:
                silent = 0
                yield ": still here\n\n"
            await self._wait()

    async def _digests(self) -> str:
        try:
            parts = await self._page_thread.call(self._sections.parts)
        except LedgerError as error:  # the dispatch loop decides what to do about it
            _log.warning("page: the ledger cannot be read: %s", error)
            return ""
        except TimeoutError:
            return ""
        return json.dumps({name: digest(html) for name, html in parts.items()})

    async def _wait(self) -> None:
        """Sleep for the interval, or until ``close`` is called."""
        step = 0.2
        for _ in range(max(1, round(self._interval_seconds / step))):
            if self._closed:
                return
            await asyncio.sleep(step)

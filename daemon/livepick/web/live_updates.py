"""Server-sent events: which parts of the page have changed, to all who look.

One event names each part with a digest of what it shows; the browser fetches the parts whose digest
it does not have. So it does not matter which events one has missed.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

from livepick.errors import LedgerError
from livepick.web.page import Sections, digest

__all__ = ["Live"]

INTERVAL_SECONDS = 2.0
"""Between two looks, and so the longest that a change takes to reach the eye."""

SILENT_LOOKS = 7
"""After so many looks without a change a comment is sent, so that no proxy ends the connection."""

MOST_LISTENERS = 32
"""More are turned away, and ask again by themselves."""

_log = logging.getLogger(__name__)


class Live:
    """Tells who listens. For one event loop, but for ``close``."""

    def __init__(self, sections: Sections, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._sections = sections
        self._interval_seconds = interval_seconds
        self._closed = False
        self._listeners = 0

    def close(self) -> None:
        """Let all streams end soon; callable from any thread."""
        self._closed = True

    def enter(self) -> bool:
        """Count one more who listens, until ``leave``; False: there are too many already."""
        if self._listeners >= MOST_LISTENERS:
            return False
        self._listeners += 1
        return True

    def leave(self) -> None:
        """Count one less."""
        self._listeners -= 1

    async def events(self) -> AsyncIterator[str]:
        """Yield events until all is over, or the ledger cannot be read.

        A stream that ends is a lost connection to the browser, which says how old its figures are.
        """
        told, silent = "", 0
        while not self._closed and (present := self._digests()):
            if present != told:
                told, silent = present, 0
                yield f"data: {present}\n\n"
            elif (silent := silent + 1) > SILENT_LOOKS:
                silent = 0
                yield ": still here\n\n"
            await self._wait()

    def _digests(self) -> str:
        try:
            parts = self._sections.parts()
        except LedgerError as error:  # the dispatch loop decides what that means
            _log.warning("page: %s", error)
            return ""
        return json.dumps({name: digest(html) for name, html in parts.items()})

    async def _wait(self) -> None:
        """Sleep, but not past the end of the service."""
        step = 0.2
        for _ in range(max(1, round(self._interval_seconds / step))):
            if self._closed:
                return
            await asyncio.sleep(step)

"""The thread that sends notices: looks for events, sends each once, and tries again after a while.

Whatever a server does, picking does not wait: a delivery is a process of its own.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from livepick.config.notify_address import address_of
from livepick.config.notify_section import NotifyTarget
from livepick.errors import ConfigError, LedgerError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.notices.delivery import deliver
from livepick.notices.events import Notice
from livepick.notices.record import NoticeRecord

__all__ = ["MOST_TRIES", "Counter", "Notifier"]

LOOK_SECONDS = 15.0
"""Time between two looks for events."""

LASTING_SECONDS = 60.0
"""A problem must last so long before it is sent: many pass by themselves."""

MOST_TRIES = 10
"""Maximum number of tries of one notice at one address."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 3600.0
"""Time before the second try, which doubles with each further one, and its maximum."""

_log = logging.getLogger(__name__)


class Counter(Protocol):
    """Metrics of notices."""

    def sent(self) -> None:
        """Count a notice that was sent."""

    def failed(self, *, given_up: bool) -> None:
        """Count a try that failed."""


class Notifier:
    """Sends notices. Call ``run`` in a thread of its own, and ``stop`` from another.

    Parameters
    ----------
    targets
        Returns the addresses that apply now.
    state, session
        State folder, and name of the session.
    events
        Returns the notices on all that has happened by now.
    link
        URL of the page, for the end of each notice.
    counter
        Metrics.
    unexpected
        Counts the unexpected errors that are passed over.
    send, clock
        Function that delivers, and a monotonic clock; tests pass their own.
    """

    def __init__(
        self,
        targets: Callable[[], Sequence[NotifyTarget]],
        *,
        state: Path,
        session: str,
        events: Callable[[], Sequence[Notice]],
        link: str,
        counter: Counter,
        unexpected: UnexpectedErrors | None = None,
        send: Callable[..., str] = deliver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._targets = targets
        self._session = session
        self._record = NoticeRecord(state, session)
        self._events = events
        self._link = link
        self._counter = counter
        self._unexpected = unexpected or UnexpectedErrors()
        self._send = send
        self._clock = clock
        self._since: dict[str, float] = {}
        self._retry_at: dict[tuple[str, str], float] = {}
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self.fault = ""
        """Why the latest delivery failed, in words; empty if it did not."""

    def stop(self) -> None:
        """Ask ``run`` to return after the delivery in progress."""
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Wait for the delivery in progress, at most some time.

        What is delivered while the program ends is not recorded, and sent again by the next one.
        """
        if self._turn.acquire(timeout=seconds):
            self._turn.release()

    def run(self) -> None:
        """Send notices until ``stop``."""
        while not self._stop.wait(LOOK_SECONDS):
            self.turn()

    def turn(self, *, is_last: bool = False) -> None:
        """Send what is due. ``is_last``: what has only just happened, too.

        For any thread: one turn waits for the other, so that nothing is sent twice.
        """
        with self._turn:
            targets = self._targets()
            if not targets:
                self.fault = ""
                return
            try:
                with self._unexpected.passing_over("monitoring", "notices"):
                    self._send_due(self._lasting(self._events(), is_last=is_last), targets)
            except LedgerError as error:  # the dispatch loop decides what that means
                _log.warning("notices: %s", error)

    def _lasting(self, notices: Sequence[Notice], *, is_last: bool) -> list[Notice]:
        """Return the notices on problems that have lasted for a while, and all others."""
        now = self._clock()
        self._since = {notice.key: self._since.get(notice.key, now) for notice in notices}
        return [
            notice
            for notice in notices
            if is_last or not notice.is_bad or now - self._since[notice.key] >= LASTING_SECONDS
        ]

    def _send_due(self, notices: Sequence[Notice], targets: Sequence[NotifyTarget]) -> None:
        for notice in notices:
            for target in targets:
                if self._stop.is_set():
                    return
                place = (notice.key, target.name)
                tries = self._record.failures(*place)
                is_due = self._clock() >= self._retry_at.get(place, float("-inf"))
                if is_due and tries < MOST_TRIES and not self._record.is_sent(*place):
                    self._try(notice, target, tries + 1)

    def _try(self, notice: Notice, target: NotifyTarget, number: int) -> None:
        place = (notice.key, target.name)
        title = f"livepick {self._session}: {notice.subject}"
        body = f"{notice.body}\n\n{self._link}"
        try:
            why = self._send(address_of(target), title, body, is_bad=notice.is_bad)
        except ConfigError as error:
            why = error.what
        if not why:
            self._record.sent(*place)
            self._counter.sent()
            self.fault = ""
            _log.info("notices: sent to %s: %s", target.name, notice.subject)
            return
        self._record.failed(*place)
        self._counter.failed(given_up=number >= MOST_TRIES)
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (number - 1), LONGEST_PAUSE_SECONDS)
        self._retry_at[place] = self._clock() + pause
        self.fault = f"{target.name}: {why}"
        left = "given up" if number >= MOST_TRIES else f"tried again in {pause:.0f} s"
        _log.warning("notices: %s: not sent, %s: %s", notice.subject, left, self.fault)

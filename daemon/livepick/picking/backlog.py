"""Messages that the dispatch loop has taken from its inbox and not handled yet.

Arrivals and CTF figures can come in thousands: a folder is copied, a share comes back. They have a
queue of their own, of which each turn of the loop handles a small part. All other messages are few
and come first, above all the ends of jobs: workers are never idle because of a burst of arrivals.
"""

import itertools
from collections import deque

from livepick.ledger.inbox import CtfFound, Finished, Landed, Message, SetAside

__all__ = ["Backlog"]


class Backlog:
    """The messages, each kind in the order in which it came. For one thread.

    Attributes
    ----------
    urgent
        Messages that are all handled in the next turn.
    bulk
        Messages of which a few are handled in each turn.
    """

    def __init__(self) -> None:
        self.urgent: deque[Message] = deque()
        self.bulk: deque[Landed | SetAside | CtfFound] = deque()

    def __bool__(self) -> bool:
        return bool(self.urgent or self.bulk)

    def add(self, message: Message) -> None:
        """Add a message."""
        if isinstance(message, Landed | SetAside | CtfFound):
            self.bulk.append(message)
        else:
            self.urgent.append(message)

    def arrivals(self, most: int) -> list[Landed | SetAside]:
        """Return the arrivals at the head of ``bulk``, at most this many; they stay there."""
        found: list[Landed | SetAside] = []
        for message in itertools.islice(self.bulk, most):
            if isinstance(message, CtfFound):
                break
            found.append(message)
        return found

    def results(self, most: int) -> list[Finished]:
        """Return the jobs with a result at the head of ``urgent``, at most this many."""
        found: list[Finished] = []
        for message in itertools.islice(self.urgent, most):
            if not isinstance(message, Finished) or not _has_result(message):
                break
            found.append(message)
        return found


def _has_result(finished: Finished) -> bool:
    return not finished.future.cancelled() and finished.future.exception() is None

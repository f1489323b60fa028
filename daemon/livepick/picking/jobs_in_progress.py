"""The jobs in progress: which micrograph starts next, and when.

A suspect is a micrograph that ended its worker or exceeded a limit. It is tried again alone: the
others wait for it, but only for ``ALONE_SECONDS``.
"""

import time
from collections.abc import Collection
from pathlib import Path

from livepick.errors import MemoryLimitError
from livepick.ledger.rows import Claim
from livepick.ledger.writer import LedgerWriter

__all__ = ["JobsInProgress"]

ALONE_SECONDS = 20.0
"""Time that others wait for a micrograph that is to be tried alone: before it, for jobs in progress
to end, and while it runs. Then they continue beside it, so that one file that hangs cannot stop the
session. For one that needs much memory they wait until it has ended."""

ENGINE_PAUSE_SECONDS = 10.0
"""Time between tries while no worker can be started."""

LOOK_SECONDS = 0.5
"""Time between two looks for due micrographs in a ledger that has not changed."""

STEP_SECONDS = 5.0
"""Most that one turn adds to the time without a finished job, as the machine may be suspended."""


class JobsInProgress:
    """The micrographs that workers have. For one thread.

    Parameters
    ----------
    ledger
        Source of the micrographs that wait.
    """

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ledger = ledger
        self._claims: set[Claim] = set()
        self._engine_retry_at = 0.0
        self._wait_for_suspect_until = 0.0
        self._others_first = False
        self._nothing_is_due = _NothingIsDue()
        self.all_are_claimed = False
        """True if workers were free for more micrographs at the last look, and none was due."""
        self._counted_at = time.monotonic()
        self.unfinished_seconds = 0.0
        """Time for which there have been jobs in progress, or no workers, and no job has finished.
        """
        self.longest_seconds = 0.0
        """Time limit of the jobs in progress."""

    def __len__(self) -> int:
        return len(self._claims)

    def free_slots(self, capacity: int) -> int:
        """Return how many jobs may be started now, if workers take ``capacity`` at a time."""
        self.all_are_claimed = False
        now = time.monotonic()
        if now < self._engine_retry_at:
            return 0
        suspects = self._suspects()
        if suspects and now < self._wait_for_suspect_until:
            return 0
        if any(claim.last_reason == MemoryLimitError.reason for claim in suspects):
            return 0
        return capacity - len(self._claims)

    def claim(self, most: int, *, without: Collection[Path]) -> list[Claim]:
        """Claim the micrographs that start now, at most this many; say ``begin`` of each.

        Parameters
        ----------
        most
            Number of free slots.
        without
            Watched folders that cannot be read now.

        Raises
        ------
        LedgerWriteError
            Writing to the ledger failed.
        """
        if self._nothing_is_due.holds(self._ledger.changes, without):
            self.all_are_claimed = True
            return []
        suspect_is_due = not self._suspects() and self._ledger.suspects(without=without)
        claims: list[Claim] = []
        if not suspect_is_due or self._others_first:
            claims = self._ledger.claim(most, without=without)
            self._others_first = False
        if suspect_is_due and not claims:
            claims = self._claim_suspect(without)
        if not claims and not suspect_is_due:
            self._nothing_is_due.note(self._ledger.changes, without)
        self.all_are_claimed = len(claims) < most and not suspect_is_due
        return claims

    def begin(self, claim: Claim) -> None:
        """Note that a job is in progress."""
        self._claims.add(claim)

    @property
    def has_suspect(self) -> bool:
        """True while a micrograph that a worker crashed on is in progress."""
        return bool(self._suspects())

    def is_alone(self, claim: Claim) -> bool:
        """Return True if a job in progress is that of a suspect, and the only one."""
        return claim.crashes > 0 and self._claims == {claim}

    def limited_to(self, seconds: float) -> None:
        """Note the time limit of a job in progress."""
        self.longest_seconds = max(seconds, self.longest_seconds)

    def drop(self, claim: Claim) -> None:
        """Note that a job is no longer in progress."""
        self._claims.discard(claim)

    def finished(self, claim: Claim) -> None:
        """Note that a worker has finished a job, whatever its outcome."""
        self.drop(claim)
        self.unfinished_seconds = 0.0
        if not self._claims:
            self.longest_seconds = 0.0
        if claim.crashes:
            self._wait_for_suspect_until = 0.0
            self._others_first = True  # many suspects in a row must not stop the session

    def engine_failed(self, claim: Claim) -> None:
        """Note that no worker could be started for a job. It is not a sign of life."""
        self.drop(claim)
        self._engine_retry_at = time.monotonic() + ENGINE_PAUSE_SECONDS

    def count_time(self, *, has_workers: bool) -> None:
        """Add the time since the last call to ``unfinished_seconds``, if something is awaited."""
        now = time.monotonic()
        elapsed, self._counted_at = min(now - self._counted_at, STEP_SECONDS), now
        is_waiting = bool(self._claims) or not has_workers
        self.unfinished_seconds = self.unfinished_seconds + elapsed if is_waiting else 0.0

    def _claim_suspect(self, without: Collection[Path]) -> list[Claim]:
        """Claim a suspect once it can run alone, or has waited for that for long enough."""
        now = time.monotonic()
        if not self._wait_for_suspect_until:
            self._wait_for_suspect_until = now + ALONE_SECONDS
        if self._claims and now < self._wait_for_suspect_until:
            return []
        self._wait_for_suspect_until = now + ALONE_SECONDS  # from now on, while it runs
        return self._ledger.claim(1, suspects=True, without=without)

    def _suspects(self) -> list[Claim]:
        return [claim for claim in self._claims if claim.crashes]


class _NothingIsDue:
    """The last time that no micrograph was due.

    The loop asks several times for each micrograph. While the ledger is as it was, and for a
    moment (delays of retries end), the answer is the same.
    """

    def __init__(self) -> None:
        self._known: tuple[int, frozenset[Path]] | None = None
        self._until = 0.0

    def note(self, changes: int, without: Collection[Path]) -> None:
        """Note that nothing is due now."""
        self._known, self._until = (changes, frozenset(without)), time.monotonic() + LOOK_SECONDS

    def holds(self, changes: int, without: Collection[Path]) -> bool:
        """Return True if still nothing is due."""
        return self._known == (changes, frozenset(without)) and time.monotonic() < self._until

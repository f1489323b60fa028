"""Final picks: those of a trained model, and all others once no training is to come.

RELION's Extract job never reads a micrograph twice, so a RELION project gets only final picks,
unless the config says otherwise. Picks of the first picker are final if the last training has
failed or its model was kept aside, if they are never picked again (``picking.repick: none``), and
if the session has ended: nothing has been picked for ``SESSION_SECONDS``, and no training is
running. An edit of the config that starts another training does not take back what has been
published.
"""

import time
from collections.abc import Callable

from livepick.config.alert_thresholds import SESSION_SECONDS
from livepick.core.contracts.bundle import is_provisional
from livepick.ledger.reader import LedgerReader

__all__ = ["Finality"]

LOOK_SECONDS = 5.0
"""Shortest interval between two queries of the ledger."""


class Finality:
    """Tells whether picks are final. ``has_come`` is for one thread, ``is_final`` for any.

    Parameters
    ----------
    ledger
        Source of the training runs.
    repicks
        Function that returns True if a new model picks micrographs again.
    """

    def __init__(self, ledger: LedgerReader, repicks: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._repicks = repicks
        self._over = False
        self._asked_at = float("-inf")
        self._had_come = False

    def is_final(self, kind: str | None) -> bool:
        """Return True if the picks of a kind of model are final; None: of any."""
        return (kind is not None and not is_provisional(kind)) or self.no_better_to_come()

    def has_come(self) -> bool:
        """Return True if provisional picks have become final since the last call."""
        before, self._had_come = self._had_come, self.no_better_to_come()
        return self._had_come and not before

    def no_better_to_come(self) -> bool:
        """Return True if provisional picks are final, as of the last query of the ledger."""
        if time.monotonic() - self._asked_at >= LOOK_SECONDS:
            self._asked_at = time.monotonic()
            self._over = self._is_over()
        return self._over

    def _is_over(self) -> bool:
        if not self._repicks():
            return True
        runs = self._ledger.runs()
        latest = max(runs, key=lambda run: run.version, default=None)
        if latest is not None and latest.state in ("failed", "kept_aside", "running"):
            return latest.state != "running"
        last_picked_at = self._ledger.last_picked_at()
        return last_picked_at is not None and time.time() - last_picked_at > SESSION_SECONDS

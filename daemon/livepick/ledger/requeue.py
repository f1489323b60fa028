"""Requeueing of micrographs: after a restart, for another model, or when a folder is back."""

from collections.abc import Callable
from pathlib import Path

from livepick.config.sections import Repick
from livepick.errors import PoisonError
from livepick.ledger.columns import FRESH, REPICK_PRIORITY
from livepick.ledger.database import Database
from livepick.ledger.record_arrivals import drop_result

__all__ = ["MAX_INTERRUPTIONS", "Requeue"]

MAX_INTERRUPTIONS = 10
"""A micrograph is given up if it was being picked this many times when the service ended."""


class Requeue:
    """Moves many micrographs to the queue, or back from it."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def recover(self) -> int:
        """Queue again what was being picked when the last service ended; return how many.

        Retry delays are reset, and micrographs that failed because of the model are queued again.
        """
        now = self._clock()
        poison = PoisonError(
            f" was being picked each of the {MAX_INTERRUPTIONS} times that the service ended",
            "Open it in another program. To have it tried again, copy it to the folder again.",
        )
        with self._database.transaction():
            self._database.change(
                "update micrograph set not_before = 0 where state = 'queued' and not_before > 0"
            )
            hopeless = self._database.rows(
                "select id from micrograph where state = 'picking' and interruptions >= ?",
                MAX_INTERRUPTIONS - 1,
            )
            for (micrograph_id,) in hopeless:
                drop_result(self._database, micrograph_id)
                self._database.change(
                    "update micrograph set state = 'failed', changed_at = ?, reason = ?,"
                    " error = relative || ?, remedy = ?, interruptions = interruptions + 1"
                    " where id = ? and state = 'picking'",
                    now,
                    poison.reason,
                    poison.what,
                    poison.remedy,
                    micrograph_id,
                )
            self._queue_model_failures(now)
            return self._database.change(
                "update micrograph set state = 'queued', changed_at = ?,"
                " interruptions = interruptions + 1 where state = 'picking'",
                now,
            )

    def stale(
        self, model_version: int, *, repick: Repick, threshold: float, for_all: bool = False
    ) -> int:
        """Queue the micrographs due to be picked again, behind new arrivals; return how many.

        Parameters
        ----------
        model_version
            Version of the model used from now on.
        repick
            Which picks it replaces: those of blob pickers, those of all other models, or none.
        threshold
            Its threshold. Micrographs that this model picked with another threshold are due too.
        for_all
            True if the threshold also applies to micrographs picked by other models. A threshold
            set by a person applies to all models; a model's own applies only to that model.
        """
        now = self._clock()
        with self._database.transaction():
            self._queue_model_failures(now)
            return self._database.change(
                "update micrograph set state = 'queued', priority = :priority,"  # noqa: S608
                f" queued_at = :now, changed_at = :now, {FRESH}"
                " where state = 'picked' and :repick <> 'none' and ("
                "  (model_version <> :version and (:repick = 'all' or model_kind = 'blob'))"
                "  or (abs(threshold - :threshold) > 1e-4"
                "      and (model_version = :version or :for_all)))",
                priority=REPICK_PRIORITY,
                now=now,
                repick=repick,
                version=model_version,
                threshold=threshold,
                for_all=for_all,
            )

    def cancel_stale(self) -> int:
        """Remove micrographs waiting to be picked again from the queue; return how many.

        They keep their picks. Micrographs that a worker already has are still picked again.
        """
        with self._database.transaction():
            return self._database.change(
                f"update micrograph set state = 'picked', changed_at = ?, {FRESH}"  # noqa: S608
                " where state = 'queued' and picked_content is content",
                self._clock(),
            )

    def vanished(self, root: Path) -> int:
        """Queue micrographs that failed to read while ``root`` was away; return how many."""
        now = self._clock()
        with self._database.transaction():
            return self._database.change(
                "update micrograph set state = 'queued',"  # noqa: S608 - a constant
                f" queued_at = ?, changed_at = ?, {FRESH}"
                " where state = 'failed' and root = ? and reason in ('vanished', 'io')",
                now,
                now,
                str(root),
            )

    def _queue_model_failures(self, now: float) -> None:
        self._database.change(
            "update micrograph set state = 'queued',"  # noqa: S608 - a constant
            f" queued_at = ?, changed_at = ?, {FRESH}"
            " where state = 'failed' and reason = 'model'",
            now,
            now,
        )

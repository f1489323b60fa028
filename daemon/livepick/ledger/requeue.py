"""Requeueing of micrographs: after a restart, for another model, or when a folder is back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from livepick.config.sections import Repick
from livepick.core.contracts.bundle import PROVISIONAL_KINDS
from livepick.errors import PoisonError
from livepick.ledger.columns import FRESH, NEW_PRIORITY, REPICK_PRIORITY
from livepick.ledger.database import Database
from livepick.ledger.record_failure import record_failure
from livepick.ledger.rows import Failure

__all__ = ["MAX_CRASHES", "MAX_INTERRUPTIONS", "Requeue", "RetryFailed"]

RetryFailed = Literal["all", "harmless", "none"]
"""Which micrographs to try again of those that could not be picked again before. ``harmless``: all
but those that stopped a worker or the service."""

MAX_CRASHES = 3
"""A micrograph is given up after this many worker crashes in a row, all but the first alone."""

LAST_CRASH = MAX_CRASHES - 1

MAX_INTERRUPTIONS = 20
"""A micrograph is given up if it was being picked this many times when the service, or its worker,
was ended by something else."""

SUSPICIOUS_INTERRUPTIONS = 3
"""From this many interruptions on, a micrograph is picked alone and after the others: it may be the
one that ends the service, and must not take others along."""

SECOND_CHANCE = ("poison", "time_limit", "memory")
"""Failures for which a micrograph is tried once more after each start: the cause may have been the
machine, a file system or a setting."""


_STALE = (
    "state = 'picked' and reason is null and :repick <> 'none' and ("
    "  (model_version <> :version and (:repick = 'all'"
    "   or model_kind in (select value from json_each(:provisional))))"
    "  or (abs(threshold - :threshold) > 1e-4 and (model_version = :version or :for_all)))"
)
"""Condition of micrographs that are due to be picked again."""

_LATE = "state in ('failed', 'picked') and not_before > 0 and reason is not null and not_before < ?"
"""Condition of failed micrographs whose time for a late try has come. Queries name its index: by
another one they would read all picked micrographs, every second."""


class Requeue:
    """Moves many micrographs to the queue, or back from it."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def recover(self) -> int:
        """Queue again what was being picked when the last service ended; return how many.

        Retry delays are reset. Micrographs that failed because of the model are queued again, and
        so are those that ended or occupied their worker, which get one more try.
        """
        now = self._clock()
        poison = PoisonError(
            f" was being picked each of the {MAX_INTERRUPTIONS} times that the service ended",
            "Open it in another program. It is tried once more after the next start.",
        )
        with self._database.transaction():
            self._database.change(
                "update micrograph set not_before = 0 where state = 'queued' and not_before > 0"
            )
            self._give_second_chance(now)  # before others fail, which have had their last try
            hopeless = self._database.rows(
                "select id, relative from micrograph where state = 'picking'"
                " and interruptions >= ?",
                MAX_INTERRUPTIONS - 1,
            )
            for micrograph_id, relative in hopeless:
                failure = Failure(poison.reason, f"{relative}{poison.what}", poison.remedy)
                record_failure(self._database, micrograph_id, failure, now)
                self._database.change(
                    "update micrograph set interruptions = interruptions + 1 where id = ?",
                    micrograph_id,
                )
            self._queue_model_failures(now)
            return self._database.change(
                "update micrograph set state = 'queued', changed_at = :now,"
                " interruptions = interruptions + 1,"
                " queued_at = case when interruptions + 1 >= :many then :now else queued_at end,"
                " crashes = case when interruptions + 1 >= :many then max(crashes, 1)"
                "  else crashes end"
                " where state = 'picking'",
                now=now,
                many=SUSPICIOUS_INTERRUPTIONS,
            )

    def stale(
        self,
        model_version: int,
        *,
        repick: Repick,
        threshold: float,
        for_all: bool = False,
        retry_failed: RetryFailed = "all",
        most: int = -1,
    ) -> int:
        """Queue the micrographs due to be picked again, behind new arrivals; return how many.

        Parameters
        ----------
        model_version
            Version of the model used from now on.
        repick
            Which picks it replaces: those of first pickers, those of all other models, or none.
        threshold
            Its threshold. Micrographs that this model picked with another threshold are due too.
        for_all
            True if the threshold also applies to micrographs picked by other models. A threshold
            set by a person applies to all models; a model's own applies only to that model.
        retry_failed
            Which to try again of those that could not be picked again before.
        most
            Maximum number besides those, because many take seconds. -1: all.
        """
        now = self._clock()
        with self._database.transaction():
            self._queue_model_failures(now)
            self._database.change(
                "update micrograph set reason = null, error = null, remedy = null"
                " where state = 'picked' and reason is not null"
                " and model_version = ? and abs(threshold - ?) <= 1e-4",
                model_version,
                threshold,
            )
            return self._database.change(
                "update micrograph set state = 'queued', priority = :priority,"  # noqa: S608
                f" queued_at = :now, changed_at = :now, {FRESH}"
                f" where id in (select id from micrograph where {_STALE} limit :most)"
                " or id in (select id from micrograph indexed by micrograph_repick_failed"
                "  where state = 'picked' and reason is not null and :repick <> 'none'"
                "  and (:retry = 'all' or (:retry = 'harmless'"
                "   and reason not in (select value from json_each(:harmful)))))",
                most=most,
                priority=REPICK_PRIORITY,
                now=now,
                repick=repick,
                version=model_version,
                threshold=threshold,
                for_all=for_all,
                retry=retry_failed,
                provisional=json.dumps(PROVISIONAL_KINDS),
                harmful=json.dumps(SECOND_CHANCE),
            )

    def stale_count(
        self, model_version: int, *, repick: Repick, threshold: float, for_all: bool = False
    ) -> int:
        """Return how many micrographs ``stale`` would queue, besides earlier failures."""
        rows = self._database.named_rows(
            f"select count(*) from micrograph where {_STALE}",  # noqa: S608 - a constant
            repick=repick,
            version=model_version,
            threshold=threshold,
            for_all=for_all,
            provisional=json.dumps(PROVISIONAL_KINDS),
        )
        return int(rows[0][0])

    def cancel_stale(self) -> int:
        """Remove micrographs waiting to be picked again from the queue; return how many.

        They keep their picks. Micrographs that a worker already has are still picked again.
        Failures to pick others again are forgotten.
        """
        with self._database.transaction():
            self._database.change(
                f"update micrograph set {FRESH}"  # noqa: S608 - a constant
                " where state = 'picked' and reason is not null"
            )
            return self._database.change(
                f"update micrograph set state = 'picked', changed_at = ?, {FRESH}"  # noqa: S608
                " where state = 'queued' and picked_content is content",
                self._clock(),
            )

    def vanished(self, root: Path) -> int:
        """Queue micrographs that failed to read while ``root`` was away; return how many.

        Those that failed to be picked again are among them.
        """
        now = self._clock()
        with self._database.transaction():
            return self._database.change(
                "update micrograph set state = 'queued', priority = iif(state = 'picked', ?, ?),"  # noqa: S608
                f" queued_at = ?, changed_at = ?, {FRESH}"
                " where state in ('failed', 'picked') and root = ?"
                " and reason in ('vanished', 'io', 'time_limit')",
                REPICK_PRIORITY,
                NEW_PRIORITY,
                now,
                now,
                str(root),
            )

    def late(self) -> int:
        """Queue the failed micrographs whose time for a late try has come; return how many.

        Their tries count on, and their failure stays until there is another outcome.
        """
        now = self._clock()
        if not self._database.rows(
            f"select 1 from micrograph indexed by micrograph_late where {_LATE} limit 1",  # noqa: S608
            now,
        ):
            return 0
        with self._database.transaction():
            return self._database.change(
                "update micrograph indexed by micrograph_late"  # noqa: S608 - a constant
                " set state = 'queued', priority = iif(state = 'picked', ?, ?),"
                f" queued_at = ?, changed_at = ?, not_before = 0 where {_LATE}",
                REPICK_PRIORITY,
                NEW_PRIORITY,
                now,
                now,
                now,
            )

    def _give_second_chance(self, now: float) -> None:
        """Queue micrographs that ended or occupied their worker, for one try alone."""
        self._database.change(
            "update micrograph set state = 'queued', queued_at = :now, changed_at = :now,"
            " crashes = :crashes, interruptions = min(interruptions, :interruptions)"
            " where state = 'failed' and reason in (select value from json_each(:reasons))",
            now=now,
            crashes=LAST_CRASH,
            interruptions=MAX_INTERRUPTIONS - 1,
            reasons=json.dumps(SECOND_CHANCE),
        )

    def _queue_model_failures(self, now: float) -> None:
        self._database.change(
            "update micrograph set state = 'queued',"  # noqa: S608 - a constant
            f" queued_at = ?, changed_at = ?, {FRESH}"
            " where state = 'failed' and reason = 'model'",
            now,
            now,
        )

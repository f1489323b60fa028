"""The one writer of the ledger: claims, results and failures of micrographs.

It belongs to the dispatch thread. Each transition is one ``UPDATE`` that names the state it comes
from. If no row was updated, that is a bug and raises RuntimeError.
"""

import json
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from livepick.core.contracts.job import Result
from livepick.core.formats.header import printable
from livepick.core.imaging.quality_limits import judge
from livepick.errors import LivepickError, VanishedFileError
from livepick.ledger.columns import (
    CTF_FIGURES,
    FRESH,
    QUALITY_FIGURES,
    ctf_of,
)
from livepick.ledger.database import Database
from livepick.ledger.person_verdicts import PersonVerdicts
from livepick.ledger.reader import LedgerReader
from livepick.ledger.record_arrivals import Arrivals
from livepick.ledger.record_ctf import CtfRecords
from livepick.ledger.record_failure import record_failure
from livepick.ledger.record_recovered import record_recovered
from livepick.ledger.requeue import Requeue
from livepick.ledger.rows import Claim, Failure, LateTry, RecoveredPicks
from livepick.ledger.session_state import SessionState

__all__ = ["LedgerWriter"]


LONGEST_DELAY_SECONDS = 120.0
"""More than any delay of a retry. One that is longer comes from a clock that was set back, and does
not count."""

_CTF_OF = f"select {', '.join(CTF_FIGURES)} from micrograph where id = ?"  # noqa: S608 - constants

_DUE = "(not_before <= ? or not_before > ?)"


class LedgerWriter:
    """Writer of the ledger, for one thread of one process.

    Parameters
    ----------
    database
        A writable ledger.
    clock
        Function that returns the time in unix seconds.

    Raises
    ------
    LedgerWriteError
        From every method that writes: nothing was changed; a later try may succeed.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.reader = LedgerReader(database)
        """Queries on the same connection: they see the open transaction."""
        self.arrivals = Arrivals(database, clock)
        self.ctf = CtfRecords(database, clock)
        self.people = PersonVerdicts(database, clock)
        self.requeue = Requeue(database, clock)
        self.session = SessionState(database, clock)
        self._clock = clock

    @property
    def changes(self) -> int:
        """Number of changes so far; while it stays the same, so does the ledger."""
        return self.database.changes

    def claim(
        self, limit: int, *, suspects: bool = False, without: Collection[Path] = ()
    ) -> list[Claim]:
        """Move up to ``limit`` micrographs from queued to picking, the most urgent first.

        Parameters
        ----------
        limit
            Maximum number of micrographs.
        suspects
            True to take only micrographs that a worker crashed on, False to take only the others.
        without
            Watched folders that are unavailable.
        """
        now = self._clock()
        # One statement is a transaction of its own.
        rows = self.database.rows(
            "update micrograph set state = 'picking', attempt = attempt + 1, changed_at = ?"  # noqa: S608
            " where id in (select id from micrograph where state = 'queued'"
            f"   and {_DUE} and (crashes > 0) = ?"
            "   and root not in (select value from json_each(?))"
            "   order by priority, queued_at, id limit ?)"
            " returning *, picked_content is content as repick",
            now,
            now,
            now + LONGEST_DELAY_SECONDS,
            suspects,
            json.dumps([str(root) for root in without]),
            limit,
        )
        rows.sort(key=lambda row: (row["priority"], row["queued_at"], row["id"]))
        return [Claim.of(row) for row in rows]

    def suspects(self, *, without: Collection[Path] = ()) -> bool:
        """Return True if a micrograph that a worker crashed on is due."""
        now = self._clock()
        return bool(
            self.database.rows(
                "select 1 from micrograph indexed by micrograph_suspect"  # noqa: S608
                " where state = 'queued' and crashes > 0"
                f" and {_DUE} and root not in (select value from json_each(?)) limit 1",
                now,
                now + LONGEST_DELAY_SECONDS,
                json.dumps([str(root) for root in without]),
            )
        )

    def holds(self, claim: Claim) -> bool:
        """Return True if this claim is still the latest of its micrograph."""
        return bool(
            self.database.rows(
                "select 1 from micrograph where id = ? and state = 'picking' and attempt = ?",
                claim.id,
                claim.attempt,
            )
        )

    def recovered(self, micrographs: Iterable[RecoveredPicks], *, repick: bool) -> int:
        """Record picks that were read back from the output folder, in one commit.

        ``repick``: True to queue the micrographs behind all others. Returns how many were recorded:
        what the ledger has learned since stays.
        """
        now = self._clock()
        with self.database.transaction():
            return sum(
                record_recovered(self.database, found, repick=repick, now=now)
                for found in micrographs
            )

    def picked(self, claim: Claim, result: Result) -> None:
        """Record a result whose coordinates have been written to disk."""
        now = self._clock()
        known = self.database.rows(_CTF_OF, claim.id)[0]
        verdict, why = judge(result.quality, ctf_of(known))
        figures: dict[str, object] = {
            "picked_at": now,
            "changed_at": now,
            "model_version": result.model_version,
            "model_kind": result.model_kind,
            "threshold": float(result.threshold),
            "pick_count": result.picks.count_above(result.threshold),
            "pixel_size_angstrom": float(result.pixel_size_angstrom),
            "height_px": result.shape_px[0],
            "width_px": result.shape_px[1],
            **{name: _float_or_none(getattr(result.quality, name)) for name in QUALITY_FIGURES},
            "quality_verdict": verdict,
            "quality_reason": why,
            "note_kinds": ",".join(sorted({note.kind for note in result.notes})) or None,
            "notes": printable("; ".join(note.text for note in result.notes)) or None,
            "provider": result.provider,
            "read_seconds": result.seconds.read,
            "preprocess_seconds": result.seconds.preprocess,
            "infer_seconds": result.seconds.infer,
            "peaks_seconds": result.seconds.peaks,
        }
        columns = ", ".join(f"{name} = ?" for name in figures)
        with self.database.transaction():
            self.database.change(
                "insert into picks values (?, ?)"
                " on conflict do update set candidates = excluded.candidates",
                claim.id,
                result.picks.to_bytes(),
            )
            self._leave_picking(
                claim,
                f"state = 'picked', picked_content = content, {FRESH}, {columns}",
                *figures.values(),
            )
            self.people.apply(claim.id)

    def failed(self, claim: Claim, error: LivepickError, *, late: LateTry | None = None) -> None:
        """Record that a micrograph could not be picked; see ``record_failure`` for its picks.

        ``late``: when ``requeue.late`` tries it again. None: only something new makes that happen.
        """
        now = self._clock()
        with self.database.transaction():
            self._leave_picking(claim, "state = 'queued'")
            record_failure(self.database, claim.id, Failure.of(error), now)
            if late is not None:
                self.database.change(
                    "update micrograph set tries = ?, not_before = ? where id = ?",
                    late.tries,
                    now + late.delay_seconds,
                    claim.id,
                )

    def retry(self, claim: Claim, error: LivepickError, *, delay_seconds: float) -> None:
        """Queue a micrograph again after a transient error; this counts as a try.

        One whose file is gone goes behind the others: after many were deleted, their tries must not
        hold up new files.
        """
        now = self._clock()
        self._back(
            claim,
            "tries = tries + 1, queued_at = iif(?, ?, queued_at), not_before = ?, reason = ?,"
            " error = ?, remedy = ?",
            isinstance(error, VanishedFileError),
            now,
            now + delay_seconds,
            error.reason,
            printable(error.what),
            printable(error.remedy),
        )

    def released(self, claim: Claim) -> None:
        """Queue a micrograph again, behind the others, without counting a try."""
        self._back(claim, "queued_at = ?", self._clock())

    def suspected(self, claim: Claim, error: LivepickError) -> None:
        """Queue a micrograph again, to be tried alone, after it ended or occupied its worker."""
        self._back(
            claim,
            "crashes = crashes + 1, reason = ?, error = ?, remedy = ?",
            error.reason,
            printable(error.what),
            printable(error.remedy),
        )

    def interrupted(self, claim: Claim, *, delay_seconds: float) -> None:
        """Queue a micrograph again, behind the others, after its worker was killed from outside."""
        now = self._clock()
        self._back(
            claim,
            "interruptions = interruptions + 1, queued_at = ?, not_before = ?",
            now,
            now + delay_seconds,
        )

    def _back(self, claim: Claim, assignments: str, *values: object) -> None:
        with self.database.transaction():
            self._leave_picking(
                claim, f"state = 'queued', changed_at = ?, {assignments}", self._clock(), *values
            )

    def _leave_picking(self, claim: Claim, assignments: str, *values: object) -> None:
        self.database.change_one(
            f"update micrograph set {assignments}"  # noqa: S608 - ours, no values
            " where id = ? and state = 'picking' and attempt = ?",
            *values,
            claim.id,
            claim.attempt,
            otherwise=f"{claim.relative}: attempt {claim.attempt} is not in progress",
        )


def _float_or_none(value: float | None) -> float | None:
    return None if value is None else float(value)

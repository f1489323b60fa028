"""Recording of the files that arrive: micrographs to be picked, and files that cannot be picked."""

from collections.abc import Callable, Sequence
from pathlib import Path

from livepick.config.alert_thresholds import GAPS
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.image_names import without_compression
from livepick.ledger.columns import (
    CTF_COLUMNS,
    FRESH,
    NEW_PRIORITY,
    PASSING,
    REPICK_PRIORITY,
    Columns,
    stored_version,
    version_of,
)
from livepick.ledger.database import Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.record_failure import record_failure
from livepick.ledger.rows import Arrival, Failure
from livepick.ledger.session_state import write_setting

__all__ = ["Arrivals"]


class Arrivals:
    """Records files that landed or were set aside."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._reader = LedgerReader(database)
        self._clock = clock

    def landed(self, root: Path, relative: Path, version: FileVersion, landed_at: float) -> Arrival:
        """Queue a complete file, unless its content is already known.

        New content of a known path is queued whatever the state of the row. If the old content is
        still being picked, its result will be refused. Known content that could not be picked, or
        not be picked again, for a reason outside the file is queued again.

        A micrograph that was compressed or decompressed in place stays the same one under its new
        name: it keeps its row, and its picks unless the content is newer.
        """
        now = self._clock()
        with self._database.transaction():
            row = self._find(root, relative)
            if (twin := self._twin(root, relative)) is not None:
                row, is_same = self._take_over(row, twin, relative, version)
                if is_same and row["state"] in ("queued", "picking"):
                    # A worker that has it may not find its old name any more.
                    self._move(
                        row,
                        f"state = 'queued', attempt = attempt + 1, changed_at = ?, {FRESH}",
                        now,
                    )
                    return Arrival.KNOWN
            if row is None:
                self._insert(root, relative, version, state="queued", landed_at=landed_at)
                return Arrival.NEW
            changed = version_of(row) != version
            settled = row["state"] in ("failed", "picked")
            if not changed and not (settled and row["reason"] in PASSING):
                return Arrival.KNOWN
            if not changed and row["state"] == "picked":
                self._move(
                    row,
                    f"state = 'queued', priority = ?, queued_at = ?, changed_at = ?, {FRESH}",
                    REPICK_PRIORITY,
                    now,
                    now,
                )
                return Arrival.AGAIN
            self._renew(row, version, landed_at)
            self._move(row, f"state = 'queued', queued_at = ?, changed_at = ?, {FRESH}", now, now)
            if changed:
                return Arrival.CHANGED
            # A file set aside before the first try is complete only now, e.g. after a late sidecar.
            return Arrival.AGAIN if row["attempt"] else Arrival.NEW

    def collected(self, landings: Sequence[float]) -> None:
        """Record the landing times of micrographs, in unix seconds, oldest first."""
        with self._database.transaction():
            write_setting(
                self._database,
                "collected",
                [*self._reader.last_collected(), *landings][-GAPS - 1 :],
            )

    def set_aside(
        self,
        root: Path,
        relative: Path,
        version: FileVersion,
        landed_at: float,
        failure: Failure,
    ) -> Arrival:
        """Record a file that cannot be picked as failed.

        It is ignored (``KNOWN``) if the same content has already failed or been picked.
        """
        with self._database.transaction():
            row = self._find(root, relative)
            if row is None:
                self._insert(
                    root,
                    relative,
                    version,
                    state="failed",
                    landed_at=landed_at,
                    **failure.printable()._asdict(),
                )
                return Arrival.NEW
            changed = version_of(row) != version
            if not changed and row["state"] in ("picked", "failed"):
                return Arrival.KNOWN
            self._renew(row, version, landed_at)
            if record_failure(self._database, row["id"], failure, self._clock()):
                return Arrival.KEPT
            return Arrival.CHANGED if changed else Arrival.AGAIN

    def _find(self, root: Path, relative: Path) -> Columns | None:
        rows = self._database.rows(
            "select * from micrograph where root = ? and relative = ?", str(root), str(relative)
        )
        return rows[0] if rows else None

    def _twin(self, root: Path, relative: Path) -> Columns | None:
        """Return the row of the same micrograph, compressed in another way, or None."""
        name = str(relative)
        plain = without_compression(name)
        rows = self._database.rows(
            "select * from micrograph where root = ? and relative >= ? and relative < ?",
            str(root),
            plain,
            plain + "/",  # the character after the dot
        )
        return next(
            (
                row
                for row in rows
                if row["relative"] != name and without_compression(row["relative"]) == plain
            ),
            None,
        )

    def _take_over(
        self, own: Columns | None, twin: Columns, relative: Path, version: FileVersion
    ) -> tuple[Columns, bool]:
        """Make one row of those that a micrograph has under two names, with the name ``relative``.

        The file with the other name has gone, or gives way to this one. Returns the row, which has
        ``version`` if its content is the same; and if it is.
        """
        if own is not None and own["picked_content"] is not None:
            self._database.change("delete from micrograph where id = ?", twin["id"])
            return own, False
        if own is not None:
            self._database.change("delete from micrograph where id = ?", own["id"])
        is_same = twin["state"] != "failed" and _is_kept_time(twin["mtime_ns"], version.mtime_ns)
        figures = {
            "relative": str(relative),
            "changed_at": self._clock(),
            **(stored_version(version) if is_same else {"inode": -1, "mtime_ns": -1}),
        }
        columns = ", ".join(f"{name} = ?" for name in figures)
        self._database.change(
            f"update micrograph set {columns} where id = ?",  # noqa: S608 - constants
            *figures.values(),
            twin["id"],
        )
        return self._database.rows("select * from micrograph where id = ?", twin["id"])[0], is_same

    def _insert(self, root: Path, relative: Path, version: FileVersion, **columns: object) -> None:
        now = self._clock()
        row = {
            "root": str(root),
            "relative": str(relative),
            **stored_version(version),
            "queued_at": now,
            "changed_at": now,
            **columns,
        }
        self._database.insert("micrograph", row)

    def _renew(self, row: Columns, version: FileVersion, landed_at: float) -> None:
        """Store the content of a row, and invalidate jobs in progress for its previous content.

        If the content is unchanged, the row keeps its landing time.
        """
        changed = version_of(row) != version
        if changed:
            columns = ", ".join(f"{name} = null" for name in CTF_COLUMNS)
            self._database.change(
                f"update micrograph set {columns} where id = ?",  # noqa: S608 - constants
                row["id"],
            )
        self._database.change(
            "update micrograph set size_bytes = ?, mtime_ns = ?, inode = ?, landed_at = ?,"
            " content = content + ?, priority = ?, attempt = attempt + 1 where id = ?",
            *stored_version(version).values(),
            landed_at if changed else row["landed_at"],
            changed,
            NEW_PRIORITY,
            row["id"],
        )

    def _move(self, row: Columns, assignments: str, *values: object) -> None:
        self._database.change_one(
            f"update micrograph set {assignments} where id = ? and state = ?",  # noqa: S608
            *values,
            row["id"],
            row["state"],
            otherwise=f"micrograph {row['id']} is no longer {row['state']}",
        )


def _is_kept_time(one_ns: int, other_ns: int) -> bool:
    """Return True if a program that compresses or decompresses a file kept its time.

    Gzip stores whole seconds, and file servers round to a microsecond or so.
    """
    whole_second = one_ns % 10**9 == 0 or other_ns % 10**9 == 0
    unit_ns = 10**9 if whole_second else 1000
    return one_ns // unit_ns == other_ns // unit_ns

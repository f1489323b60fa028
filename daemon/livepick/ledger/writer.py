"""The state of every micrograph and every training run: one SQLite file with one writer.

``Ledger`` is the writer and belongs to the dispatch thread. ``ReadLedger`` opens the same file
read-only, for the page, the status command and the start of a training run, in this process or in
another. Before SQLite 3.51.3, more than one connection that writes or checkpoints can corrupt a WAL
(sqlite.org/wal.html#walresetbug). A lock file beside the ledger therefore keeps a second daemon
out, and read-only connections never checkpoint. Nothing else may open the file: closing a file
descriptor of it would drop SQLite's own locks.

Each transition is one ``UPDATE`` that names the state it comes from. If no row was updated, that is
a bug and raises RuntimeError. The module is long because it is the only one that uses sqlite3.
"""

import contextlib
import dataclasses
import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from livepick.config.alert_thresholds import GAPS
from livepick.config.sections import Repick
from livepick.core.contracts.job import Result
from livepick.core.formats.micrograph import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures
from livepick.core.imaging.quality_limits import VERDICTS, Verdict, judge
from livepick.errors import LedgerError, LedgerWriteError, LivepickError, PoisonError
from livepick.host.filesystem import file_system_type, is_network
from livepick.host.lock import StateLock
from livepick.ledger.rows import (
    CTF_FIGURES,
    QUALITY_FIGURES,
    Arrival,
    Claim,
    Counts,
    Hourly,
    Measured,
    MicrographRow,
    ModelInUse,
    Moment,
    RunRow,
    RunState,
    Session,
    State,
    Visible,
    ctf_of,
    quality_of,
    version_of,
)

__all__ = ["LEDGER", "MIGRATIONS", "SCHEMA", "SCHEMA_VERSION", "Ledger", "ReadLedger"]

_log = logging.getLogger(__name__)

LEDGER = "ledger.sqlite"
"""Name of the file in the state directory."""

SCHEMA: Final = Path(__file__).with_name("schema.sql").read_text()

SCHEMA_VERSION: Final = 3
"""Version of the database that ``SCHEMA`` creates: raise it when editing ``SCHEMA``; a test checks
that the two match."""

MIGRATIONS: Final[tuple[str, ...]] = ()
"""Script ``n`` migrates a ledger of version ``SCHEMA_VERSION + n`` to the next version. Once a
version is released, ``SCHEMA`` is no longer edited: later changes are added here and never edited.
"""

OLDEST_SQLITE = (3, 37)
"""Oldest supported SQLite: the first with STRICT tables."""

MAX_CRASHES = 3
"""A micrograph is given up after this many worker crashes in a row."""

MAX_INTERRUPTIONS = 10
"""A micrograph is given up if it was being picked this many times when the service ended."""

BUSY_SECONDS = 5.0
"""Time to wait for another program that holds the ledger."""

AT_ONCE = 500
"""Page size, in rows, for reading long lists."""

_NEW, _REPICK = 0, 1
"""Queue priorities; lower values are picked first."""

MOST_ROWS = 2**63 - 1
"""Largest integer in SQLite; a request may contain a larger number."""

_PASSING = ("vanished", "io", "incomplete", "changed", "pixel_size", "internal")
"""Failure reasons outside the file: in folders, settings or livepick itself. The same content is
tried again when it lands again, at the latest after the next start."""

_AGAIN = {
    sqlite3.SQLITE_FULL: "Free space on the disk of the state directory",
    sqlite3.SQLITE_IOERR: "Free space on the disk of the state directory, and see that it is well",
    sqlite3.SQLITE_BUSY: "End what else has the file open for writing, as sqlite3 or a backup",
    sqlite3.SQLITE_READONLY: "Let the service's user write the state directory and what is in it",
}
"""Transient SQLite errors, and what to do about each."""

_NO_FAILURE = "reason = null, error = null, remedy = null"
_FRESH = f"tries = 0, crashes = 0, interruptions = 0, not_before = 0, {_NO_FAILURE}"
_RESULT = (
    *("picked_content", "picked_at", "model_version", "model_kind", "threshold", "pick_count"),
    *("pixel_size_angstrom", "height_px", "width_px", "provider"),
    *("read_seconds", "preprocess_seconds", "infer_seconds", "peaks_seconds"),
    *(*QUALITY_FIGURES, *CTF_FIGURES, "quality_verdict", "quality_reason"),
)
"""Columns that hold the result of picking."""
_NO_RESULT = ", ".join(f"{name} = null" for name in _RESULT)

_STALE = "(state = 'queued' and picked_content is content)"


class ReadLedger:
    """Read-only access to a ledger, also while a daemon writes to it. Thread-safe.

    Raises
    ------
    LedgerError
        From every method: the file is missing, damaged, or from another version of livepick.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise LedgerError(f"there is no ledger {path}", "Start livepick run on this config.")
        self._db = self._connect(f"{path.absolute().as_uri()}?mode=ro")
        with self._translated():
            self._db.execute("pragma wal_autocheckpoint = 0")
        self._check_version()
        if self._version() < _newest():
            raise LedgerError(
                f"{path} has version {self._version()}, and this livepick needs {_newest()}",
                "Start livepick run on this config: it brings the ledger to that version.",
            )

    def _connect(self, uri: str) -> sqlite3.Connection:
        self._lock = threading.RLock()
        with self._translated():
            db = sqlite3.connect(
                uri,
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            db.row_factory = sqlite3.Row
            return db

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def counts(self) -> Counts:
        """Return the number of micrographs in each state."""
        rows = self._rows(
            "select case when state = 'queued' and picked_content is content then 'stale'"
            " else state end as what, count(*) as n from micrograph group by what"
        )
        return Counts(**{row["what"]: row["n"] for row in rows})

    def particles(self) -> int:
        """Return the total number of picks in the session."""
        return int(self._rows("select coalesce(sum(pick_count), 0) from micrograph")[0][0])

    def oldest_waiting_at(self) -> float | None:
        """Return the landing time of the oldest micrograph without picks that is queued or picking.

        In unix seconds; None if there is none.
        """
        row = self._rows(
            "select min(landed_at) from micrograph where state in ('queued', 'picking')"
            " and picked_content is not content"
        )[0]
        return None if row[0] is None else float(row[0])

    def last_landings(self, limit: int) -> list[float]:
        """Return the landing times of the last micrographs, in unix seconds, oldest first."""
        sql = "select landed_at from micrograph order by landed_at desc limit ?"
        return [row["landed_at"] for row in reversed(self._rows(sql, limit))]

    def last_collected(self) -> list[float]:
        """Return the landing times of the last micrographs that landed during data collection.

        In unix seconds, oldest first. Micrographs that were there at the start are not included.
        """
        text = self._setting("collected")
        return [] if text is None else [float(each) for each in json.loads(text)]

    def last_picked_at(self) -> float | None:
        """Return the time of the last recorded picks, in unix seconds; None if there are none."""
        row = self._rows("select max(picked_at) as last from micrograph")[0]
        return _float_or_none(row["last"])

    def recent(self, limit: int = 50, *, state: State | None = None) -> list[MicrographRow]:
        """Return the most recently changed micrographs, the latest first."""
        return [
            MicrographRow.of(row)
            for row in self._rows(
                "select * from micrograph where ?1 is null or state = ?1"
                " order by changed_at desc, id desc limit ?2",
                state,
                limit,
            )
        ]

    def get(self, micrograph_id: int) -> MicrographRow | None:
        """Return one micrograph by its id in the ledger; None if there is none."""
        if micrograph_id > MOST_ROWS:
            return None
        rows = self._rows("select * from micrograph where id = ?", micrograph_id)
        return MicrographRow.of(rows[0]) if rows else None

    def candidates(self, micrograph_id: int) -> Picks | None:
        """Return all candidates of a micrograph, including those below the threshold."""
        rows = self._rows("select candidates from picks where micrograph_id = ?", micrograph_id)
        return Picks.from_bytes(rows[0][0]) if rows else None

    def picked_rows(self) -> Iterator[MicrographRow]:
        """Return the picked micrographs, in the order they landed.

        Rows are read in pages, because a session has tens of thousands.
        """
        sql = "select * from micrograph where state = 'picked' and id > ? order by id limit ?"
        return map(MicrographRow.of, self._in_pages(sql))

    def picked_places(self) -> list[tuple[int, Path]]:
        """Return the id and path of every picked micrograph, in the order they landed."""
        rows = self._rows("select id, root, relative from micrograph where state = 'picked'")
        return sorted((row["id"], Path(row["root"], row["relative"])) for row in rows)

    def first_picked(
        self, model_version: int, *, landed_since: float, limit: int
    ) -> list[MicrographRow]:
        """Return the first micrographs picked by this model that landed since a given time.

        They come in the order they landed. ``not indexed`` makes SQLite walk the table by id and
        stop early; otherwise it would collect all picked micrographs and sort them.
        """
        rows = self._rows(
            "select * from micrograph not indexed where state = 'picked' and model_version = ?"
            " and landed_at >= ? order by id limit ?",
            model_version,
            landed_since,
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def last_picked(self, model_version: int, *, after: int, limit: int) -> list[MicrographRow]:
        """Return the last micrographs picked by this model, in the order they landed.

        Parameters
        ----------
        model_version
            Version of the model.
        after
            Id of a micrograph; only later ones are returned.
        limit
            Maximum number of micrographs.
        """
        rows = self._rows(
            "select * from micrograph not indexed where state = 'picked' and model_version = ?"
            " and id > ? order by id desc limit ?",
            model_version,
            after,
            limit,
        )
        return [MicrographRow.of(row) for row in reversed(rows)]

    def with_picks(self) -> Iterator[MicrographRow]:
        """Return every micrograph that has picks, including those queued to be picked again.

        In the order they landed, and read in pages like ``picked_rows``.
        """
        return map(
            MicrographRow.of,
            self._in_pages(
                "select * from micrograph where picked_content is not null and id > ?"
                " order by id limit ?"
            ),
        )

    def verdicts(self) -> dict[Verdict, int]:
        """Return the number of good, doubtful and bad micrographs."""
        rows = self._rows(
            "select quality_verdict as word, count(*) as n from micrograph"
            " where quality_verdict is not null group by word"
        )
        return dict.fromkeys(VERDICTS, 0) | {row["word"]: row["n"] for row in rows}

    def measured(self) -> Iterator[Measured]:
        """Return the figures of the micrographs with picks, in the order they landed."""
        sql = (
            "select id, root, relative, pick_count, threshold, model_version, model_kind,"  # noqa: S608
            f" quality_verdict, quality_reason, {', '.join(QUALITY_FIGURES + CTF_FIGURES)}"
            " from micrograph where picked_content is not null and quality_verdict is not null"
            " and id > ? order by id limit ?"
        )
        return map(Measured.of, self._in_pages(sql))

    def without_ctf(self, limit: int) -> list[MicrographRow]:
        """Return the latest micrographs that have picks but no CTF figures."""
        rows = self._rows(
            "select * from micrograph not indexed where picked_content is content"
            " and defocus_u_angstrom is null order by id desc limit ?",
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    # ---- for the page --------------------------------------------------------------------------

    def mark(self) -> int:
        """Return a number that changes whenever another connection writes to the ledger."""
        return int(self._rows("pragma data_version")[0][0])

    def latest(self, limit: int, *, picked: bool = False) -> list[MicrographRow]:
        """Return the micrographs that landed last, the latest first.

        ``picked`` restricts them to those with picks. ``not indexed``: see ``first_picked``.
        """
        rows = self._rows(
            "select * from micrograph not indexed where ?1 = 0 or picked_content is not null"
            " order by id desc limit ?2",
            picked,
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def beside(self, micrograph_id: int) -> tuple[int | None, int | None]:
        """Return the ids of the next newer and the next older micrograph with picks."""
        row = self._rows(
            "select (select min(id) from micrograph not indexed where id > ?1"
            "  and picked_content is not null),"
            " (select max(id) from micrograph not indexed where id < ?1"
            "  and picked_content is not null)",
            micrograph_id,
        )[0]
        return row[0], row[1]

    def search(self, text: str, limit: int) -> list[MicrographRow]:
        """Return micrographs whose path contains this text, ignoring case; the latest first."""
        literal = re.sub(r"([\\%_])", r"\\\1", text)
        rows = self._rows(
            "select * from micrograph not indexed where relative like ? escape '\\'"
            " order by id desc limit ?",
            f"%{literal}%",
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def hourly(self, now: float) -> Hourly:
        """Return the totals for the hour before ``now`` (unix seconds)."""
        row = self._rows(
            "select count(*) filter (where landed_at > ?1), count(*) filter (where picked_at > ?1),"
            " coalesce(sum(pick_count) filter (where picked_at > ?1), 0)"
            " from micrograph where changed_at > ?1",
            now - 3600,
        )[0]
        return Hourly(*row)

    def timeline(self) -> list[Moment]:
        """Return the landing time and the pick figures of each micrograph with picks."""
        rows = self._rows(
            "select landed_at, pick_count, median_score, model_version from micrograph"
            " where picked_content is not null order by id"
        )
        return list(map(Moment._make, rows))

    def visible(self) -> Iterator[Visible]:
        """Yield the micrographs that have coordinates in the output folder, sorted by path.

        Rows are read in pages, because a session has tens of thousands.
        """
        place = ("", "")
        while rows := self._rows(
            "select id, root, relative, threshold, model_version, model_kind from micrograph"
            " where picked_content is not null and (root, relative) > (?, ?)"
            " order by root, relative limit ?",
            *place,
            AT_ONCE,
        ):
            yield from map(Visible.of, rows)
            place = (rows[-1]["root"], rows[-1]["relative"])

    def roots(self) -> list[Path]:
        """Return the watched folders that micrographs have come from."""
        rows = self._rows("select distinct root from micrograph order by root")
        return [Path(row[0]) for row in rows]

    def known(self) -> dict[tuple[Path, Path], FileVersion]:
        """Return the known content of each ``(root, relative)``, as the watcher's initial state.

        Micrographs that failed for a reason outside the file are left out, so that the watcher
        sends them again.
        """
        rows = self._rows(
            "select root, relative, size_bytes, mtime_ns, inode from micrograph where"
            " state <> 'failed' or reason not in (select value from json_each(?))",
            json.dumps(_PASSING),
        )
        return {(Path(row["root"]), Path(row["relative"])): version_of(row) for row in rows}

    def runs(self) -> list[RunRow]:
        """Return the training runs, the latest first."""
        return [RunRow.of(row) for row in self._rows("select * from run order by version desc")]

    def model(self) -> ModelInUse | None:
        """Return the model in use, or None before the first start."""
        text = self._setting("model")
        return None if text is None else ModelInUse(**json.loads(text))

    def session(self) -> Session | None:
        """Return the session that this ledger belongs to, or None before the first start."""
        text = self._setting("session")
        return None if text is None else Session(**json.loads(text))

    def _setting(self, name: str) -> str | None:
        rows = self._rows("select value from setting where name = ?", name)
        return str(rows[0][0]) if rows else None

    def _in_pages(self, sql: str) -> Iterator[sqlite3.Row]:
        """Yield all rows of a query that takes a lower bound for the id and a limit.

        Rows are read in pages, because a session has tens of thousands.
        """
        last = -1
        while rows := self._rows(sql, last, AT_ONCE):
            yield from rows
            last = rows[-1]["id"]

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock, self._translated():
            return self._db.execute(sql, values).fetchall()

    def _version(self) -> int:
        return int(self._rows("pragma user_version")[0][0])

    def _check_version(self) -> None:
        """Raise LedgerError for a version that cannot be migrated; 0 is an empty file."""
        version = self._version()
        what = f"{self.path} has version {version}, and this livepick needs {_newest()}"
        if version > _newest():
            raise LedgerError(
                what,
                "Use the newer livepick that made it, or give state.directory another folder.",
            )
        if 0 < version < SCHEMA_VERSION:
            raise LedgerError(
                what,
                "Use the older livepick that made it, or move the file and its -wal and -shm files"
                " aside: livepick run starts a new one, and picks every micrograph again. Models"
                " and coordinates stay where they are.",
            )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate SQLite errors into livepick's own."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a bug that no operator can fix
        except sqlite3.Error as error:
            raise self._ours(error) from error

    def _ours(self, error: sqlite3.Error) -> LedgerError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in _AGAIN:
            return LedgerWriteError(
                f"{self.path} takes no writes: {error}", f"{_AGAIN[code]}; livepick tries again."
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return LedgerError(
                f"{self.path} is damaged: {error}",
                "Move it and its -wal and -shm files aside; livepick starts a new one and picks"
                " every micrograph again. Models and coordinates stay where they are.",
            )
        return LedgerError(
            f"{self.path} cannot be used: {error}",
            "Look at the permissions of the state directory, and that it is on a local disk.",
        )


class Ledger(ReadLedger):
    """The writer, for one thread of one process; a second daemon on the same file is refused.

    Parameters
    ----------
    path
        The file; it and its folder are created if missing.
    clock
        Function that returns the time in unix seconds.

    Raises
    ------
    BusyError
        Another daemon holds the ledger.
    LedgerError
        The ledger is damaged or from another version of livepick, or its folder is on a network
        file system or not writable.
    LedgerWriteError
        From every method that writes: nothing was changed; a later try may succeed.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        _refuse_old_sqlite()
        _refuse_network(path)
        self._state_lock = StateLock(path)
        try:
            self._db = self._connect(f"{path.absolute().as_uri()}?mode=rwc")
            self._open()
        except BaseException:
            self._state_lock.release()
            raise
        _log.debug("%s: SQLite %s", path, sqlite3.sqlite_version)

    def _open(self) -> None:
        with self._translated():
            self._check_version()
            mode = self._db.execute("pragma journal_mode = wal").fetchone()[0]
            if mode != "wal":
                raise LedgerError(
                    f"{self.path} does not take write-ahead logging",
                    "Give state.directory a folder on a local disk.",
                )
            self._db.execute("pragma synchronous = full")
            self._db.execute("pragma foreign_keys = on")
            if self._version() == _newest():
                # The candidates are not checked: they can be a gigabyte, and are read one by one.
                verdict = self._db.execute("pragma quick_check(micrograph)").fetchone()[0]
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
            else:
                self._migrate()

    def _migrate(self) -> None:
        version = self._version()
        steps = {SCHEMA_VERSION + n: script for n, script in enumerate(MIGRATIONS, start=1)}
        if version == 0:
            steps[SCHEMA_VERSION] = SCHEMA
        else:
            copy = sqlite3.connect(f"{self.path}.version-{version}")
            with contextlib.closing(copy):
                self._db.backup(copy)
        for number in range(max(version + 1, SCHEMA_VERSION), _newest() + 1):
            try:
                # The script and the new version number are written in one transaction.
                self._db.executescript(
                    f"begin immediate; {steps[number]}; pragma user_version = {number}; commit;"
                )
            except sqlite3.Error:
                self._roll_back()
                raise

    def close(self) -> None:
        """Close the file and release its lock."""
        super().close()
        self._state_lock.release()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside the block atomically; nested calls join the open transaction."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            with self._translated():
                self._db.execute("begin immediate")
                try:
                    yield
                    self._db.execute("commit")
                except BaseException:
                    self._roll_back()
                    raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # SQLite may have rolled back by itself
            self._db.execute("rollback")

    # ---- arrivals ------------------------------------------------------------------------------

    def landed(self, root: Path, relative: Path, version: FileVersion, landed_at: float) -> Arrival:
        """Queue a complete file, unless its content is already known.

        New content of a known path is queued whatever the state of the row. If the old content is
        still being picked, its result will be refused.
        """
        now = self._clock()
        with self.transaction():
            row = self._find(root, relative)
            if row is None:
                self._insert(
                    (root, relative),
                    {
                        **_stored(version),
                        "landed_at": landed_at,
                        "state": "queued",
                        "queued_at": now,
                        "changed_at": now,
                    },
                )
                return Arrival.NEW
            changed = version_of(row) != version
            if not changed and not (row["state"] == "failed" and row["reason"] in _PASSING):
                return Arrival.KNOWN
            self._renew(row, version, landed_at)
            self._move(row, f"state = 'queued', queued_at = ?, changed_at = ?, {_FRESH}", now, now)
            if changed:
                return Arrival.CHANGED
            # A file set aside before the first try is complete only now, e.g. after a late sidecar.
            return Arrival.AGAIN if row["attempt"] else Arrival.NEW

    def collected(self, landings: Sequence[float]) -> None:
        """Record the landing times of micrographs, in unix seconds, oldest first."""
        with self.transaction():
            self._set("collected", [*self.last_collected(), *landings][-GAPS - 1 :])

    def set_aside(
        self,
        root: Path,
        relative: Path,
        version: FileVersion,
        landed_at: float,
        failure: tuple[str, str, str],
    ) -> Arrival:
        """Record a file that cannot be picked as failed, with its ``(reason, error, remedy)``.

        It is ignored (``KNOWN``) if the same content has already failed or been picked.
        """
        now = self._clock()
        reason, error, remedy = failure
        with self.transaction():
            row = self._find(root, relative)
            if row is None:
                self._insert(
                    (root, relative),
                    {
                        **_stored(version),
                        "landed_at": landed_at,
                        "state": "failed",
                        "queued_at": now,
                        "changed_at": now,
                        "reason": reason,
                        "error": _storable(error),
                        "remedy": _storable(remedy),
                    },
                )
                return Arrival.NEW
            changed = version_of(row) != version
            if not changed and row["state"] in ("picked", "failed"):
                return Arrival.KNOWN
            self._renew(row, version, landed_at)
            self._move(
                row,
                "state = 'failed', changed_at = ?, reason = ?, error = ?, remedy = ?",
                now,
                reason,
                _storable(error),
                _storable(remedy),
            )
            self._drop_result(row["id"])
            return Arrival.CHANGED if changed else Arrival.AGAIN

    def namesake(self, root: Path, relative: Path) -> Path | None:
        """Return a micrograph that differs from ``relative`` only in its extension, or None.

        Both would write the same coordinates file. Failed micrographs are ignored.
        """
        stem = str(relative.with_suffix(""))
        rows = self._rows(
            "select relative from micrograph where root = ? and relative >= ? and relative < ?"
            " and state <> 'failed'",
            str(root),
            stem + ".",
            stem + "/",  # the character after the dot
        )
        others = (Path(row[0]) for row in rows)
        return next((o for o in others if o != relative and str(o.with_suffix("")) == stem), None)

    def _find(self, root: Path, relative: Path) -> sqlite3.Row | None:
        rows = self._rows(
            "select * from micrograph where root = ? and relative = ?", str(root), str(relative)
        )
        return rows[0] if rows else None

    def _insert(self, place: tuple[Path, Path], figures: Mapping[str, object]) -> None:
        row = {"root": str(place[0]), "relative": str(place[1]), **figures}
        marks = ", ".join("?" * len(row))
        self._db.execute(
            f"insert into micrograph ({', '.join(row)}) values ({marks})",  # noqa: S608 - ours
            tuple(row.values()),
        )

    def _renew(self, row: sqlite3.Row, version: FileVersion, landed_at: float) -> None:
        """Store the content of a row, and invalidate jobs in progress for its previous content.

        If the content is unchanged, the row keeps its landing time.
        """
        changed = version_of(row) != version
        if changed:
            columns = ", ".join(f"{name} = null" for name in CTF_FIGURES)
            self._db.execute(
                f"update micrograph set {columns} where id = ?",  # noqa: S608 - constants
                (row["id"],),
            )
        self._db.execute(
            "update micrograph set size_bytes = ?, mtime_ns = ?, inode = ?, landed_at = ?,"
            " content = content + ?, priority = ?, attempt = attempt + 1 where id = ?",
            (
                *_stored(version).values(),
                landed_at if changed else row["landed_at"],
                changed,
                _NEW,
                row["id"],
            ),
        )

    def _move(self, row: sqlite3.Row, assignments: str, *values: object) -> None:
        self._expect_one(
            self._db.execute(
                f"update micrograph set {assignments} where id = ? and state = ?",  # noqa: S608
                (*values, row["id"], row["state"]),
            ),
            f"micrograph {row['id']} is no longer {row['state']}",
        )

    # ---- state transitions ---------------------------------------------------------------------

    def recover(self) -> int:
        """Queue again what was being picked when the last service ended; return how many.

        Retry delays are reset, and micrographs that failed because of the model are queued again.
        """
        now = self._clock()
        poison = PoisonError(
            f" was being picked at {MAX_INTERRUPTIONS} ends of the service",
            "Open it in another program; copy it anew to have it tried again.",
        )
        with self.transaction():
            self._db.execute("update micrograph set not_before = 0 where state = 'queued'")
            hopeless = self._db.execute(
                "select id from micrograph where state = 'picking' and interruptions >= ?",
                (MAX_INTERRUPTIONS - 1,),
            ).fetchall()
            for (micrograph_id,) in hopeless:
                self._drop_result(micrograph_id)
                self._db.execute(
                    "update micrograph set state = 'failed', changed_at = ?, reason = ?,"
                    " error = relative || ?, remedy = ?, interruptions = interruptions + 1"
                    " where id = ? and state = 'picking'",
                    (now, poison.reason, poison.what, poison.remedy, micrograph_id),
                )
            self._queue_model_failures(now)
            return self._db.execute(
                "update micrograph set state = 'queued', changed_at = ?,"
                " interruptions = interruptions + 1 where state = 'picking'",
                (now,),
            ).rowcount

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
        with self.transaction():
            rows = self._db.execute(
                "update micrograph set state = 'picking', attempt = attempt + 1, changed_at = ?"
                " where id in (select id from micrograph where state = 'queued'"
                "   and not_before <= ? and (crashes > 0) = ?"
                "   and root not in (select value from json_each(?))"
                "   order by priority, queued_at, id limit ?)"
                " returning *, picked_content is content as repick",
                (now, now, suspects, json.dumps([str(root) for root in without]), limit),
            ).fetchall()
        rows.sort(key=lambda row: (row["priority"], row["queued_at"], row["id"]))
        return [Claim.of(row) for row in rows]

    def suspects(self, *, without: Collection[Path] = ()) -> bool:
        """Return True if a micrograph that a worker crashed on is due."""
        return bool(
            self._rows(
                "select 1 from micrograph where state = 'queued' and crashes > 0"
                " and not_before <= ? and root not in (select value from json_each(?)) limit 1",
                self._clock(),
                json.dumps([str(root) for root in without]),
            )
        )

    def holds(self, claim: Claim) -> bool:
        """Return True if this claim is still the latest of its micrograph."""
        return bool(
            self._rows(
                "select 1 from micrograph where id = ? and state = 'picking' and attempt = ?",
                claim.id,
                claim.attempt,
            )
        )

    def picked(self, claim: Claim, result: Result) -> None:
        """Record a result whose coordinates have been written to disk."""
        now = self._clock()
        known = self._rows("select * from micrograph where id = ?", claim.id)[0]
        verdict, why = judge(result.quality, ctf_of(known))
        figures: dict[str, object] = {
            "picked_at": now,
            "changed_at": now,
            "model_version": result.model_version,
            "model_kind": result.model_kind,
            "threshold": float(result.threshold),
            "pick_count": len(result.picks.above(result.threshold)),
            "pixel_size_angstrom": float(result.pixel_size_angstrom),
            "height_px": result.shape_px[0],
            "width_px": result.shape_px[1],
            **{name: _float_or_none(getattr(result.quality, name)) for name in QUALITY_FIGURES},
            "quality_verdict": verdict,
            "quality_reason": why,
            "provider": result.provider,
            "read_seconds": result.seconds.read,
            "preprocess_seconds": result.seconds.preprocess,
            "infer_seconds": result.seconds.infer,
            "peaks_seconds": result.seconds.peaks,
        }
        columns = ", ".join(f"{name} = ?" for name in figures)
        with self.transaction():
            self._db.execute(
                "insert into picks values (?, ?)"
                " on conflict do update set candidates = excluded.candidates",
                (claim.id, result.picks.to_bytes()),
            )
            self._leave_picking(
                claim,
                f"state = 'picked', picked_content = content, {_FRESH}, {columns}",
                *figures.values(),
            )

    def failed(self, claim: Claim, error: LivepickError) -> None:
        """Mark a micrograph as failed, and delete any picks it had."""
        with self.transaction():
            self._drop_result(claim.id)
            self._leave_picking(
                claim,
                "state = 'failed', changed_at = ?, reason = ?, error = ?, remedy = ?",
                self._clock(),
                error.reason,
                _storable(error.what),
                _storable(error.remedy),
            )

    def retry(self, claim: Claim, error: LivepickError, *, delay_seconds: float) -> None:
        """Queue a micrograph again after a transient error; this counts as a try."""
        now = self._clock()
        self._back(
            claim,
            "tries = tries + 1, not_before = ?, reason = ?, error = ?, remedy = ?",
            now + delay_seconds,
            error.reason,
            _storable(error.what),
            _storable(error.remedy),
        )

    def released(self, claim: Claim) -> None:
        """Queue a micrograph again, behind the others, without counting a try."""
        self._back(claim, "queued_at = ?", self._clock())

    def crashed(self, claim: Claim) -> bool:
        """Queue a micrograph again after its worker died, or give it up.

        Returns
        -------
        bool
            True if it was given up as poison, after ``MAX_CRASHES`` crashes in a row.
        """
        if claim.crashes + 1 < MAX_CRASHES:
            self._back(claim, "crashes = crashes + 1")
            return False
        error = PoisonError(
            f"{claim.relative} ended its worker process {MAX_CRASHES} times",
            "Open it in another program; the system's log says if memory ran out.",
        )
        self.failed(claim, error)
        return True

    def queue_stale(
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
        with self.transaction():
            self._queue_model_failures(now)
            return self._db.execute(
                "update micrograph set state = 'queued', priority = :priority,"  # noqa: S608
                f" queued_at = :now, changed_at = :now, {_FRESH}"
                " where state = 'picked' and :repick <> 'none' and ("
                "  (model_version <> :version and (:repick = 'all' or model_kind = 'blob'))"
                "  or (abs(threshold - :threshold) > 1e-4"
                "      and (model_version = :version or :for_all)))",
                {
                    "priority": _REPICK,
                    "now": now,
                    "repick": repick,
                    "version": model_version,
                    "threshold": threshold,
                    "for_all": for_all,
                },
            ).rowcount

    def leave_stale(self) -> int:
        """Remove micrographs waiting to be picked again from the queue; return how many.

        They keep their picks. Micrographs that a worker already has are still picked again.
        """
        with self.transaction():
            return self._db.execute(
                f"update micrograph set state = 'picked', changed_at = ?, {_FRESH}"  # noqa: S608
                f" where {_STALE}",
                (self._clock(),),
            ).rowcount

    def queue_vanished(self, root: Path) -> int:
        """Queue micrographs that failed to read while ``root`` was away; return how many."""
        now = self._clock()
        with self.transaction():
            return self._db.execute(
                "update micrograph set state = 'queued',"  # noqa: S608 - a constant
                f" queued_at = ?, changed_at = ?, {_FRESH}"
                " where state = 'failed' and root = ? and reason in ('vanished', 'io')",
                (now, now, str(root)),
            ).rowcount

    def _queue_model_failures(self, now: float) -> None:
        self._db.execute(
            "update micrograph set state = 'queued',"  # noqa: S608 - a constant
            f" queued_at = ?, changed_at = ?, {_FRESH}"
            " where state = 'failed' and reason = 'model'",
            (now, now),
        )

    def ctf_found(self, micrograph_id: int, content: int, figures: CtfFigures) -> bool:
        """Record CTF figures from another program and update the verdict.

        Returns
        -------
        bool
            False if nothing was recorded: the content has changed, has no picks, or has CTF
            figures already.
        """
        with self.transaction():
            rows = self._rows(
                "select * from micrograph where id = ? and content = ?"
                " and picked_content is content and defocus_u_angstrom is null",
                micrograph_id,
                content,
            )
            quality = quality_of(rows[0]) if rows else None
            if quality is None:
                return False
            verdict, why = judge(quality, figures)
            columns = ", ".join(f"{name} = ?" for name in CTF_FIGURES)
            self._db.execute(
                f"update micrograph set {columns}, quality_verdict = ?,"  # noqa: S608 - constants
                " quality_reason = ? where id = ?",
                (*dataclasses.astuple(figures), verdict, why, micrograph_id),
            )
        return True

    def _back(self, claim: Claim, assignments: str, *values: object) -> None:
        with self.transaction():
            self._leave_picking(
                claim, f"state = 'queued', changed_at = ?, {assignments}", self._clock(), *values
            )

    def _drop_result(self, micrograph_id: int) -> None:
        self._db.execute("delete from picks where micrograph_id = ?", (micrograph_id,))
        self._db.execute(
            f"update micrograph set {_NO_RESULT} where id = ?",  # noqa: S608 - constants
            (micrograph_id,),
        )

    def _leave_picking(self, claim: Claim, assignments: str, *values: object) -> None:
        self._expect_one(
            self._db.execute(
                f"update micrograph set {assignments}"  # noqa: S608 - ours, no values
                " where id = ? and state = 'picking' and attempt = ?",
                (*values, claim.id, claim.attempt),
            ),
            f"{claim.relative}: attempt {claim.attempt} is not under way",
        )

    @staticmethod
    def _expect_one(cursor: sqlite3.Cursor, otherwise: str) -> None:
        if cursor.rowcount != 1:
            raise RuntimeError(otherwise)

    # ---- runs, model, session ------------------------------------------------------------------

    def run_changed(
        self,
        version: int,
        fingerprint: str,
        state: RunState,
        *,
        reason: str = "",
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the start or end of a training run; a resumed run keeps its start time."""
        now = self._clock()
        ended_at = None if state == "running" else now
        with self.transaction():
            self._db.execute(
                "insert into run (version, fingerprint, state, reason, started_at, ended_at,"
                " figures) values (?, ?, ?, ?, ?, ?, ?) on conflict do update set"
                " fingerprint = excluded.fingerprint, state = excluded.state,"
                " reason = excluded.reason, ended_at = excluded.ended_at,"
                " figures = excluded.figures",
                (
                    version,
                    fingerprint,
                    state,
                    _storable(reason),
                    now,
                    ended_at,
                    json.dumps(dict(figures or {})),
                ),
            )

    def use_model(self, version: int, kind: str, particle: str) -> bool:
        """Record the model used for picking from now on; recording the same one changes nothing.

        Returns
        -------
        bool
            True if it is for another particle than the previous model, judged by the fingerprint.
        """
        present = self.model()
        if present is None or (present.version, present.kind) != (version, kind):
            figures = {"version": version, "kind": kind, "particle": particle}
            self._set("model", {**figures, "since": self._clock()})
        return present is not None and present.particle != particle

    def begin_session(self, name: str) -> Session:
        """Record the name of the session, and its start time if the name is new."""
        present = self.session()
        if present is not None and present.name == name:
            return present
        session = Session(name, self._clock())
        self._set("session", {"name": session.name, "started_at": session.started_at})
        return session

    def _set(self, name: str, value: Mapping[str, object] | Sequence[float]) -> None:
        with self.transaction():
            self._db.execute(
                "insert into setting values (?, ?)"
                " on conflict do update set value = excluded.value",
                (name, json.dumps(value)),
            )


def _newest() -> int:
    """Return the ledger version that this livepick needs."""
    return SCHEMA_VERSION + len(MIGRATIONS)


def _refuse_old_sqlite() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise LedgerError(
            f"this Python has SQLite {sqlite3.sqlite_version}",
            f"livepick needs {'.'.join(map(str, OLDEST_SQLITE))} or newer: use another Python.",
        )


def _refuse_network(path: Path) -> None:
    kind = file_system_type(path)
    if is_network(kind):
        raise LedgerError(
            f"{path} would be on a network file system ({kind}), where SQLite loses data",
            "Give state.directory a folder on a local disk; output.directory may be anywhere.",
        )


def _storable(text: str) -> str:
    """Return text that SQLite accepts, with undecodable bytes of file names escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _stored(version: FileVersion) -> dict[str, int]:
    # SQLite's integers are signed, and some file systems use all 64 bits of an inode.
    inode = (version.inode + 2**63) % 2**64 - 2**63
    return {"size_bytes": version.size_bytes, "mtime_ns": version.mtime_ns, "inode": inode}


def _float_or_none(value: float | None) -> float | None:
    return None if value is None else float(value)

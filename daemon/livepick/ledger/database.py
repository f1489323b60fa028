"""The SQLite file of the ledger: connections, transactions, errors and migrations.

A damaged or missing file is replaced by a new one: see ``damage``.

The only module that uses sqlite3. Before SQLite 3.51.3, more than one connection that writes or
checkpoints can corrupt a WAL (sqlite.org/wal.html#walresetbug). A lock file beside the ledger
therefore keeps a second daemon out, and read-only connections never checkpoint. Nothing else may
open the file: closing a file descriptor of it would drop SQLite's own locks.

This is one file because the connection, its errors and its migrations all need sqlite3.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, Self

from livepick.errors import (
    DamagedLedgerError,
    LedgerError,
    LedgerWriteError,
    OlderLedgerError,
)
from livepick.host.filesystem import awaited_mount, file_system_type, is_network
from livepick.host.lock import StateLock
from livepick.host.sqlite_version import SQLITE_REMEDY, sqlite_fault
from livepick.ledger.damage import (
    Lost,
    fault_of_file,
    keep_loss,
    kept_loss,
    marked_fault,
    put_back,
    saved_copy,
    set_aside,
)
from livepick.ledger.place import Place

__all__ = [
    "AT_ONCE",
    "LEDGER",
    "MIGRATIONS",
    "SCHEMA",
    "SCHEMA_VERSION",
    "Database",
    "newest_version",
]

_log = logging.getLogger(__name__)

LEDGER = "ledger.sqlite"
"""Name of the file in the state directory."""

SCHEMA: Final = Path(__file__).with_name("schema.sql").read_text()

SCHEMA_VERSION: Final = 3
"""Version of the database that ``SCHEMA`` creates: raise it when editing ``SCHEMA``; a test checks
that the two match."""

MIGRATIONS: Final[tuple[str, ...]] = (
    Path(__file__).with_name("schema_4.sql").read_text(),
    Path(__file__).with_name("schema_5.sql").read_text(),
    Path(__file__).with_name("schema_6.sql").read_text(),
    Path(__file__).with_name("schema_7.sql").read_text(),
    Path(__file__).with_name("schema_8.sql").read_text(),
)
"""Script ``n`` migrates a ledger of version ``SCHEMA_VERSION + n`` to the next version. Once a
version is released, ``SCHEMA`` is no longer edited: later changes are added here and never edited.
"""

BUSY_SECONDS = 5.0
"""Time to wait while another program locks the ledger."""

AT_ONCE = 500
"""Page size, in rows, for reading long lists."""

_DAMAGE = sqlite3.DatabaseError
"""Type, and not a subtype, of SQLite's errors about damage, also those without a code."""

_TRANSIENT = {
    sqlite3.SQLITE_FULL: "Free space on the disk of the state directory",
    sqlite3.SQLITE_IOERR: "Free space on the disk of the state directory, and check its health",
    sqlite3.SQLITE_BUSY: "Close any other program that is writing to the file, such as sqlite3 or a"
    " backup",
    sqlite3.SQLITE_READONLY: "Give the service's user write access to the state directory and the"
    " files in it",
}
"""Transient SQLite errors, and the remedy for each."""


class Database:
    """Connection to the ledger, made by ``read_only`` or ``writable``. Thread-safe.

    A context manager that closes the file.

    Raises
    ------
    LedgerError
        From every method: the file is damaged or cannot be used.
    LedgerWriteError
        From every method: nothing was changed; a later try may succeed.
    """

    def __init__(
        self,
        path: Path,
        mode: Literal["ro", "rwc", "ro&immutable=1"],
        lock: StateLock | None = None,
    ) -> None:
        _refuse_old_sqlite()
        self.path = path
        self.damage: DamagedLedgerError | None = None
        """The last damage that a method has met; None if there was none."""
        self.lost: Lost | None = None
        """Loss of the ledger in whose place this one was begun; None if there was none."""
        self._lock = threading.RLock()
        self._translated = _Translated(self)
        with contextlib.ExitStack() as ending, self._translated:
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            ending.callback(self._connection.close)
            self._connection.row_factory = sqlite3.Row
            if mode == "rwc":
                self._check_version()
                self._set_up()
            else:
                self._connection.execute("pragma wal_autocheckpoint = 0")
                self._check_version()
                self._refuse_older()
            self.place = Place.of(path)
            self._ending = contextlib.ExitStack()
            if lock is not None:
                self._ending.callback(lock.release)
            self._ending.push(ending.pop_all())

    @classmethod
    def read_only(cls, path: Path) -> Self:
        """Open a ledger for reading, also while a daemon writes to it.

        Raises
        ------
        LedgerError
            The file is missing, damaged, or from another version of livepick.
        """
        if not path.is_file():
            raise LedgerError(f"there is no ledger {path}", "Start livepick run on this config.")
        return cls(path, "ro")

    @classmethod
    def at_rest(cls, path: Path) -> Self:
        """Open a ledger that no service uses, without creating the files that SQLite shares.

        If a service was killed, its last changes are in such a file; then this is ``read_only``.

        Raises
        ------
        LedgerError
            The file is missing, damaged, or from another version of livepick.
        """
        log = path.with_name(f"{path.name}-wal")
        if not path.is_file() or (log.exists() and log.stat().st_size):
            return cls.read_only(path)
        return cls(path, "ro&immutable=1")

    @classmethod
    def writable(cls, path: Path) -> Self:
        """Open a ledger for the one writer; create it or migrate it if needed.

        A damaged one is set aside, and a new one is created: ``lost`` then says so, also at the
        next start if this one ends before ``forget_loss``.

        Raises
        ------
        BusyError
            Another daemon holds the ledger.
        LedgerError
            The ledger is from another version of livepick, or its folder is on a network file
            system or not writable.
        LedgerWriteError
            The disk of its folder is not mounted.
        """
        _refuse_old_sqlite()
        _refuse_network(path)
        _refuse_unmounted(path)
        lock = StateLock(path)
        try:
            put_back(path)
            database = cls._open_or_begin(path, lock)
        except BaseException:
            lock.release()
            raise
        _log.debug("%s: SQLite %s", path, sqlite3.sqlite_version)
        return database

    @classmethod
    def _open_or_begin(cls, path: Path, lock: StateLock) -> Self:
        """Open the ledger; if it is lost, set it aside and create another."""
        fault = fault_of_file(path)
        if fault is None:
            try:
                if marked_fault(path) is not None:
                    with cls(path, "rwc") as marked:
                        marked.check("main")
                database = cls(path, "rwc", lock)
            except DamagedLedgerError as error:
                fault = error.what
            else:
                database.lost = kept_loss(path)
                return database
        lost = set_aside(path, fault)
        keep_loss(path, lost)
        database = cls(path, "rwc", lock)
        database.lost = lost
        return database

    def check(self, what: Literal["micrograph", "main"] = "micrograph") -> None:
        """Check a table, or the whole file, for damage. This may take a second a gigabyte.

        Raises
        ------
        DamagedLedgerError
            A page is damaged.
        """
        argument = "" if what == "main" else f"({what})"
        verdict = self.rows(f"pragma quick_check{argument}")[0][0]
        if verdict != "ok":
            with self._translated:
                raise sqlite3.DatabaseError(verdict)

    def in_place(self) -> bool:
        """Return True if the open file is still the one at its path."""
        return Place.of(self.path).ledger == self.place.ledger

    def save_copy(self) -> None:
        """Save all content for the next start, because the file was removed or replaced.

        Raises
        ------
        LedgerWriteError
            The copy cannot be written.
        """
        saved = saved_copy(self.path)
        draft = saved.with_name(f"{saved.name}.part")
        try:
            draft.unlink(missing_ok=True)
            with self._lock, self._translated:
                copy = sqlite3.connect(draft)
                with contextlib.closing(copy):
                    self._connection.backup(copy)
            draft.rename(saved)
        except OSError as error:
            raise LedgerWriteError(
                f"{saved} cannot be written: {error.strerror}",
                "Free space on the disk of the state directory.",
            ) from error

    def close(self) -> None:
        """Close the file, and release its lock if it was opened for writing."""
        with self._lock:
            self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        with self._lock, self._translated:
            return self._connection.execute(sql, values).fetchall()

    def named_rows(self, sql: str, **values: object) -> list[sqlite3.Row]:
        """Return the rows of a query with named values."""
        with self._lock, self._translated:
            return self._connection.execute(sql, values).fetchall()

    def in_pages(self, sql: str) -> Iterator[sqlite3.Row]:
        """Yield all rows of a query that takes a lower bound for the id and a limit.

        Rows are read in pages, because a session has tens of thousands.
        """
        last = -1
        while rows := self.rows(sql, last, AT_ONCE):
            yield from rows
            last = rows[-1]["id"]

    def change(self, sql: str, *values: object, **named: object) -> int:
        """Run a statement inside a ``transaction``, and return the number of changed rows."""
        with self._lock, self._translated:
            return self._connection.execute(sql, named or values).rowcount

    def insert(self, table: str, row: Mapping[str, object]) -> int:
        """Insert a row inside a ``transaction``, and return its id.

        ``row``: values by column; table and columns are constants of livepick.
        """
        sql = f"insert into {table} ({', '.join(row)}) values ({', '.join('?' * len(row))})"  # noqa: S608
        with self._lock, self._translated:
            return int(self._connection.execute(sql, tuple(row.values())).lastrowid or 0)

    def change_one(self, sql: str, *values: object, otherwise: str) -> None:
        """Run a statement that must change one row; else raise RuntimeError(``otherwise``)."""
        if self.change(sql, *values) != 1:
            raise RuntimeError(otherwise)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside the block atomically; nested calls join the open transaction."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            with self._translated:
                self._connection.execute("begin immediate")
                try:
                    yield
                    self._connection.execute("commit")
                except BaseException:
                    self._roll_back()
                    raise

    @property
    def changes(self) -> int:
        """Number of rows that this connection has changed since it was opened."""
        return self._connection.total_changes

    def version(self) -> int:
        """Return the version of the schema in the file; 0 if it is empty."""
        return int(self.rows("pragma user_version")[0][0])

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite may have rolled back by itself
            self._connection.execute("rollback")

    def _check_version(self) -> None:
        """Raise LedgerError for a version that cannot be migrated; 0 is an empty file."""
        version = self.version()
        what = f"{self.path} has version {version}, and this livepick needs {newest_version()}"
        if version > newest_version():
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

    def _refuse_older(self) -> None:
        version = self.version()
        if version < newest_version():
            raise OlderLedgerError(
                f"{self.path} has version {version}, and this livepick needs {newest_version()}",
                "Start livepick run on this config: it brings the ledger to that version.",
            )

    def _set_up(self) -> None:
        """Switch on write-ahead logging, and check the tables or migrate them."""
        mode = self._connection.execute("pragma journal_mode = wal").fetchone()[0]
        if mode != "wal":
            raise LedgerError(
                f"{self.path} does not support write-ahead logging",
                "Give state.directory a folder on a local disk.",
            )
        self._connection.execute("pragma synchronous = full")
        self._connection.execute("pragma foreign_keys = on")
        if self.version() != newest_version():
            self._migrate()

    def _migrate(self) -> None:
        version = self.version()
        steps = {SCHEMA_VERSION + n: script for n, script in enumerate(MIGRATIONS, start=1)}
        if version == 0:
            steps[SCHEMA_VERSION] = SCHEMA
        else:
            copy = sqlite3.connect(f"{self.path}.version-{version}")
            with contextlib.closing(copy):
                self._connection.backup(copy)
        for number in range(max(version + 1, SCHEMA_VERSION), newest_version() + 1):
            try:
                # The script and the new version number are written in one transaction.
                self._connection.executescript(
                    f"begin immediate; {steps[number]}; pragma user_version = {number}; commit;"
                )
            except sqlite3.Error:
                self._roll_back()
                raise


class _Translated:
    """Context manager that translates SQLite errors into livepick's own, for all statements.

    It is one object and not a generator for each statement: there are a dozen per micrograph.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> None:
        return

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: object
    ) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            return  # a bug that no operator can fix
        translated = _translate(self._database.path, error)
        if isinstance(translated, DamagedLedgerError):
            self._database.damage = translated
        raise translated from error


def _translate(path: Path, error: sqlite3.Error) -> LedgerError:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _TRANSIENT:
        return LedgerWriteError(
            f"{path} cannot be written: {error}", f"{_TRANSIENT[code]}. livepick tries again."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or type(error) is _DAMAGE:
        return DamagedLedgerError(
            f"{path} is damaged: {error}",
            "Start livepick run: it sets the ledger aside, and begins a new one from the watched"
            " folders and the files in the output folder.",
        )
    return LedgerError(
        f"{path} cannot be used: {error}",
        "Check the permissions of the state directory, and that it is on a local disk.",
    )


def newest_version() -> int:
    """Return the ledger version that this livepick needs."""
    return SCHEMA_VERSION + len(MIGRATIONS)


def _refuse_old_sqlite() -> None:
    """Do not read a ledger either: to an old SQLite, its STRICT tables look like damage."""
    if (fault := sqlite_fault()) is not None:
        raise LedgerError(fault, SQLITE_REMEDY)


def _refuse_network(path: Path) -> None:
    kind = file_system_type(path)
    if is_network(kind):
        raise LedgerError(
            f"{path} would be on a network file system ({kind}), where SQLite loses data",
            "Give state.directory a folder on a local disk; output.directory may be anywhere.",
        )


def _refuse_unmounted(path: Path) -> None:
    """Do not begin a session in the empty folder where a disk is mounted otherwise."""
    if (awaited := awaited_mount(path)) is not None:
        raise LedgerWriteError(
            f"{path.parent} is not mounted: /etc/fstab has a mount for {awaited}, and nothing is"
            " mounted there",
            f"Mount it: mount {awaited}; livepick then continues by itself.",
        )

"""The SQLite file: access, versions, damage and transactions."""

import hashlib
import os
import re
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from landings import ROOT, V1, A, claim_one

from factories import make_result
from livepick.errors import (
    BusyError,
    DamagedLedgerError,
    LedgerError,
    LedgerWriteError,
)
from livepick.host import filesystem
from livepick.host.lock import holder, lock_file
from livepick.ledger import database as database_module
from livepick.ledger.database import (
    LEDGER,
    MIGRATIONS,
    SCHEMA,
    SCHEMA_VERSION,
    Database,
    newest_version,
)
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts
from livepick.ledger.writer import LedgerWriter


def test_a_second_service_is_refused(ledger, tmp_path):
    """Also from another process; the error names the process that has the ledger."""
    code = (
        "from pathlib import Path; from livepick.ledger.database import Database;"
        f" Database.writable(Path({str(ledger.database.path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BusyError: another livepick (process" in done.stderr
    with pytest.raises(BusyError):
        Database.writable(ledger.database.path)


@pytest.mark.parametrize("gone", ["lock file", "ledger", "both"])
def test_a_second_service_is_refused_when_files_of_the_first_are_gone(ledger, tmp_path, gone):
    """The folder itself is locked, whatever name it has; the error still names the process."""
    path = ledger.database.path
    if gone in ("lock file", "both"):
        lock_file(path).unlink()
    if gone in ("ledger", "both"):
        path.rename(tmp_path / "elsewhere")
    link = tmp_path / "another name"
    link.symlink_to(path.parent)
    for same in (path, link / path.name):
        code = (
            "from pathlib import Path; from livepick.ledger.database import Database;"
            f" Database.writable(Path({str(same)!r}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert f"BusyError: another livepick (process {os.getpid()}) works on" in done.stderr
        assert holder(same) == str(os.getpid())


def test_other_connections_can_read_but_not_write(ledger):
    """They see each commit at once."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    with Database.read_only(ledger.database.path) as database:
        reader = LedgerReader(database)
        assert reader.counts() == Counts(queued=1)
        ledger.claim(1)
        assert reader.counts() == Counts(picking=1)
        with pytest.raises(LedgerWriteError, match="readonly"):
            database.change("delete from micrograph")


def test_a_missing_ledger_is_an_error(tmp_path):
    """The status command may be called before the first start."""
    with pytest.raises(LedgerError, match="there is no ledger"):
        Database.read_only(tmp_path / LEDGER)


def test_the_version_of_the_schema_changes_with_its_text():
    """After an edit of schema.sql, raise SCHEMA_VERSION, and enter both here.

    Otherwise a ledger with the old schema would be used with the new one. Comments and white
    space do not count.
    """
    statements = " ".join(re.sub(r"--.*", "", SCHEMA).split())
    digest = hashlib.sha256(statements.encode()).hexdigest()[:16]

    assert (SCHEMA_VERSION, digest) == (3, "9013bc47db90f084")


@pytest.mark.parametrize(
    ("version", "remedy"), [(99, "Use the newer livepick"), (1, "starts a new one, and picks")]
)
def test_a_ledger_of_another_livepick_is_refused(tmp_path, version, remedy):
    """Its columns may be different, or mean something else; the error names both versions."""
    path = tmp_path / LEDGER
    Database.writable(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {version}")
    db.close()
    for opener in (Database.writable, Database.read_only):
        with pytest.raises(LedgerError, match=rf"has version {version},") as caught:
            opener(path)
        assert str(path) in caught.value.what
        assert f"needs {newest_version()}" in caught.value.what
        assert remedy in caught.value.remedy
    assert path.is_file()


def test_an_older_ledger_is_migrated_completely_or_not_at_all(tmp_path, monkeypatch):
    """A copy of the old ledger is kept; a read-only connection is refused with a remedy."""
    path = tmp_path / LEDGER
    with Database.writable(path) as first:
        LedgerWriter(first).arrivals.landed(ROOT, A, V1, 900.0)
    broken = "alter table run add column colour text; alter table nowhere add column x text"
    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, broken))
    with pytest.raises(LedgerError, match="no such table: nowhere"):
        Database.writable(path)
    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, broken.partition(";")[0]))
    with pytest.raises(LedgerError, match=rf"has version {newest_version() - 1},") as caught:
        Database.read_only(path)
    assert "Start livepick run" in caught.value.remedy
    with Database.writable(path) as second:
        assert LedgerReader(second).counts() == Counts(queued=1)
        assert second.version() == newest_version()
    assert (tmp_path / f"{LEDGER}.version-{newest_version() - 1}").is_file()


def test_a_new_ledger_runs_all_migrations(tmp_path, monkeypatch):
    """The schema first, then the later changes."""
    added = "alter table run add column colour text"
    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, added))
    with Database.writable(tmp_path / LEDGER) as made:
        assert made.version() == newest_version()
        assert made.rows("select colour from run") == []


def test_a_network_file_system_is_refused(tmp_path, monkeypatch):
    """SQLite's WAL needs memory shared by all its users."""
    monkeypatch.setattr(database_module, "file_system_type", lambda path: "nfs4")
    with pytest.raises(LedgerError, match="network file system"):
        Database.writable(tmp_path / LEDGER)


def test_no_session_begins_where_a_disk_is_not_mounted(tmp_path, monkeypatch):
    """A start waits: blob picks would replace those of the models on the disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    fstab = tmp_path / "fstab"
    fstab.write_text(f"/dev/disk {folder} ext4 defaults 0 1\n")
    monkeypatch.setattr(filesystem, "_FSTAB", fstab)
    with pytest.raises(LedgerWriteError, match="is not mounted") as caught:
        Database.writable(folder / "state" / LEDGER)
    assert caught.value.retryable
    assert list(folder.iterdir()) == []
    fstab.unlink()
    with Database.writable(folder / "state" / LEDGER):
        pass


@pytest.mark.parametrize("opened", [Database.writable, Database.read_only, Database.at_rest])
def test_an_old_sqlite_is_refused(ledger, tmp_path, opened, monkeypatch):
    """Reading too: its STRICT tables would look like damage, and be set aside."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(LedgerError, match=r"has SQLite 3\.34\.1, and") as error:
        opened(tmp_path / "state" / LEDGER)
    assert not isinstance(error.value, DamagedLedgerError)


def test_a_full_disk_changes_nothing_and_the_write_can_be_repeated(ledger):
    """The error is retryable."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    claim = claim_one(ledger)
    pages = ledger.database.rows("pragma page_count")[0][0]
    ledger.database.rows(f"pragma max_page_count = {pages}")
    many = make_result(tuple(np.linspace(1, 0, 5000)))
    with pytest.raises(LedgerWriteError) as caught:
        ledger.picked(claim, many)
    assert caught.value.retryable
    assert ledger.holds(claim)
    ledger.database.rows("pragma max_page_count = 1000000")
    ledger.picked(claim, many)
    assert ledger.reader.counts() == Counts(picked=1)

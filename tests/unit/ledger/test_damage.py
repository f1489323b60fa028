"""Ledgers that are damaged, missing or replaced are set aside, and a new one is begun."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from landings import ROOT, V1, A

from livepick.config.last_known_good import CONFIG_COPY
from livepick.errors import DamagedLedgerError, LedgerError
from livepick.ledger.damage import forget_loss, mark_damaged
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts
from livepick.ledger.writer import LedgerWriter

COUNT = 500


@pytest.fixture
def path(tmp_path):
    """Return the path of a closed ledger with many micrographs, of a session."""
    path = tmp_path / LEDGER
    with Database.writable(path) as database, database.transaction():
        ledger = LedgerWriter(database)
        for number in range(COUNT):
            ledger.arrivals.landed(ROOT, Path(f"{number}.mrc"), V1, 900.0)
    (tmp_path / CONFIG_COPY).touch()
    return path


def cut_off(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def make_a_folder(path):
    path.unlink()
    (path / "below").mkdir(parents=True)


def overwrite_the_middle(path):
    data = path.read_bytes()
    middle = b"\x55" * (len(data) - 8192)
    path.write_bytes(data[:4096] + middle + data[-4096:])


FAULTS = {
    "cut off": cut_off,
    "garbage": lambda path: path.write_bytes(b"\xa5" * 50_000),
    "short garbage": lambda path: path.write_bytes(b"no ledger"),
    "all but the ends overwritten": overwrite_the_middle,
    "empty": lambda path: path.write_bytes(b""),
    "a folder": make_a_folder,
    "a fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "removed": Path.unlink,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_ledger_that_is_lost_is_set_aside_and_a_new_one_begun(path, fault):
    """Whatever was there is kept under another name; the new ledger says why it was begun."""
    FAULTS[fault](path)
    before = path.read_bytes() if path.is_file() else None
    with Database.writable(path) as database:
        assert LedgerReader(database).counts() == Counts()
        lost = database.lost
    assert str(path) in lost.why
    if fault == "removed":
        assert lost.aside is None
        assert "was removed" in lost.why
    else:
        assert lost.aside.name.startswith(f"{LEDGER}.damaged-")
        assert os.path.lexists(lost.aside)
        assert before is None or lost.aside.read_bytes() == before
    with Database.writable(path) as again:
        assert again.lost == lost, "the start ended before the new ledger said so"
    forget_loss(path)
    with Database.writable(path) as again:
        assert again.lost is None


def test_a_loss_whose_note_is_damaged_is_still_one(path):
    path.unlink()
    with Database.writable(path):
        (note,) = path.parent.glob(f"{LEDGER}*.lost")
        note.write_bytes(b"{")
    with Database.writable(path) as again:
        assert again.lost.why == f"{path} was lost"


def test_the_first_ledger_of_a_session_replaces_none(tmp_path):
    with Database.writable(tmp_path / LEDGER) as database:
        assert database.lost is None


def test_a_whole_ledger_is_kept_even_if_it_was_marked_as_damaged(path):
    """It is checked as a whole at the next start."""
    mark_damaged(path, "a page seemed to be damaged")
    with Database.writable(path) as database:
        assert database.lost is None
        assert LedgerReader(database).counts() == Counts(queued=COUNT)


def damage_a_page_of(path, table):
    """Overwrite a page of a table, or of one of its indexes, that no query at a start reads."""
    with sqlite3.connect(path) as connection:
        root = connection.execute(
            "select rootpage from sqlite_master where name = ?", (table,)
        ).fetchone()[0]
        size = connection.execute("pragma page_size").fetchone()[0]
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("table", ["picks", "run", "micrograph_by_landing"])
def test_damage_that_shows_while_running_is_an_error_that_leads_to_a_new_ledger(path, table):
    damage_a_page_of(path, table)
    query = {
        "picks": "select * from picks where micrograph_id = 1",
        "run": "select * from run",
        "micrograph_by_landing": "select count(*) from micrograph where landed_at > 0",
    }[table]
    with Database.writable(path) as database:
        assert database.lost is None
        with pytest.raises(DamagedLedgerError):
            database.rows(query)
        mark_damaged(path, database.damage.what)
    with Database.writable(path) as database:
        assert database.lost.aside.is_file()
        assert database.rows(query) in ([], [(0,)]) or database.rows(query)[0][0] == 0


@pytest.mark.parametrize("fault", ["lost", "garbage"])
@pytest.mark.parametrize("part", ["-wal", "-shm"])
def test_a_ledger_whose_log_is_lost_or_damaged_is_used_as_far_as_it_is_whole(
    path, tmp_path, part, fault
):
    """The log has the last changes; without it, the ledger is as before them."""
    with Database.writable(path) as database:
        LedgerWriter(database).arrivals.landed(ROOT, A, V1, 900.0)
        for end in ("", "-wal", "-shm"):  # as after a kill
            shutil.copy(f"{path}{end}", tmp_path / f"copy.sqlite{end}")
    copy = tmp_path / "copy.sqlite"
    broken = Path(f"{copy}{part}")
    if fault == "lost":
        broken.unlink()
    else:
        broken.write_bytes(b"\xa5" * broken.stat().st_size)
    with Database.writable(copy) as database:
        assert database.lost is None
        assert LedgerReader(database).counts() == Counts(queued=COUNT + (part == "-shm"))


def test_a_ledger_of_a_newer_livepick_is_not_damaged(path):
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="version 99") as caught:
        Database.writable(path)
    assert not isinstance(caught.value, DamagedLedgerError)
    assert [each.name for each in path.parent.glob("*damaged*")] == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_ledger_that_is_removed_or_replaced_under_way_is_saved_whole(path, replaced):
    with Database.writable(path) as database:
        assert database.in_place()
        path.unlink()
        if replaced:
            path.write_text("something else")
        LedgerWriter(database).arrivals.landed(ROOT, A, V1, 900.0)
        assert not database.in_place()
        database.save_copy()
    with Database.writable(path) as database:
        assert database.lost is None
        assert LedgerReader(database).counts() == Counts(queued=COUNT + 1)
    assert len(list(path.parent.glob("*damaged-*[0-9]"))) == replaced

"""A ledger that is lost while the service is stopped, or while it runs."""

import sqlite3

import pytest

from livepick.ledger.database import LEDGER

COUNT = 6


@pytest.fixture
def start(make_session):
    """Return a function that makes a session and starts its service."""

    def start():
        session = make_session()
        session.start()
        return session

    return start


def contents(session):
    """Return the coordinates files and the list, by name."""
    files = [*session.output.rglob("*_autopick.star"), session.output / "autopick.star"]
    return {path.name: path.read_bytes() for path in files}


def aside(session):
    return list(session.state.glob(f"{LEDGER}.damaged-*[0-9]"))


def is_rebuilt(session):
    return "rebuilt from the output folder" in session.log.read_text()


@pytest.mark.parametrize("fault", ["cut off", "garbage", "removed"])
def test_a_ledger_lost_between_two_runs_is_rebuilt_from_the_output_folder(start, fault):
    """Picks stay in their files, and each micrograph gets its candidates again."""
    session = start()
    session.drop(COUNT)
    session.until(lambda: session.counts().picked == COUNT, "all picked")
    session.stop()
    before = contents(session)
    foreign = session.output / "foreign_autopick.star"
    foreign.write_text("somebody else's\n")
    ledger = session.state / LEDGER
    if fault == "cut off":
        ledger.write_bytes(ledger.read_bytes()[: ledger.stat().st_size // 2])
    elif fault == "garbage":
        ledger.write_bytes(b"\xa5" * 100_000)
    else:
        ledger.unlink()

    session.start()
    session.until(lambda: is_rebuilt(session), "the ledger is rebuilt")
    session.until(lambda: session.counts().picked == COUNT, "all picked again")
    assert f"{COUNT} micrographs keep the picks in their files" in session.log.read_text()
    assert len(aside(session)) == (fault != "removed")
    rebuilt = "ledger_rebuilt_timestamp_seconds"
    session.until(lambda: session.figure(rebuilt) > 1e9, "the metric")
    session.until(lambda: "The ledger was lost" in str(session.status()["problems"]), "the status")
    session.stop()
    after = contents(session)
    assert after.pop(foreign.name) == b"somebody else's\n"
    assert after == before


def test_a_ledger_removed_while_the_service_runs_is_saved_whole(start):
    """Nothing is picked twice."""
    session = start()
    session.drop(COUNT)
    session.until(lambda: session.counts().picked == COUNT, "all picked")
    (session.state / LEDGER).unlink()
    session.until(lambda: "put back whole" in session.log.read_text(), "the ledger is back")
    session.until(lambda: session.log.read_text().count(": ready") == 2, "the service is ready")
    session.drop(1, first=COUNT + 1)
    session.until(lambda: session.counts().picked == COUNT + 1, "the next is picked")
    assert session.stop() == 0
    assert session.log.read_text().count(" particles (model") == COUNT + 1
    assert aside(session) == []


def test_a_service_waits_for_a_state_folder_that_is_renamed_or_unmounted(start):
    """It begins no session in the empty folder, and continues when the right one is back."""
    session = start()
    session.drop(COUNT)
    session.until(lambda: session.counts().picked == COUNT, "all picked")
    before = {path: path.stat().st_mtime_ns for path in session.output.rglob("mic_*_autopick.star")}
    away = session.state.with_name("away")
    session.state.rename(away)
    session.state.mkdir()  # as an empty mount point
    session.until(
        lambda: (
            "start waits" in session.log.read_text()
            and "is another folder now" in session.log.read_text()
        ),
        "the service waits",
    )
    assert list(session.state.iterdir()) == []
    session.state.rmdir()
    session.until(lambda: f"{session.state} has gone" in session.log.read_text(), "it waits on")
    assert not session.state.exists()
    away.rename(session.state)
    session.until(lambda: session.log.read_text().count(": ready") == 2, "the service is ready")
    session.drop(1, first=COUNT + 1)
    session.until(lambda: session.counts().picked == COUNT + 1, "the next is picked")
    assert session.stop() == 0
    assert session.log.read_text().count(" particles (model") == COUNT + 1
    assert len(before) == COUNT
    assert {path: path.stat().st_mtime_ns for path in before} == before, "they were not written"


def test_damage_that_a_query_meets_leads_to_a_new_ledger(start):
    """The service goes on in the same process; the next micrograph is picked."""
    session = start()
    session.drop(COUNT)
    session.until(lambda: session.counts().picked == COUNT, "all picked")
    session.stop()
    ledger = session.state / LEDGER
    with sqlite3.connect(ledger) as connection:
        query = "select rootpage from sqlite_master where name = 'picks'"
        page = connection.execute(query).fetchone()[0]
        size = connection.execute("pragma page_size").fetchone()[0]
    connection.close()
    with ledger.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)

    session.start()
    session.drop(1, first=COUNT + 1)
    session.until(lambda: is_rebuilt(session), "the ledger is rebuilt")
    session.until(lambda: session.counts().picked == COUNT + 1, "all are picked")
    assert len(aside(session)) == 1
    assert len(contents(session)) == COUNT + 2

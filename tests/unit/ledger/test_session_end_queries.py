"""What is left to pick at the end of a session, and what has landed since."""

import pytest
from landings import ROOT, V1, V2, A, B, claim_one

from factories import make_result
from livepick.errors import UnreadableFileError
from livepick.ledger.history import SESSION_REOPENED, Event, History
from livepick.ledger.session_end_queries import SessionEndQueries


@pytest.fixture
def queries(ledger):
    return SessionEndQueries(ledger.database)


def test_what_waits_and_what_is_picked_is_counted(ledger, queries):
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.arrivals.landed(ROOT, B, V1, 901.0)
    assert (queries.waiting(), queries.picked()) == (2, 0)
    ledger.picked(claim_one(ledger), make_result())
    assert (queries.waiting(), queries.picked()) == (1, 1)


def test_the_time_without_micrographs_counts_from_the_last_or_a_reopening(ledger, queries):
    assert queries.last_event_at() is None
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    assert queries.last_event_at() == 900.0
    History(ledger.database).add(Event(950.0, SESSION_REOPENED, "The session was reopened."))
    assert queries.last_event_at() == 950.0
    ledger.arrivals.landed(ROOT, B, V1, 960.0)
    assert queries.last_event_at() == 960.0


def test_new_micrographs_and_new_content_have_landed(ledger, queries):
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result())
    assert not queries.has_landed_since(800.0)  # it is picked
    ledger.arrivals.landed(ROOT, B, V1, 1001.0)
    assert queries.has_landed_since(1000.0)
    assert not queries.has_landed_since(1002.0)
    ledger.arrivals.landed(ROOT, A, V2, 1010.0)
    assert queries.has_landed_since(1005.0)


def test_a_file_that_is_tried_again_has_not_landed(ledger, queries):
    """As at each start, after an error of its disk: it must not reopen a session."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.failed(claim_one(ledger), UnreadableFileError("EIO", "Look at the disk."))
    ledger.arrivals.landed(ROOT, A, V1, 1100.0)
    assert queries.waiting() == 1
    assert not queries.has_landed_since(1000.0)


def test_micrographs_to_be_picked_again_have_not_landed(ledger, queries):
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result())
    assert ledger.requeue.stale(1, repick="all", threshold=0.5) == 1
    assert queries.waiting() == 1
    assert not queries.has_landed_since(800.0)


def test_an_event_with_a_key_is_recorded_once(ledger):
    history = History(ledger.database)
    for _ in range(2):
        history.add(Event(1.0, "a", "First.", "anna"), key="a 1")
        history.add(Event(2.0, "b", "Each time."))
    assert [event.kind for event in history.latest(9)] == ["b", "b", "a"]
    assert history.last_of("a") == Event(1.0, "a", "First.", "anna")
    assert history.last_of("c") is None

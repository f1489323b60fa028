"""Queries for the web page and the session report."""

from pathlib import Path

import numpy as np
import pytest
from landings import ROOT, V1, V2, A, B, claim_one

from factories import make_result
from livepick.ledger.database import Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.rows import Hourly


@pytest.fixture
def queries(ledger):
    """Return the queries of the page, on a connection of their own."""
    with Database.read_only(ledger.database.path) as database:
        yield PageQueries(database)


def test_the_counter_changes_with_each_commit_of_the_writer(ledger, queries):
    """The page draws its plots again only if it has changed."""
    before = queries.change_counter()
    assert queries.change_counter() == before
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    assert queries.change_counter() != before


def test_neighbours_are_those_with_picks(ledger, queries):
    """A micrograph without picks is skipped."""
    for name in ("a", "b", "c"):
        ledger.arrivals.landed(ROOT, Path(name), V1, 900.0)
    first, waiting, last = ledger.claim(3)
    for claim in (first, last):
        ledger.picked(claim, make_result())

    assert queries.neighbours(first.id) == (last.id, None)
    assert queries.neighbours(waiting.id) == (last.id, first.id)
    assert queries.neighbours(last.id) == (None, first.id)


def test_a_search_takes_its_text_literally(ledger, queries):
    """Case is ignored, and the wildcards of SQL are ordinary characters."""
    for name in ("grid_1.mrc", "grid-1.mrc", "Grid_12.mrc"):
        ledger.arrivals.landed(ROOT, Path(name), V1, 900.0)

    assert [str(row.relative) for row in queries.search("GRID_1", 5)] == [
        "Grid_12.mrc",
        "grid_1.mrc",
    ]
    assert len(queries.search("grid", 2)) == 2
    assert queries.search("%", 5) == []


def test_totals_are_those_of_the_last_hour(ledger, queries, clock):
    """The timeline has all micrographs."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result())
    clock.now += 3601
    ledger.arrivals.landed(ROOT, B, V2, clock.now)
    assert queries.hourly(clock.now) == Hourly(landed=1, picked=0, picks=0)
    ledger.picked(claim_one(ledger), make_result(model_version=1))

    assert queries.hourly(clock.now) == Hourly(landed=1, picked=1, picks=2)
    timeline = queries.timeline()
    assert timeline.landed_at.tolist() == [900.0, clock.now]
    assert timeline.pick_count.tolist() == [2, 2]
    assert timeline.model_version.tolist() == [0, 1]
    assert np.isnan(timeline.median_score).all()

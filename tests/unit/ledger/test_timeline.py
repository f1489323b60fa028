"""The timeline of the page, of which only changes are read again."""

from pathlib import Path

import numpy as np
import pytest
from landings import ROOT, V1, V2, claim_one

from factories import make_result
from livepick.errors import HeaderError
from livepick.ledger import timeline as timeline_module
from livepick.ledger.timeline import TimelineReader


@pytest.fixture
def reader(ledger):
    return TimelineReader(ledger.database.rows)


def pick(ledger, name, version=0, content=V1):
    ledger.arrivals.landed(ROOT, Path(name), content, 900.0)
    ledger.picked(claim_one(ledger), make_result(model_version=version))


@pytest.mark.parametrize("most", [2, 5000])
def test_the_timeline_after_changes_is_that_of_a_new_reader(
    ledger, clock, reader, monkeypatch, most
):
    """New micrographs, others that are picked again, and one that loses its picks."""
    monkeypatch.setattr(timeline_module, "MOST_CHANGED", most)
    assert len(reader.read()) == 0

    def check(count):
        clock.now += 1.0
        seen, fresh = reader.read(), TimelineReader(ledger.database.rows).read()
        assert len(seen) == count
        for name in ("landed_at", "pick_count", "median_score", "model_version"):
            np.testing.assert_array_equal(getattr(seen, name), getattr(fresh, name))

    for number in range(5):
        pick(ledger, f"{number}.mrc")
    check(5)
    pick(ledger, "5.mrc", version=1)
    check(6)
    ledger.requeue.stale(2, repick="all", threshold=0.5)
    ledger.picked(claim_one(ledger), make_result(model_version=2))
    check(6)
    ledger.arrivals.landed(ROOT, Path("3.mrc"), V2, 901.0)
    (claim,) = ledger.claim(1)
    ledger.failed(claim, HeaderError("3.mrc has no header", "Look."))
    check(5)


def test_a_clock_that_was_set_back_hides_no_change(ledger, clock, reader):
    clock.now = 4e9
    pick(ledger, "a.mrc")
    assert len(reader.read()) == 1
    clock.now = 1e9
    pick(ledger, "b.mrc")
    assert len(reader.read()) == 2

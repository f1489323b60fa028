"""The timeline of the page, of which only changes are read again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from landings import ROOT, V1, V2, claim_one

from factories import make_result
from livepick.core.imaging.quality import CtfFigures
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
        for field in dataclasses.fields(seen):
            values = (getattr(timeline, field.name) for timeline in (seen, fresh))
            np.testing.assert_array_equal(*values)

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
    content = ledger.database.rows("select content from micrograph where id = 1")[0][0]
    assert ledger.ctf.found(1, content, CtfFigures(15_000, 13_000, 0.0, 4.5))
    check(5)
    timeline = reader.read()
    assert timeline.defocus_micrometre[0] == pytest.approx(1.4)
    assert timeline.ctf_resolution_angstrom[0] == 4.5
    assert timeline.ctf_is_fitted[0] == 0
    assert np.isnan(timeline.defocus_micrometre[1:]).all()


def test_micrographs_are_in_the_order_in_which_they_landed(ledger, reader):
    """A file that is written again keeps its number, and has landed later."""
    for name, landed_at, content in (("a", 900.0, V1), ("b", 901.0, V1), ("a", 902.0, V2)):
        ledger.arrivals.landed(ROOT, Path(name), content, landed_at)
        ledger.picked(claim_one(ledger), make_result())

    assert reader.read().id.tolist() == [2, 1]
    assert reader.read().between(901.5, 903.0).id.tolist() == [1]


def test_a_clock_that_was_set_back_hides_no_change(ledger, clock, reader):
    clock.now = 4e9
    pick(ledger, "a.mrc")
    assert len(reader.read()) == 1
    clock.now = 1e9
    pick(ledger, "b.mrc")
    assert len(reader.read()) == 2

"""Queries of the ledger."""

import dataclasses
from pathlib import Path

from landings import ROOT, V1, V2, A, claim_one

from factories import make_result
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import judge
from livepick.errors import (
    ContentError,
)
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.rows import Counts


def test_the_table_knows_beforehand_which_columns_and_pixel_sizes_it_has(ledger):
    """In the order of landing; micrographs without picks do not count."""
    ctf = CtfFigures(12_000.0, 11_500.0, 30.0, 5.0)
    for number, size in enumerate((1.5, 0.5, 1.5)):
        ledger.arrivals.landed(ROOT, Path(f"{number}.mrc"), V1, 900.0)
        ledger.picked(claim_one(ledger), make_result(pixel_size_angstrom=size))
    ledger.arrivals.landed(ROOT, Path("waiting.mrc"), V1, 900.0)
    shared = ledger.reader.summary_of_measured()
    assert (shared.last_id, shared.pixel_sizes_angstrom) == (3, (1.5, 0.5))
    assert not shared.some_have_ctf
    assert ledger.ctf.found(1, 1, ctf)
    shared = ledger.reader.summary_of_measured()
    assert (shared.some_have_ctf, shared.all_have_ctf) == (True, False)
    assert [ledger.ctf.found(number, 1, ctf) for number in (2, 3)] == [True, True]
    assert ledger.reader.summary_of_measured().all_have_ctf
    assert len(list(ledger.reader.measured(until=2))) == 2


def test_quality_figures_are_read_as_they_were_written(ledger):
    """Unknown figures are null, in the row and in the table of all micrographs."""
    quality = Quality(0.1, None, contrast=1.0, anisotropy=0.25)
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result(quality=quality))

    (row,), (seen,) = ledger.reader.recent(), ledger.reader.measured()
    assert row.quality == quality
    assert seen.figures == dataclasses.astuple(quality)
    assert (row.ctf, seen.ctf) == (None, (None,) * len(dataclasses.fields(CtfFigures)))
    assert (row.quality_verdict, row.quality_reason) == judge(quality)
    assert (seen.verdict, seen.pick_count) == ("bad", 2)
    assert ledger.reader.totals().verdicts == {"good": 0, "doubtful": 0, "bad": 1}


def test_each_micrograph_is_counted_once(ledger):
    """Stale ones have picks of an older model; new content waits for its first picks."""
    for number in range(6):
        ledger.arrivals.landed(ROOT, Path(f"{number}.mrc"), V1, 900.0)
    claims = ledger.claim(5)
    for claim in claims[:3]:
        ledger.picked(claim, make_result())
    ledger.failed(claims[3], ContentError("all NaN", "Look at it."))
    ledger.requeue.stale(1, repick="all", threshold=0.5)
    ledger.picked(claim_one(ledger), make_result())  # 5.mrc came before those to be picked again
    ledger.arrivals.landed(ROOT, Path("5.mrc"), V2, 950.0)

    assert ledger.reader.counts() == Counts(queued=1, picking=1, picked=0, failed=1, stale=3)
    assert ledger.reader.counts().total == 6


def test_last_landings_and_the_last_picking_are_in_the_ledger(ledger, clock):
    """Landings are sorted, the oldest first; before the first picks there is no time."""
    for number, landed_at in enumerate((930.0, 900.0, 960.0)):
        ledger.arrivals.landed(ROOT, Path(f"{number}.mrc"), V1, landed_at)

    assert PageQueries(ledger.database).last_landings(2) == [930.0, 960.0]
    assert ledger.reader.last_picked_at() is None
    ledger.picked(claim_one(ledger), make_result())
    assert ledger.reader.last_picked_at() == clock.now


def test_visible_micrographs_are_listed_by_path_in_pages(ledger, monkeypatch):
    """No micrograph is left out or listed twice at the end of a page."""
    monkeypatch.setattr("livepick.ledger.reader.AT_ONCE", 2)
    places = [(root, Path(name)) for root in (ROOT, ROOT / "b") for name in ("x", "y", "z")]
    for root, relative in reversed(places):
        ledger.arrivals.landed(root, relative, V1, 900.0)
        ledger.picked(claim_one(ledger), make_result())
    ledger.arrivals.landed(ROOT, Path("waiting"), V1, 900.0)

    assert [(entry.root, entry.relative) for entry in ledger.reader.visible()] == places


def test_namesakes_differ_by_extension_only(ledger):
    """They would have the same coordinates file."""
    for name in ("x.mrc", "x_DW.mrc", "x.y.mrc", "sub/x.tif"):
        ledger.arrivals.landed(ROOT, Path(name), V1, 900.0)

    assert ledger.reader.namesake(ROOT, Path("x.tif")) == Path("x.mrc")
    assert ledger.reader.namesake(ROOT, Path("x.mrc")) is None
    assert ledger.reader.namesake(ROOT, Path("x.y.tif")) == Path("x.y.mrc")
    assert ledger.reader.namesake(Path("/other"), Path("x.tif")) is None


def test_picks_since_a_time_are_listed_oldest_first(ledger, clock):
    """A kind of model may be asked for."""
    for name, kind, at in (("b.mrc", "trained", 1010.0), ("a.mrc", "blob", 1020.0)):
        ledger.arrivals.landed(ROOT, Path(name), V1, 900.0)
        clock.now = at
        found = make_result(model_version=int(kind == "trained"), model_kind=kind)
        ledger.picked(claim_one(ledger), found)
    ledger.arrivals.landed(ROOT, Path("c.mrc"), V1, 900.0)

    reader = ledger.reader
    assert reader.picked_since(0.0) == [(1, 1010.0), (2, 1020.0)]
    assert reader.picked_since(1020.0) == [(2, 1020.0)]
    assert reader.picked_since(0.0, kinds=["blob", "general"]) == [(2, 1020.0)]
    assert reader.picked_since(1020.1) == []

"""Claims and results: transitions of one micrograph."""

from pathlib import Path

import pytest
from landings import ROOT, V1, V2, A, B, claim_one

from factories import make_result
from livepick.core.imaging.quality import CtfFigures
from livepick.errors import (
    PoisonError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.ledger.rows import Arrival, Counts


def test_a_micrograph_goes_from_queued_to_picked(ledger):
    """All candidates can be read back, including those below the threshold."""
    assert ledger.arrivals.landed(ROOT, A, V1, 900.0) is Arrival.NEW
    claim = claim_one(ledger)
    ledger.picked(claim, make_result())

    (row,) = ledger.reader.recent()
    assert (row.state, row.pick_count, row.model_version, row.shape_px) == (
        "picked",
        2,
        0,
        (400, 300),
    )
    assert [row.path for row in ledger.reader.picked_rows()] == [ROOT / A]
    assert len(ledger.reader.candidates(row.id)) == 3
    assert ledger.reader.totals().particles == 2


def test_ctf_figures_are_recorded_once(ledger):
    """The same CTF file may be found twice before the first result is recorded."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    claim = claim_one(ledger)
    ledger.picked(claim, make_result())
    figures = CtfFigures(12_000.0, 11_000.0, 30.0, 4.0)

    assert [ledger.ctf.found(claim.id, 1, figures) for _ in range(2)] == [True, False]


def test_new_arrivals_are_claimed_before_micrographs_to_pick_again(ledger, clock):
    """Among new arrivals, the one that has waited longest is first."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result())
    assert ledger.requeue.stale(1, repick="all", threshold=0.5) == 1
    clock.now += 10
    ledger.arrivals.landed(ROOT, B, V1, 1010.0)
    clock.now += 10
    ledger.arrivals.landed(ROOT, Path("c.mrc"), V1, 1020.0)

    order = [(claim.relative.name, claim.repick) for claim in ledger.claim(10)]
    assert order == [("b.mrc", False), ("c.mrc", False), ("a.mrc", True)]


def test_new_content_invalidates_the_job_in_progress(ledger):
    """The result for the old content is refused; landing again with the same content is ignored."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    old = claim_one(ledger)

    assert ledger.arrivals.landed(ROOT, A, V1, 900.0) is Arrival.KNOWN
    assert ledger.holds(old)
    assert ledger.arrivals.landed(ROOT, A, V2, 950.0) is Arrival.CHANGED
    assert not ledger.holds(old)
    new = claim_one(ledger)
    with pytest.raises(RuntimeError, match="not in progress"):
        ledger.picked(old, make_result())
    ledger.picked(new, make_result())

    assert (new.version, new.repick) == (V2, False)
    assert ledger.reader.get(new.id).content == 2


def test_a_retry_waits_and_is_counted(ledger, clock):
    """A release is not counted as a try; the micrograph goes to the end of the queue."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.retry(claim_one(ledger), UnreadableFileError("EIO", "Look."), delay_seconds=5)
    assert ledger.claim(1) == []
    clock.now += 6
    claim = claim_one(ledger)
    assert claim.tries == 1

    clock.now += 1
    ledger.arrivals.landed(ROOT, B, V1, 900.0)
    clock.now += 1
    ledger.released(claim)
    assert [claim.relative for claim in ledger.claim(2)] == [B, A]


@pytest.mark.parametrize(
    ("kind", "order"), [(VanishedFileError, [B, A]), (UnreadableFileError, [A, B])]
)
def test_tries_of_files_that_are_gone_come_after_newer_files(ledger, clock, kind, order):
    """Deleted while queued, they must not hold up what lands."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    clock.now += 1
    ledger.arrivals.landed(ROOT, B, V1, 901.0)
    clock.now += 1
    ledger.retry(claim_one(ledger), kind("a.mrc", "Look."), delay_seconds=5)
    clock.now += 6
    assert [claim.relative for claim in ledger.claim(2)] == order


def test_a_suspect_is_claimed_separately(ledger):
    """A success resets the count."""
    error = PoisonError("a.mrc ends its worker", "Look at it.")
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.suspected(claim_one(ledger), error)
    assert ledger.suspects()
    assert ledger.claim(5) == []
    claim = claim_one(ledger, suspects=True)
    assert (claim.crashes, claim.last_reason) == (1, "poison")
    ledger.picked(claim, make_result())
    ledger.requeue.stale(1, repick="all", threshold=0.5)
    claim = claim_one(ledger)
    assert (claim.crashes, claim.last_reason) == (0, None)


@pytest.mark.parametrize("suspect", [True, False])
def test_a_clock_that_is_set_back_delays_no_retry(ledger, clock, suspect):
    """An hour, while a micrograph waits for its next try."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    claim = claim_one(ledger)
    error = PoisonError("a.mrc ends its worker", "Look at it.")
    if suspect:
        ledger.suspected(claim, error)
        ledger.retry(claim_one(ledger, suspects=True), error, delay_seconds=30)
    else:
        ledger.retry(claim, error, delay_seconds=30)
    assert not ledger.suspects()
    assert ledger.claim(1, suspects=suspect) == []
    clock.now -= 3600
    assert ledger.suspects() is suspect
    assert len(ledger.claim(1, suspects=suspect)) == 1


def test_an_interrupted_micrograph_is_queued_behind_the_others(ledger, clock):
    """It is not a suspect, and waits a moment."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    claim = claim_one(ledger)
    clock.now += 1
    ledger.arrivals.landed(ROOT, B, V1, 900.0)
    clock.now += 1
    ledger.interrupted(claim, delay_seconds=3)
    assert not ledger.suspects()
    ledger.released(claim_one(ledger))
    clock.now += 3
    assert [(c.relative, c.interruptions) for c in ledger.claim(2)] == [(A, 1), (B, 0)]


def test_micrographs_in_an_unavailable_folder_are_not_claimed(ledger):
    """Micrographs that could not be read are queued again when the folder is back."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    assert ledger.claim(1, without={ROOT}) == []
    ledger.failed(claim_one(ledger), UnreadableFileError("EIO", "Look at the disk."))
    assert ledger.requeue.vanished(ROOT) == 1
    assert ledger.reader.counts() == Counts(queued=1)

"""Micrographs queued again after a restart or for another model."""

from pathlib import Path

import pytest
from landings import ROOT, V1, V2, A, claim_one

from factories import make_result
from livepick.errors import (
    MemoryLimitError,
    PoisonError,
    TimeLimitError,
    UnreadableFileError,
)
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.requeue import (
    MAX_CRASHES,
    MAX_INTERRUPTIONS,
    SUSPICIOUS_INTERRUPTIONS,
)
from livepick.ledger.rows import Counts, LateTry
from livepick.ledger.writer import LedgerWriter


def test_micrographs_of_a_killed_service_are_queued_at_the_next_start(tmp_path):
    """A micrograph that was being picked at ``MAX_INTERRUPTIONS`` ends is given up."""
    path = tmp_path / LEDGER
    for _ in range(MAX_INTERRUPTIONS):
        with Database.writable(path) as database:
            ledger = LedgerWriter(database)
            ledger.arrivals.landed(ROOT, A, V1, 900.0)
            ledger.requeue.recover()
            assert len(ledger.claim(1) or ledger.claim(1, suspects=True)) == 1
    with Database.writable(path) as database:
        ledger = LedgerWriter(database)
        assert ledger.requeue.recover() == 0
        (row,) = ledger.reader.recent()

    assert (row.state, row.reason, row.interruptions) == ("failed", "poison", MAX_INTERRUPTIONS)
    assert row.error == "a.mrc was being picked each of the 20 times that the service ended"


def test_a_micrograph_that_was_interrupted_often_runs_alone_behind_the_others(ledger):
    """It may be what ends the service, and others must not be counted with it."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    for _ in range(SUSPICIOUS_INTERRUPTIONS - 1):
        claim_one(ledger)
        ledger.requeue.recover()
    assert not ledger.suspects()
    claim_one(ledger)
    ledger.requeue.recover()
    assert ledger.suspects()


@pytest.mark.parametrize("error", [PoisonError, TimeLimitError, MemoryLimitError])
def test_a_micrograph_that_ended_its_worker_gets_one_more_try_after_a_start(ledger, error):
    """It is a suspect, whose next crash or excess is the last."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.failed(claim_one(ledger), error("a.mrc", "Look at it."))
    ledger.requeue.recover()
    assert claim_one(ledger, suspects=True).crashes + 1 == MAX_CRASHES


def test_a_micrograph_that_stopped_the_service_while_picked_again_keeps_its_picks(tmp_path):
    """It is not tried again at the next start, but for the next model."""
    path = tmp_path / LEDGER
    with Database.writable(path) as database:
        ledger = LedgerWriter(database)
        ledger.arrivals.landed(ROOT, A, V1, 900.0)
        ledger.picked(claim_one(ledger), make_result())
        ledger.requeue.stale(1, repick="all", threshold=0.5)
        for _ in range(MAX_INTERRUPTIONS):
            (claim,) = ledger.claim(1) or ledger.claim(1, suspects=True)
            assert claim.repick
            ledger.requeue.recover()
        (row,) = ledger.reader.recent()
        assert (row.state, row.reason, row.pick_count) == ("picked", "poison", 2)
        options = {"repick": "all", "threshold": 0.5}
        assert ledger.requeue.stale(1, **options, retry_failed="harmless") == 0
        assert ledger.requeue.stale(2, **options) == 1


def test_a_failure_to_pick_again_is_forgotten_when_it_is_no_longer_wanted(ledger):
    """After a rollback the picks are those of the model in use; or nothing is picked again."""
    options = {"repick": "all", "threshold": 0.5}
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result())

    def fail():
        assert ledger.requeue.stale(1, **options) == 1
        ledger.failed(claim_one(ledger), UnreadableFileError("EIO", "Look."))
        assert ledger.reader.repick_failure_count() == 1
        assert ledger.requeue.stale(1, **options, retry_failed="none") == 0

    fail()
    assert ledger.requeue.stale(0, **options) == 0
    assert ledger.reader.repick_failures(9) == []
    fail()
    assert ledger.requeue.cancel_stale() == 0
    assert ledger.reader.repick_failure_count() == 0
    fail()
    assert ledger.requeue.vanished(ROOT) == 1
    assert ledger.reader.counts() == Counts(stale=1)


@pytest.mark.parametrize(
    ("repick", "for_all", "due"),
    [
        ("provisional", False, {"blob", "general", "recut"}),
        ("provisional", True, {"blob", "general", "recut", "old recut"}),
        ("all", False, {"blob", "general", "recut", "old", "old recut"}),
        ("none", True, set()),
    ],
)
def test_picks_of_another_model_or_threshold_are_due(ledger, repick, for_all, due):
    """A model's own threshold applies to that model only. A second call queues nothing."""
    made = {
        "blob": make_result(model_version=0, model_kind="blob"),
        "general": make_result(model_version=3, model_kind="general"),
        "old": make_result(model_version=1, model_kind="trained"),
        "old recut": make_result(model_version=1, model_kind="trained", threshold=0.3),
        "present": make_result(model_version=2, model_kind="trained"),
        "recut": make_result(model_version=2, model_kind="trained", threshold=0.3),
    }
    for name, found in made.items():
        ledger.arrivals.landed(ROOT, Path(name), V1, 900.0)
        ledger.picked(claim_one(ledger), found)

    count = ledger.requeue.stale(2, repick=repick, threshold=0.5, for_all=for_all)

    assert {str(row.relative) for row in ledger.reader.recent(state="queued")} == due
    assert count == len(due)
    assert ledger.requeue.stale(2, repick=repick, threshold=0.5, for_all=for_all) == 0


def test_micrographs_waiting_to_be_picked_again_may_keep_their_picks(ledger):
    """Micrographs without picks, or with new content, stay in the queue."""
    for name in ("a", "b", "c"):
        ledger.arrivals.landed(ROOT, Path(name), V1, 900.0)
    for claim in ledger.claim(2):
        ledger.picked(claim, make_result())
    ledger.requeue.stale(1, repick="all", threshold=0.5)
    ledger.arrivals.landed(ROOT, Path("b"), V2, 950.0)

    assert ledger.requeue.cancel_stale() == 1
    assert ledger.reader.counts() == Counts(picked=1, queued=2)
    assert ledger.requeue.cancel_stale() == 0
    assert [row.relative for row in ledger.reader.picked_rows()] == [Path("a")]


def test_a_late_try_comes_when_its_time_has_come(ledger, clock):
    """A delay that is over does not count for other reasons, nor for a usual retry before it."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    error = UnreadableFileError("EIO", "Look.")
    ledger.retry(claim_one(ledger), error, delay_seconds=0.0)
    ledger.failed(claim_one(ledger), error)
    assert ledger.requeue.late() == 0

    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.failed(claim_one(ledger), error, late=LateTry(3, 600.0))
    assert ledger.requeue.late() == 0
    clock.now += 601
    assert ledger.requeue.late() == 1
    claim = claim_one(ledger)
    assert (claim.tries, claim.last_reason, claim.repick) == (3, "io", False)

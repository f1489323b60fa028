"""Changes of model, threshold and policy: which micrographs are picked again."""

import dataclasses
import threading
from pathlib import Path

import pytest
from dispatch_session import ROOT, V1, card, find_two

from factories import make_result
from livepick.ledger.inbox import PickingChanged, Promoted
from livepick.ledger.rows import Counts
from livepick.picking import engine as engines
from livepick.picking import model_in_use as model_module
from livepick.picking.model_in_use import CurrentModel


def test_new_model_picks_everything_again_after_new_arrivals(session):
    """The old picks stay until the new ones are written."""
    order = []
    gate = threading.Event()

    def work(job):
        if job.bundle.name == "0001":
            gate.wait(30)
            order.append(job.path.name)
        return find_two(job)

    run = session(work, engines.threads(1)).land("a.mrc", "b.mrc", "c.mrc").start()
    run.until_counts(picked=3)
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.until_counts(picking=2, stale=1)
    assert "(blob)" in (run.out / "c_autopick.star").read_text()
    run.land("new.mrc")
    run.until_counts(picking=2, stale=1, queued=1)
    gate.set()
    run.until_counts(picked=4)
    run.stop()

    assert order[2:] == ["new.mrc", "c.mrc"]
    assert {row.model_version for row in run.rows().values()} == {1}
    assert "model 1 (trained)" in (run.out / "c_autopick.star").read_text()
    assert run.instruments.latencies.count(None) == 3
    assert run.ledger.reader.model().kind == "trained"


def test_result_of_a_job_that_began_before_a_promotion_is_picked_again(session):
    """It was picked by the previous model."""
    hold = threading.Event()

    def work(job):
        if job.bundle.name == "0000":
            hold.wait(30)
        return find_two(job)

    run = session(work).land("a.mrc").start()
    run.until_counts(picking=1)
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.until(lambda: run.reader.model().version == 1)
    hold.set()
    run.until(lambda: run.rows()["a.mrc"].model_version == 1)


def test_start_with_another_model_or_threshold_picks_again(session):
    """A kill between promotion and queueing is repaired, and an edited threshold is applied."""
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run = session(bundle=Path("/models/0001"), card=card(1, "trained")).start()
    run.until(lambda: run.rows()["a.mrc"].model_version == 1)
    run = session(bundle=Path("/models/0001"), card=card(1, "trained"), threshold=0.05).start()
    run.until(lambda: run.rows()["a.mrc"].pick_count == 3)
    run.stop()
    assert run.rows()["a.mrc"].attempt == 3


@pytest.mark.parametrize(
    ("repick", "versions"),
    [("provisional", [2, 1, 2]), ("all", [2, 2, 2]), ("none", [0, 1, 2])],
)
def test_policy_selects_what_a_new_model_picks_again(session, repick, versions):
    """Blob picks, all picks, or none; later arrivals are picked by the new model in any case."""
    run = session(repick="none").land("blob.mrc").start()
    run.until_counts(picked=1)
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.land("old.mrc")
    run.until_counts(picked=2)
    run = session(bundle=Path("/models/0002"), card=card(2, "trained"), repick=repick)
    run.land("new.mrc").start()
    run.until_counts(picked=3)
    run.stop()

    rows = run.rows()
    names = ("blob.mrc", "old.mrc", "new.mrc")
    assert [rows[name].model_version for name in names] == versions


@pytest.mark.parametrize(("repick", "version"), [("provisional", 2), ("none", 1)])
@pytest.mark.parametrize("live", [True, False])
def test_trained_picks_of_another_particle_are_picked_again(session, repick, version, live):
    """The policy none is respected, at a promotion and at a start."""
    other = dataclasses.replace(card(2), particle_fingerprint="q")
    run = session(bundle=Path("/models/0001"), card=card(1, "trained"), repick=repick)
    run.land("a.mrc").start()
    run.until_counts(picked=1)
    if live:
        run.inbox.put(Promoted(Path("/models/0002"), other))
    else:
        run = session(bundle=Path("/models/0002"), card=other, repick=repick).start()
    run.until(lambda: run.reader.model().version == 2)
    run.until_counts(picked=1)
    run.stop()

    assert run.rows()["a.mrc"].model_version == version


def test_edited_threshold_applies_to_new_and_to_existing_picks(session):
    """Files are rewritten; jobs in progress with the old threshold are picked again."""
    hold = threading.Event()

    def work(job):
        if job.path.name == "slow.mrc" and job.threshold is None:
            hold.wait(30)
        return find_two(job)

    run = session(work).land("a.mrc").start()
    run.until_counts(picked=1)
    run.land("slow.mrc")
    run.until_counts(picked=1, picking=1)
    run.inbox.put(PickingChanged(0.05, "provisional"))
    run.until(lambda: run.rows()["a.mrc"].pick_count == 3)
    hold.set()
    run.until(lambda: run.rows()["slow.mrc"].pick_count == 3)
    run.land("b.mrc")
    run.until_counts(picked=3)

    assert {row.threshold for row in run.rows().values()} == {0.05}


def test_edited_threshold_applies_to_picks_of_older_models(session):
    """The promotion did not pick them again; a configured threshold is for the whole session."""
    run = session(bundle=Path("/models/0001"), card=card(1, "trained")).land("old.mrc").start()
    run.until_counts(picked=1)
    run.inbox.put(Promoted(Path("/models/0002"), card(2, "trained")))
    run.until(lambda: run.reader.model().version == 2)
    assert run.rows()["old.mrc"].model_version == 1
    run.inbox.put(PickingChanged(0.05, "provisional"))
    run.until(lambda: run.rows()["old.mrc"].pick_count == 3)


def test_edited_policy_queues_what_is_due_and_dequeues_the_rest(session):
    """``all`` queues at once; with ``none``, waiting micrographs keep the picks that they have."""
    gate = threading.Event()

    def work(job):
        if job.bundle.name == "0001":
            gate.wait(30)
        return find_two(job)

    run = session(work, engines.threads(1), repick="none").land("a.mrc", "b.mrc", "c.mrc").start()
    run.until_counts(picked=3)
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.until(lambda: run.reader.model().version == 1)
    assert run.reader.counts() == Counts(picked=3)
    run.inbox.put(PickingChanged(None, "all"))
    run.until_counts(picking=2, stale=1)
    run.inbox.put(PickingChanged(None, "none"))
    run.until_counts(picking=2, picked=1)
    gate.set()
    run.until_counts(picked=3)

    assert sorted(row.model_version for row in run.rows().values()) == [0, 1, 1]


def test_many_micrographs_are_queued_for_another_model_a_part_at_a_time(ledger, monkeypatch):
    """So that no turn of the loop takes long; the log says how many in all."""
    monkeypatch.setattr(model_module, "AT_ONCE", 2)
    for number in range(5):
        ledger.arrivals.landed(ROOT, Path(f"{number}.mrc"), V1, 900.0)
        ledger.picked(ledger.claim(1)[0], make_result())
    model = CurrentModel(ledger, bundle=Path("/models/0000"), card=card())
    model.begin()
    queued = []
    model.promote(Path("/models/0001"), card(1, "trained"))
    while not queued or queued[-1] < 5:
        queued.append(ledger.reader.counts().stale)
        model.turn()
    assert queued == [2, 4, 5]

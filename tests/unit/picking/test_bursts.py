"""Thousands of files that land at once."""

import time
from pathlib import Path
from types import SimpleNamespace

from dispatch_session import V1, V2, card, find_two

from livepick.ledger.inbox import CtfFound, Promoted, SetAside
from livepick.picking import dispatch, record_bulk
from livepick.picking import engine as engines
from livepick.picking.backlog import Backlog

COUNT = 300
NAMES = [f"{number:04d}.mrc" for number in range(COUNT)]


def test_the_first_arrivals_are_picked_before_the_last_are_recorded(session, monkeypatch):
    record, in_progress = record_bulk.take_arrivals, []
    run = session().land(*NAMES)

    def counting(batch, **given):
        counts = run.ledger.reader.counts()
        in_progress.append(counts.picking + counts.picked)
        record(batch, **given)

    monkeypatch.setattr(record_bulk, "take_arrivals", counting)
    run.start()
    run.until_counts(picked=COUNT)

    assert len(in_progress) == COUNT / record_bulk.BATCH
    assert in_progress[0] == 0
    assert all(in_progress[1:])


def test_other_messages_do_not_wait_behind_a_burst_of_arrivals(session):
    """The model is in use before the first of many arrivals is recorded."""
    run = session().land(*NAMES)
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.start()
    run.until_counts(picked=COUNT)

    assert {(row.attempt, row.model_version) for row in run.rows().values()} == {(1, 1)}


def test_content_that_changes_at_once_is_picked_in_the_order_of_arrival(session):
    """A burst of new content neither overtakes what waits nor is overtaken by what comes later."""
    order = []

    def work(job):
        order.append(job.path.name)
        return find_two(job)

    run = session(work, engines.threads(1)).land(*NAMES[:40]).start()
    run.until_counts(picked=40)
    run.stop()
    assert order == NAMES[:40]

    order.clear()
    run = session(work, engines.threads(1))
    run.land("before.mrc").land(*NAMES[:20], version=V2).land("after.mrc").start()
    run.until_counts(picked=42)
    run.stop()
    assert order == ["before.mrc", *NAMES[:20], "after.mrc"]


def test_a_backlog_keeps_the_order_of_each_kind():
    """Arrivals and CTF figures are in one queue, so that figures come after their micrograph."""
    backlog = Backlog()
    bad = SetAside(Path("/data/avg"), Path("a.mrc"), V1, "header", "no header", "Look.", 1.0)
    for message in (bad, bad, CtfFound(1, 1, None), bad):
        backlog.add(message)
    assert backlog.arrivals(1) == [bad]
    assert backlog.arrivals(10) == [bad, bad]
    assert backlog
    assert not backlog.urgent


def test_the_loop_waits_for_more_files_only_while_no_worker_waits_for_work(session, monkeypatch):
    """Files and results that come in quick succession share a commit then."""
    queued = []
    run = session(engine=engines.threads(2))

    def sleep(seconds):
        if seconds > 0:
            queued.append(run.ledger.reader.counts().queued)

    monkeypatch.setattr(dispatch, "time", SimpleNamespace(**{**vars(time), "sleep": sleep}))
    monkeypatch.setattr(dispatch, "TOGETHER_SECONDS", 600.0)
    run.land(*NAMES[:50]).start()
    run.until_counts(picked=50)
    run.land("late.mrc")
    run.until_counts(picked=51)
    run.stop()

    assert queued
    assert not any(queued)

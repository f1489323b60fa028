"""Order of the jobs: suspects are tried alone, and picking waits while there are no workers."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from dispatch_session import find_two

from livepick.core.contracts.job import Job, Result
from livepick.core.formats.file_version import FileVersion
from livepick.errors import EngineError, MemoryLimitError, TimeLimitError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.rows import Counts
from livepick.ledger.writer import LedgerWriter
from livepick.picking import engine as engines
from livepick.picking import jobs_in_progress
from livepick.picking.jobs_in_progress import JobsInProgress


def die_on_poison(job: Job) -> Result:
    if job.path.name == "poison.mrc":
        os._exit(1)
    return find_two(job)


def be_killed_twice(job: Job) -> Result:
    """Be killed by another program on the first tries of one micrograph."""
    if job.path.name == "victim.mrc":
        tries = Path(os.environ["LIVEPICK_TEST_TRIES"])
        with tries.open("a") as file:
            file.write(".")
        if tries.stat().st_size <= 2:
            os.kill(os.getpid(), signal.SIGKILL)
    return find_two(job)


def test_micrograph_that_crashes_workers_is_found_and_the_others_are_picked(session):
    """It fails as poison after three crashes, with real processes."""
    names = [f"{number}.mrc" for number in range(5)]
    run = session(die_on_poison, engines.local(2))
    run.land(*names[:2], "poison.mrc", *names[2:]).start()
    run.until_counts(picked=5, failed=1)
    run.stop()

    row = run.rows()["poison.mrc"]
    assert (row.reason, row.attempt) == ("poison", 3)
    assert max(row.attempt for row in run.rows().values() if row.state == "picked") <= 2
    assert run.instruments.calls["worker_crashed"] == 3
    assert run.instruments.calls["failed", "poison", "pick"] == 1


@pytest.mark.parametrize("error", [TimeLimitError, MemoryLimitError])
def test_micrograph_that_exceeds_a_limit_is_tried_again_alone_and_fails(session, error):
    """The others are picked, and have one try each."""
    running, beside = Counter(), []

    def work(job):
        running[job.path.name] += 1
        beside.append(sum(running.values()) - 1)
        try:
            if job.path.name == "slow.mrc":
                raise error("slow.mrc exceeds a limit", "Raise it.")
            return find_two(job)
        finally:
            running[job.path.name] -= 1

    names = [f"{number}.mrc" for number in range(5)]
    run = session(work).land("slow.mrc", *names).start()
    run.until_counts(picked=5, failed=1)
    run.stop()

    rows = run.rows()
    assert (rows["slow.mrc"].reason, rows["slow.mrc"].attempt) == (error.reason, 2)
    assert rows["slow.mrc"].error == "slow.mrc exceeds a limit"
    assert {row.attempt for name, row in rows.items() if name != "slow.mrc"} == {1}
    assert run.instruments.calls["failed", error.reason, "pick"] == 1
    assert run.instruments.calls["retried", error.reason] == 1


@pytest.mark.parametrize("error", [TimeLimitError, MemoryLimitError])
def test_micrograph_that_hangs_alone_holds_the_others_up_only_for_a_while(
    session, monkeypatch, error
):
    """They continue beside it, unless it needs much memory: then they wait for it."""
    monkeypatch.setattr(jobs_in_progress, "ALONE_SECONDS", 0.3)
    tries, end = Counter(), threading.Event()

    def work(job):
        tries[job.path.name] += 1
        if job.path.name == "slow.mrc":
            if tries["slow.mrc"] == 2:
                end.wait(60)
            raise error("slow.mrc exceeds a limit", "Raise it.")
        return find_two(job)

    run = session(work).land("slow.mrc").start()
    run.until(lambda: tries["slow.mrc"] == 2)
    run.land("a.mrc", "b.mrc")
    if error is TimeLimitError:
        run.until_counts(picked=2, picking=1)
    else:
        run.until_counts(queued=2, picking=1)
        enough = time.monotonic() + 2 * jobs_in_progress.ALONE_SECONDS
        run.until(lambda: run.dispatch.progress_at > enough)  # a turn of the loop since then
        assert run.reader.counts() == Counts(queued=2, picking=1)
    end.set()
    run.until_counts(picked=2, failed=1)


def test_micrograph_whose_worker_is_killed_from_outside_is_not_to_blame(
    session, monkeypatch, tmp_path
):
    monkeypatch.setenv("LIVEPICK_TEST_TRIES", str(tmp_path / "tries"))
    run = session(be_killed_twice, engines.local(2))
    run.land("victim.mrc", "a.mrc", "b.mrc").start()
    run.until_counts(picked=3)
    run.stop()
    assert run.rows()["victim.mrc"].attempt == 3
    assert run.instruments.calls["worker_crashed"] == 2
    assert run.instruments.calls["retried", "poison"] == 2


def test_picking_waits_while_no_worker_can_be_started(session, monkeypatch):
    """It costs no try, and is a problem to show."""
    monkeypatch.setattr(jobs_in_progress, "ENGINE_PAUSE_SECONDS", 0.1)
    broken = threading.Event()
    broken.set()

    def work(job):
        if broken.is_set():
            raise EngineError("worker processes do not start", "Look in the log.")
        return find_two(job)

    run = session(work).land("a.mrc", "b.mrc").start()
    run.until(lambda: run.dispatch.engine_fault is not None)
    broken.clear()
    run.until_counts(picked=2)
    run.until(lambda: run.dispatch.engine_fault is None)  # a moment later
    assert {row.tries for row in run.rows().values()} == {0}


def test_the_ledger_is_not_asked_again_for_due_micrographs_while_nothing_has_changed(
    tmp_path, monkeypatch
):
    """The loop asks several times for each micrograph. A change, or some time, makes it look."""
    now = [1000.0]
    monkeypatch.setattr(jobs_in_progress.time, "monotonic", lambda: now[0])
    with Database.writable(tmp_path / LEDGER) as database:
        ledger = LedgerWriter(database)
        jobs = JobsInProgress(ledger)
        asked = []
        claim = ledger.claim
        monkeypatch.setattr(
            ledger, "claim", lambda *args, **options: asked.append(1) or claim(*args, **options)
        )
        away = Path("/away")
        assert jobs.claim(2, without={away}) == []
        assert jobs.claim(2, without={away}) == []
        assert len(asked) == 1
        assert jobs.claim(2, without=()) == []  # a folder is back
        assert len(asked) == 2
        ledger.arrivals.landed(Path("/in"), Path("a.mrc"), FileVersion(1, 2, 3), 4.0)
        assert [each.relative for each in jobs.claim(2, without=())] == [Path("a.mrc")]
        assert jobs.claim(2, without=()) == jobs.claim(2, without=()) == []
        assert len(asked) == 4
        now[0] += jobs_in_progress.LOOK_SECONDS  # a retry may be due now
        assert jobs.claim(2, without=()) == []
        assert len(asked) == 5


def test_all_are_claimed_only_if_a_worker_is_free_and_nothing_is_due(tmp_path):
    """Otherwise a worker may wait for the next turn of the loop."""
    with Database.writable(tmp_path / LEDGER) as database:
        ledger = LedgerWriter(database)
        jobs = JobsInProgress(ledger)
        for name in ("a.mrc", "b.mrc", "c.mrc"):
            ledger.arrivals.landed(Path("/in"), Path(name), FileVersion(1, 2, 3), 4.0)
        for most, expected in ((2, False), (2, True), (2, True)):
            for claim in jobs.claim(most, without=()):
                jobs.begin(claim)
            assert jobs.all_are_claimed is expected
        assert jobs.free_slots(3) == 0
        assert not jobs.all_are_claimed

"""The dispatch loop, with threads for workers and a ledger on disk."""

import queue
import threading
from pathlib import Path

from dispatch_session import ROOT, V1, find_two

from livepick.core.imaging.quality import CtfFigures
from livepick.errors import LedgerWriteError
from livepick.ledger.inbox import CtfFound, RunChanged
from livepick.ledger.rows import Counts, Failure
from livepick.picking import dispatch as dispatch_module
from livepick.picking import engine as engines
from livepick.picking.micrograph_table import CSV, QUALITY


def test_micrographs_that_land_are_picked(session):
    """Two of one name in different folders have a file each; the list names both."""
    run = session().land("one/a.mrc", "two/a.mrc").start()
    run.until_counts(picked=2)
    run.stop()

    assert run.files() == ["autopick.star", "one/a_autopick.star", "two/a_autopick.star"]
    assert "one/a.mrc" in (run.out / "autopick.star").read_text()
    assert run.instruments.calls["landed"] == run.instruments.calls["picked"] == 2
    assert all(seconds is not None for seconds in run.instruments.latencies)
    assert run.error is None


def test_nothing_is_picked_until_the_particle_is_known(session):
    """What lands meanwhile is recorded, and picked then."""
    held = threading.Event()
    held.set()
    run = session(is_held=held.is_set).land("a.mrc", "b.mrc").start()
    run.until_counts(queued=2)
    held.clear()
    run.until_counts(picked=2)
    run.stop()


def test_table_of_figures_follows_the_ledger(session):
    """It has a row for each picked micrograph. Deleted, it is written again at the next start."""
    live = session(tables=True).land("a.mrc", "b.mrc").start()
    live.until_counts(picked=2)
    live.stop()
    first = (live.out / QUALITY).read_bytes()
    assert len((live.out / CSV).read_text().splitlines()) == 3
    (live.out / QUALITY).unlink()

    again = session(tables=True).start()
    again.until((again.out / QUALITY).exists)
    assert (again.out / QUALITY).read_bytes() == first


def test_ctf_found_after_picking_is_in_the_table(session):
    """The table is rewritten although nothing was picked; the CTF is counted once."""
    live = session(tables=True).land("a.mrc").start()
    live.until_counts(picked=1)
    (row,) = live.ledger.reader.recent()
    found = CtfFound(row.id, row.content, CtfFigures(12000.0, 11000.0, 5.0, 4.5))
    for _ in range(2):  # a look may come before the first is recorded
        live.inbox.put(found)
    live.stop()

    assert live.instruments.calls["ctf_found"] == 1
    assert "rlnDefocusU" in (live.out / QUALITY).read_text()
    assert "4.5" in (live.out / CSV).read_text()


def test_next_start_recovers_from_a_kill(session):
    """Files are whole, no row is double, and unfinished files are removed."""
    run = session()
    run.ledger.arrivals.landed(ROOT, Path("a.mrc"), V1, 900.0)
    run.ledger.claim(1)
    run.out.mkdir()
    (run.out / ".livepick-0123abcd.tmp").write_text("half")
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run.stop()

    assert run.files() == ["a_autopick.star", "autopick.star"]
    assert run.rows()["a.mrc"].attempt == 2


def test_output_fault_is_cleared_even_if_nothing_lands(session):
    """The list that was due is written, or is as it should be; no new micrograph is needed."""
    run = session()
    folder, link, file = (run.out.with_name(name) for name in ("folder", "link", "file"))
    folder.mkdir()
    run.out.symlink_to(folder)  # which can be replaced in one step, and not written in between
    link.symlink_to(folder)
    file.touch()
    run.land("a.mrc").start()
    run.until(lambda: run.files() == ["a_autopick.star", "autopick.star"])
    file.replace(run.out)
    run.outputs.reconcile(ROOT, Path("b.mrc"))
    run.until(lambda: run.outputs.fault is not None)
    link.replace(run.out)
    run.until(lambda: run.outputs.fault is None)


def test_nothing_is_lost_while_the_ledger_cannot_be_written(session, monkeypatch):
    """Results are recorded once writing works again; the fault is shown until then."""
    monkeypatch.setattr(dispatch_module, "LEDGER_RETRY_SECONDS", 0.5)
    run = session()
    picked, said, seen = run.ledger.picked, [], threading.Event()

    def full(claim, result):
        said.append(run.dispatch.ledger_fault is not None)
        if len(said) <= 2:
            raise LedgerWriteError("writing to the ledger failed", "Free space.")
        seen.wait(60)
        picked(claim, result)

    monkeypatch.setattr(run.ledger, "picked", full)
    run.land("a.mrc").start()
    run.until(lambda: run.dispatch.ledger_fault is not None)
    seen.set()
    run.until_counts(picked=1)
    run.until(lambda: run.dispatch.ledger_fault is None)
    run.stop()
    assert said == [False, True, True]  # while it is tried again, too
    assert (run.instruments.calls["picked"], run.rows()["a.mrc"].attempt) == (1, 1)


def test_missing_file_is_written_again_from_the_ledger(session):
    """No micrograph is read for it; the file of a failed micrograph is removed."""
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run.stop()
    text = (run.out / "a_autopick.star").read_text()
    (run.out / "a_autopick.star").unlink()
    failure = Failure("header", "garbage", "Look.")
    run.ledger.arrivals.set_aside(ROOT, Path("bad.mrc"), V1, 900.0, failure)
    run.star.folder.write(run.out / "bad_autopick.star", b"picks of long ago")
    run = session(work=None).start()
    run.until(lambda: run.files() == ["a_autopick.star", "autopick.star"])

    assert (run.out / "a_autopick.star").read_text() == text


def test_stop_does_not_wait_forever(session):
    """Jobs that are not done in time are left to the next start; nothing more is claimed."""
    hold = threading.Event()

    def work(job):
        hold.wait(30)
        return find_two(job)

    run = session(work, engines.threads(1)).land("a.mrc", "b.mrc", "c.mrc").start()
    run.until_counts(picking=2, queued=1)
    run.stop()
    hold.set()
    assert run.ledger.reader.counts() == Counts(picking=2, queued=1)
    assert run.error is None


def test_training_runs_are_recorded(session):
    """The retrain thread does not write to the ledger itself."""
    run = session()
    run.inbox.put(RunChanged(1, "abc", "running"))
    run.inbox.put(RunChanged(1, "abc", "failed", "out of memory"))
    run.start()
    run.until(lambda: [r.state for r in run.reader.runs()] == ["failed"])


def test_progress_time_moves_even_when_nothing_happens(session):
    """The watchdog checks the time of the last turn."""
    run = session().start()
    before = run.dispatch.progress_at
    run.until(lambda: run.dispatch.progress_at > before)
    assert isinstance(run.inbox, queue.SimpleQueue)


def test_a_ledger_that_cannot_be_written_at_the_start_is_waited_for(session, monkeypatch):
    """The service does not end, and says what it waits for."""
    monkeypatch.setattr(dispatch_module, "LEDGER_RETRY_SECONDS", 0.05)
    run = session()
    recover, is_full = run.ledger.requeue.recover, threading.Event()
    is_full.set()

    def refuse():
        if is_full.is_set():
            raise LedgerWriteError("disk full", "Free some.")
        return recover()

    run.ledger.requeue.recover = refuse
    run.land("a.mrc").start()
    run.until(lambda: run.dispatch.ledger_fault is not None)
    is_full.clear()
    run.until_counts(picked=1)
    assert run.dispatch.ledger_fault is None

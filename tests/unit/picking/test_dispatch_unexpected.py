"""Unexpected errors in the dispatch thread: one micrograph or message is passed over."""

from pathlib import Path

from dispatch_session import ROOT, V1, find_two

from livepick.core.contracts.judgement import Judgement
from livepick.ledger.inbox import CtfFound, Landed, RunChanged
from livepick.ledger.writer import LedgerWriter
from livepick.picking import record_bulk
from livepick.picking.micrograph_table import MicrographTable
from livepick.picking.model_in_use import CurrentModel
from livepick.picking.relion_files import RelionFiles


def breaking(function, what):
    """Return a function that fails if one of its arguments contains a text."""

    def broken(*args, **kwargs):
        if any(what in str(argument) for argument in (*args, *kwargs.values())):
            raise RecursionError("maximum recursion depth exceeded")
        return function(*args, **kwargs)

    return broken


def test_an_arrival_that_cannot_be_recorded_stops_no_other(session, monkeypatch):
    """They came in one batch."""
    record = record_bulk.take_arrivals
    monkeypatch.setattr(record_bulk, "take_arrivals", breaking(record, "odd"))
    run = session().land("a.mrc", "odd.mrc", "b.mrc").start()
    run.until_counts(picked=2)
    run.stop()

    assert sorted(run.rows()) == ["a.mrc", "b.mrc"]
    assert run.unexpected.latest.item == "/data/avg/odd.mrc"
    assert run.error is None


def test_a_micrograph_that_cannot_be_settled_fails_alone(session, monkeypatch):
    picked = LedgerWriter.picked
    monkeypatch.setattr(LedgerWriter, "picked", breaking(picked, "odd"))
    run = session().land("a.mrc", "odd.mrc", "b.mrc").start()
    run.until_counts(picked=2, failed=1)
    run.stop()

    row = run.rows()["odd.mrc"]
    assert "RecursionError" in row.error
    assert "report it" in row.remedy
    assert run.unexpected.latest.item == "odd.mrc"
    assert run.error is None


def test_a_job_that_cannot_be_made_fails_its_micrograph_alone(session, monkeypatch):
    monkeypatch.setattr(CurrentModel, "job", breaking(CurrentModel.job, "odd"))
    run = session().land("a.mrc", "odd.mrc", "b.mrc").start()
    run.until_counts(picked=2, failed=1)
    run.stop()

    assert run.unexpected.count == 1
    assert run.error is None


def test_a_message_that_cannot_be_handled_is_passed_over(session):
    """It is shown; the next messages are handled."""
    run = session().start()
    run.inbox.put(CtfFound(2**70, 1, None))
    run.inbox.put(RunChanged(1, "f", "no state", "", Judgement))
    run.land("a.mrc")
    run.until_counts(picked=1)
    run.stop()

    assert run.unexpected.count_of("dispatch") == 2
    assert run.error is None


def test_an_output_file_that_cannot_be_repaired_stops_no_other(session, monkeypatch):
    run = session().land("a.mrc", "odd.mrc", "b.mrc").start()
    run.until_counts(picked=3)
    run.stop()
    for name in ("a", "odd", "b"):
        (run.out / f"{name}_autopick.star").unlink()
    monkeypatch.setattr(RelionFiles, "write", breaking(RelionFiles.write, "odd"))

    again = session().start()
    again.until(lambda: len(again.files()) == 3)
    again.stop()
    assert again.files() == ["a_autopick.star", "autopick.star", "b_autopick.star"]
    assert again.unexpected.latest.item == "odd.mrc"
    assert again.error is None


def test_a_table_that_cannot_be_written_does_not_stop_picking(session, monkeypatch):
    monkeypatch.setattr(MicrographTable, "write", breaking(MicrographTable.write, "Ledger"))
    run = session(tables=True).land("a.mrc", "b.mrc").start()
    run.until_counts(picked=2)
    run.stop()

    assert run.unexpected.latest.part == "output"
    assert run.error is None


def test_a_loop_that_fails_in_every_turn_makes_no_progress(session, monkeypatch):
    """The watchdog sees that, and restarts the service."""
    run = session(work=find_two)
    monkeypatch.setattr(run.ledger, "suspects", breaking(run.ledger.suspects, ""))
    before = run.dispatch.progress_at
    run.inbox.put(Landed(ROOT, Path("a.mrc"), V1, 0.0))
    run.start()
    run.until(lambda: run.unexpected.count_of("dispatch") >= 2)

    assert run.dispatch.progress_at == before
    run.stop()

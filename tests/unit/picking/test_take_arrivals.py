"""Arrivals: what is recorded, counted or refused, and what counts as data collection."""

import time
from pathlib import Path

import pytest
from dispatch_session import ROOT, V1, find_two

from livepick.errors import VanishedFileError
from livepick.ledger.inbox import FilesSkipped, SetAside
from livepick.ledger.session_rows import SkippedFiles


def test_old_files_do_not_count_as_data_collection(session):
    """They are picked like all others, but no alert is raised when no more come."""
    run = session().land("a.mrc", "b.mrc", at_start=True).start()
    run.until_counts(picked=2)
    assert (run.instruments.collected, run.reader.last_collected()) == ([False, False], [])

    run.land("c.mrc")
    run.until_counts(picked=3)
    assert run.instruments.collected == [False, False, True]
    assert run.reader.last_collected() == [run.reader.latest(1)[0].landed_at]


@pytest.mark.parametrize(("hours", "goes_on"), [(1, True), (7, False)])
def test_files_that_landed_while_the_service_was_down_count_if_the_session_continues(
    session, hours, goes_on
):
    """Otherwise a restart after a quarter of an hour would report a stalled acquisition."""
    run = session()
    run.ledger.arrivals.collected([time.time() - 3600 * hours])
    run.land("a.mrc", at_start=True).start()
    run.until_counts(picked=1)

    assert run.instruments.collected == [goes_on]
    assert len(run.reader.last_collected()) == 1 + goes_on


def test_retry_at_a_start_keeps_the_landing_time(session):
    """Otherwise a restart would silence the alert for a microscope that has stopped."""
    gone = VanishedFileError("gone.mrc no longer exists", "Bring it back.")

    def work(job):
        raise gone

    run = session(work).land("gone.mrc").start()
    run.until_counts(failed=1)
    landed_at = run.rows()["gone.mrc"].landed_at
    run.stop()
    run = session().land("gone.mrc").start()
    run.until_counts(picked=1)

    assert run.rows()["gone.mrc"].landed_at == landed_at
    assert run.instruments.calls["landed"] == 0


def test_file_that_the_watcher_sets_aside_fails(session):
    """The reason is kept; a repeated report counts once."""
    for _ in range(2):
        run = session()
        run.inbox.put(SetAside(ROOT, Path("m.mrc"), V1, "movie", "40 frames", "Sum it.", 900.0))
        run.start()
        run.until_counts(failed=1)
        run.stop()
    row = run.rows()["m.mrc"]
    assert (row.reason, row.error, row.remedy) == ("movie", "40 frames", "Sum it.")
    assert run.instruments.calls["failed", "movie", "ingest"] == 0


@pytest.mark.parametrize("name", ["a\nb.mrc", "caf\udce9.mrc"])
def test_unprintable_name_fails_alone(session, name):
    """It neither stops the loop nor reaches the ledger unescaped."""
    run = session().land(name, "good.mrc").start()
    run.until_counts(picked=1, failed=1)
    (row,) = (row for row in run.rows().values() if row.state == "failed")
    assert str(row.relative).isprintable()


def test_two_micrographs_never_share_a_coordinates_file(session):
    """The second of two that differ only by extension is refused; the first keeps its file."""
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run.land("a.tif")
    run.until_counts(picked=1, failed=1)
    run.stop()
    assert "same coordinates file as a.mrc" in run.rows()["a.tif"].error
    assert "a_autopick.star" in run.files()


def test_a_micrograph_compressed_in_place_stays_the_same(session):
    """Gzip replaces a.mrc by a.mrc.gz: nothing is picked twice, and nothing fails."""
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run.land("a.mrc.gz", "b.mrc.bz2")
    run.until_counts(picked=2)
    run.land("b.mrc", "c.mrc")
    run.until_counts(picked=3)
    run.stop()
    assert sorted(run.rows()) == ["a.mrc", "b.mrc.bz2", "c.mrc"]
    assert {"a_autopick.star", "b_autopick.star"} <= set(run.files())


def test_a_micrograph_compressed_before_it_was_picked_is_picked(session):
    """The file that was queued is gone then; its compressed form must not count as known."""

    def work(job):
        if job.path.name == "a.mrc":
            raise VanishedFileError("a.mrc no longer exists", "Nothing to do.")
        return find_two(job)

    run = session(work).land("a.mrc", "a.mrc.gz").start()
    run.until_counts(picked=1, failed=1)
    run.stop()
    assert run.rows()["a.mrc.gz"].state == "picked"
    assert "a_autopick.star" in run.files()


def test_files_left_out_are_in_the_ledger(session):
    run = session().start()
    counts = (SkippedFiles("link", 3, "a.mrc"), SkippedFiles("product", 2, "b_ctf.mrc", "fits"))
    run.inbox.put(FilesSkipped(ROOT, counts))
    run.land("c.mrc")
    run.until_counts(picked=1)
    assert run.ledger.reader.skipped() == {str(ROOT): list(counts)}
    run.inbox.put(FilesSkipped(ROOT, ()))
    run.land("d.mrc")
    run.until_counts(picked=2)
    assert run.ledger.reader.skipped() == {str(ROOT): []}
    run.stop()

"""Arrivals: what is recorded, counted or refused, and what counts as data collection."""

import threading
import time
from pathlib import Path

import pytest
from dispatch_session import ROOT, V1, V2, card, find_two

from livepick.core.formats.file_version import FileVersion
from livepick.errors import VanishedFileError
from livepick.ledger.inbox import FilesSkipped, Promoted, SetAside
from livepick.ledger.session_rows import SkippedFiles
from livepick.picking import settle_jobs


def test_old_files_do_not_count_as_data_collection(session):
    """They are picked like all others, but no alert is raised when no more come."""
    run = session().land("a.mrc", "b.mrc", at_start=True).start()
    run.until_counts(picked=2)
    run.until(lambda: run.instruments.collected == [False, False])
    assert run.reader.last_collected() == []

    run.land("c.mrc")
    run.until_counts(picked=3)
    run.stop()
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
    run.stop()

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
    number = run.rows()["a.mrc"].id
    run.land("a.mrc.gz", version=FileVersion(60, V1.mtime_ns, 8)).land("b.mrc.bz2")
    run.until_counts(picked=2)
    run.land("b.mrc", "c.mrc")
    run.until_counts(picked=3)
    run.until(lambda: run.listed().keys() == {"a.mrc.gz", "b.mrc", "c.mrc"})
    run.stop()
    assert sorted(run.rows()) == ["a.mrc.gz", "b.mrc", "c.mrc"]
    assert run.rows()["a.mrc.gz"].id == number
    assert run.instruments.calls["picked"] == 3
    assert {"a_autopick.star", "b_autopick.star"} <= set(run.files())


@pytest.mark.parametrize("when", ["queued", "picking", "failed", "set aside"])
@pytest.mark.parametrize("version", [FileVersion(60, V1.mtime_ns, 8), FileVersion(60, 10**12, 8)])
def test_a_micrograph_compressed_before_it_was_picked_is_picked(
    session, monkeypatch, when, version
):
    """It ends as one picked micrograph with the new name, and nothing is left that failed."""
    monkeypatch.setattr(settle_jobs, "RETRY_DELAYS_SECONDS", (0.0, 0.0))
    is_gone, has_begun = threading.Event(), threading.Event()

    def work(job):
        if job.path.name == "a.mrc":
            has_begun.set()
            assert is_gone.wait(30)
            raise VanishedFileError("a.mrc no longer exists", "Nothing to do.")
        return find_two(job)

    run = session(work).land("a.mrc")
    if when == "set aside":
        run.inbox.put(SetAside(ROOT, Path("a.mrc.gz"), V2, "header", "damaged", "Look.", 900.0))
    if when in ("failed", "set aside"):
        is_gone.set()
        run.start()
        run.until_counts(failed=1 + (when == "set aside"))
    if when == "picking":
        run.start()
        assert has_begun.wait(30)
    run.land("a.mrc.gz", version=version)
    if when == "picking":
        run.until(lambda: "a.mrc.gz" in run.rows())
    is_gone.set()
    if when == "queued":
        run.start()
    run.until_counts(picked=1)
    run.stop()

    assert list(run.rows()) == ["a.mrc.gz"]
    assert "a_autopick.star" in run.files()


@pytest.mark.parametrize("names", [("a.mrc.gz", "a.mrc"), ("a.mrc", "a.mrc.bz2")])
def test_newer_content_under_the_other_name_is_picked(session, names):
    """The picks that are left are those of the newest content."""
    run = session().land(names[0]).start()
    run.until_counts(picked=1)
    run.land(names[1], version=FileVersion(200, 3 * 10**9 + 7, 9))
    run.until(lambda: run.instruments.calls["picked"] == 2)
    run.until_counts(picked=1)
    run.stop()
    assert list(run.rows()) == [names[1]]
    assert "a_autopick.star" in run.files()
    assert run.instruments.calls["superseded"] == 1


def test_a_compressed_micrograph_is_picked_again_under_its_new_name(session):
    """The next model finds the file, and no failure is left."""
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run.land("a.mrc.gz", version=FileVersion(60, V1.mtime_ns, 8))
    run.until(lambda: "a.mrc.gz" in run.rows())
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.until(lambda: run.rows()["a.mrc.gz"].model_version == 1)
    run.stop()


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

"""Outcomes of jobs: retries, failures, crashes, and errors that end the service."""

import dataclasses
import errno
import threading
from collections import Counter
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

import pytest
from dispatch_session import ROOT, V1, V2, card, find_two

from factories import make_result
from livepick.core.formats.header import Note
from livepick.errors import (
    ChangedFileError,
    ContentError,
    LedgerError,
    ModelError,
    OutputError,
    ProviderError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.ledger.inbox import Finished, Promoted, RootState, Stop
from livepick.ledger.rows import Counts
from livepick.picking import dispatch, settle_jobs
from livepick.picking import engine as engines


def failing_while(event, error):
    """Return the work of a worker that raises an error while an event is set."""

    def work(job):
        if event.is_set():
            raise error
        return find_two(job)

    return work


def test_each_bad_file_fails_with_its_own_reason(session):
    """Good files beside them are picked; a bug of ours is reported as one."""
    errors = {
        "nan.mrc": ContentError("nan.mrc is all NaN", "Look at it."),
        "gone.mrc": VanishedFileError("gone.mrc no longer exists", "Bring it back."),
        "bug.mrc": ZeroDivisionError("division by zero"),
        "io.mrc": UnreadableFileError("io.mrc: EIO", "Look at the disk."),
    }
    tries = Counter()

    def work(job):
        tries[job.path.name] += 1
        if job.path.name in errors:
            raise errors[job.path.name]
        return find_two(job)

    run = session(work).land(*errors, "good.mrc").start()
    run.until_counts(picked=1, failed=4)
    run.stop()

    reasons = {name: row.reason for name, row in run.rows().items() if row.reason}
    assert reasons == {
        "nan.mrc": "content",
        "gone.mrc": "vanished",
        "bug.mrc": "internal",
        "io.mrc": "io",
    }
    assert (tries["nan.mrc"], tries["io.mrc"]) == (1, 3)
    assert run.instruments.calls["retried", "io"] == 2
    assert "ZeroDivisionError: division by zero" in run.rows()["bug.mrc"].error


def test_what_was_odd_about_files_is_logged_once_of_each_kind(session, caplog):
    notes = (Note("pixel_size", "0.0026 Å in the header"), Note("bad_pixels", "3 pixels"))

    run = session(lambda job: dataclasses.replace(find_two(job), notes=notes)).land("a.mrc")
    run.land("b.mrc").start()
    run.until_counts(picked=2)
    run.stop()  # what is recorded is logged a moment later

    warned = [line.getMessage() for line in caplog.records if "such a note" in line.getMessage()]
    assert [text.partition(";")[0].partition(": ")[2] for text in warned] == [
        "0.0026 Å in the header",
        "3 pixels",
    ]
    assert {row.notes for row in run.rows().values()} == {"0.0026 Å in the header; 3 pixels"}


def test_old_picks_of_a_failed_micrograph_are_removed(session):
    """The output folder shows the same as the ledger."""
    broken = threading.Event()
    work = failing_while(broken, ContentError("all NaN", "Look at it."))

    run = session(work).land("a.mrc").start()
    run.until_counts(picked=1)
    broken.set()
    run.land("a.mrc", version=V2)
    run.until_counts(failed=1)
    run.until(lambda: run.files() == ["autopick.star"])
    run.stop()
    assert "a.mrc" not in (run.out / "autopick.star").read_text()


REPICK_ERRORS = {
    "vanished": VanishedFileError("a.mrc no longer exists", "Bring it back."),
    "io": UnreadableFileError("a.mrc: EIO", "Look at the disk."),
    "changed": ChangedFileError("a.mrc changed", "Wait."),
    "content": ContentError("a.mrc is all NaN", "Look at it."),
    "model": ModelError("the graph does not run", "Roll back."),
    "poison": BrokenExecutor("the worker died"),
    "internal": ZeroDivisionError("division by zero"),
}


@pytest.mark.parametrize("reason", REPICK_ERRORS)
def test_a_failure_to_pick_again_keeps_the_old_picks(session, reason):
    """Picks, candidates, files and list entry stay, and the next model tries it again."""
    broken = threading.Event()

    def work(job):
        if broken.is_set() and job.path.name == "a.mrc":
            raise REPICK_ERRORS[reason]
        return find_two(job)

    run = session(work).land("a.mrc", "b.mrc").start()
    run.until_counts(picked=2)
    run.until(lambda: run.listed() == {"a.mrc": 0, "b.mrc": 0})
    before, picks = run.rows()["a.mrc"], run.contents()
    candidates = run.reader.candidates(before.id)
    broken.set()
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.until(lambda: run.rows()["a.mrc"].reason == reason and run.reader.counts().picked == 2)
    run.until(lambda: run.listed() == {"a.mrc": 0, "b.mrc": 1})

    row = run.rows()["a.mrc"]
    assert (row.state, row.model_version, row.pick_count) == ("picked", 0, before.pick_count)
    assert (row.error, row.remedy) != ("", "")
    assert run.contents()["a_autopick.star"] == picks["a_autopick.star"]
    assert run.reader.candidates(row.id).to_bytes() == candidates.to_bytes()
    assert [each.relative for each in run.reader.repick_failures(9)] == [Path("a.mrc")]
    run.until(lambda: run.instruments.calls["repick_failed", reason, "pick"] == 1)
    assert not [call for call in run.instruments.calls if call[0] == "failed"]

    broken.clear()
    run.inbox.put(Promoted(Path("/models/0002"), card(2, "trained")))
    run.until(lambda: run.rows()["a.mrc"].model_version == 2)
    assert run.rows()["a.mrc"].reason is None


def test_coordinates_written_before_a_repick_failed_are_those_of_the_ledger_again(session):
    """The first of two formats was written for the new model when the second failed."""
    run = session(extra_format=True)
    run.land("a.mrc").start()
    run.until_counts(picked=1)
    old, write = run.contents(), run.extra.write

    def refuse(root, relative, micrograph):
        if micrograph.model_version:
            raise OSError(errno.EIO, "input/output error")
        write(root, relative, micrograph)

    run.extra.write = refuse
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.until(lambda: run.rows()["a.mrc"].reason == "internal")
    run.until(lambda: run.contents() == old)
    assert run.rows()["a.mrc"].state == "picked"


def test_a_micrograph_that_is_back_is_picked_again(session):
    """Its re-pick failed because it was gone; the watcher reports it when it is there again."""
    gone = threading.Event()

    run = session(failing_while(gone, REPICK_ERRORS["vanished"])).land("a.mrc").start()
    run.until_counts(picked=1)
    gone.set()
    run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.until(lambda: run.instruments.calls["repick_failed", "vanished", "pick"] == 1)
    gone.clear()
    run.land("a.mrc")
    run.until(lambda: run.rows()["a.mrc"].model_version == 1)
    run.stop()
    assert run.instruments.calls["landed"] == 1


@pytest.mark.parametrize("error", [REPICK_ERRORS["vanished"], REPICK_ERRORS["content"]])
def test_old_picks_of_new_content_go_only_when_it_was_read(session, error):
    """New content that is gone again is failed; the picks of the old content are the best known."""
    broken = threading.Event()

    run = session(failing_while(broken, error)).land("a.mrc").start()
    run.until_counts(picked=1)
    broken.set()
    run.land("a.mrc", version=V2)
    run.until_counts(failed=1)
    run.stop()
    if error.reason == "content":
        assert (run.listed(), run.contents()) == ({}, {})
    else:
        assert (run.listed(), list(run.contents())) == ({"a.mrc": 0}, ["a_autopick.star"])
    assert run.instruments.calls["failed", error.reason, "pick"] == 1


def test_full_disk_pauses_picking_and_costs_no_try(session):
    """Arrivals are recorded meanwhile; all are picked once there is space."""
    run = session()
    write, room = run.star.write, threading.Event()
    failures = Counter()

    def full(*args, **kwargs):
        if not room.is_set():
            failures["full"] += 1
            raise OutputError("no space left", "Free some.")
        write(*args, **kwargs)

    run.star.write = full
    run.land("a.mrc", "b.mrc").start()
    run.until(lambda: failures["full"] >= 2)
    run.land("c.mrc")
    run.until(lambda: run.reader.counts().total == 3)
    assert run.reader.counts().picked == run.reader.counts().failed == 0
    room.set()
    run.until_counts(picked=3)
    run.stop()

    assert run.instruments.calls["output_failed"] >= 2
    assert {row.tries for row in run.rows().values()} == {0}


def test_result_of_old_content_is_discarded(session):
    """The file changed while it was picked: only the picks of the new content are written."""
    hold = threading.Event()

    def work(job):
        if job.version == V1:
            hold.wait(30)
        return find_two(job)

    run = session(work).land("a.mrc").start()
    run.until_counts(picking=1)
    run.land("a.mrc", version=V2)
    run.until_counts(picked=1)
    before = run.rows()["a.mrc"]
    hold.set()
    run.stop()

    assert run.rows()["a.mrc"] == before
    assert (before.version, before.content) == (V2, 2)
    assert run.instruments.calls["picked"] == 1
    assert run.instruments.calls["superseded"] == 1


def test_file_that_changes_while_it_is_read_is_retried(session):
    """Once it has settled, it lands as new content."""

    def work(job):
        if job.version == V1:
            raise ChangedFileError("a.mrc changed", "Wait.")
        return find_two(job)

    run = session(work).land("a.mrc").start()
    run.until(lambda: run.instruments.calls["retried", "changed"] >= 1)
    run.land("a.mrc", version=V2)
    run.until_counts(picked=1)


def test_micrographs_wait_for_an_unavailable_folder(session):
    """They are neither tried nor failed meanwhile; the watcher is told to check the folder."""
    away = threading.Event()
    checked = []
    work = failing_while(away, REPICK_ERRORS["vanished"])

    away.set()
    run = session(work, not_found=lambda *place, gone: checked.append((*place, gone)))
    run.land("a.mrc").start()
    run.until_counts(failed=1)  # the folder went before the watcher knew
    assert checked == 3 * [(ROOT, Path("a.mrc"), True)]
    run.inbox.put(RootState(ROOT, available=False, detail="not mounted"))
    run.land("b.mrc")
    run.until_counts(failed=1, queued=1)
    away.clear()
    run.inbox.put(RootState(ROOT, available=True, detail=""))
    run.until_counts(picked=2)


def test_missing_gpu_ends_the_service(session):
    """No micrograph fails for it; it waits for the next start."""

    def work(job):
        raise ProviderError("no CUDA", "Look at nvidia-smi.")

    run = session(work).land("a.mrc").start()
    run.thread.join(90)
    assert isinstance(run.error, ProviderError)
    assert run.ledger.reader.counts() == Counts(queued=1)


def test_model_that_fails_on_everything_ends_the_service(session):
    """A failure on one micrograph may be due to the micrograph."""

    def work(job):
        if len(bad) > 1:
            if job.path.name in tried:  # it must not fail for good while another one is tried
                has_ended.wait(60)
            tried.append(job.path.name)
        if job.path.name == "odd.mrc" or len(bad) > 1:
            raise ModelError("the graph does not run", "Roll back.")
        return find_two(job)

    bad, tried, has_ended = ["odd.mrc"], [], threading.Event()
    run = session(work).land("odd.mrc").start()
    run.until_counts(failed=1)
    run.land("a.mrc")
    run.until_counts(failed=1, picked=1)
    bad.append("all")
    run.land("b.mrc", "c.mrc", "d.mrc")
    run.thread.join(90)
    has_ended.set()
    assert isinstance(run.error, ModelError)
    assert run.ledger.reader.counts().failed == 1


def test_another_model_replaces_one_that_fails_on_everything(session):
    """Nothing fails, nothing that has picks is picked again, and the new model is recorded."""

    def work(job):
        if job.bundle.name == "0003" and job.path.name != "good.mrc":
            if job.path.name in tried:  # it must not fail for good while another one is tried
                replaced.wait(60)
            tried.append(job.path.name)
            raise ModelError("0003/model.onnx does not match the checksum", "Restore it.")
        return find_two(job)

    asked, tried, replaced = [], [], threading.Event()

    def replacement(version, error):
        asked.append((version, error.what))
        replaced.set()
        return Path("/models/0002"), card(2, "trained")

    run = session(
        work,
        replacement=replacement,
        bundle=Path("/models/0003"),
        card=card(3, "trained"),
        repick="all",
    )
    run.land("good.mrc").start()
    run.until_counts(picked=1)
    run.land("a.mrc", "b.mrc", "c.mrc", "d.mrc")
    run.until_counts(picked=5)
    run.stop()

    assert asked == [(3, "0003/model.onnx does not match the checksum")]
    assert {name: row.model_version for name, row in run.rows().items()} == {
        "good.mrc": 3,
        **dict.fromkeys(("a.mrc", "b.mrc", "c.mrc", "d.mrc"), 2),
    }
    assert run.ledger.reader.model().version == 2
    assert run.error is None


def test_worker_that_ends_with_the_service_counts_as_no_crash(session, monkeypatch):
    """A signal to the process group reaches the workers too."""
    monkeypatch.setattr(dispatch, "STOP_SECONDS", 60.0)
    hold = threading.Event()

    def work(job):
        hold.wait(30)
        raise BrokenExecutor

    run = session(work, engines.threads(1)).land("a.mrc").start()
    run.until_counts(picking=1)
    run.inbox.put(Stop())
    run.until(lambda: run.dispatch._stop_at is not None)
    hold.set()
    run.thread.join(90)
    assert run.ledger.reader.counts() == Counts(queued=1)
    assert run.rows()["a.mrc"].crashes == 0
    assert run.instruments.calls["worker_crashed"] == 0


@pytest.mark.parametrize("is_picked", [False, True])
def test_an_io_error_of_a_folder_that_stays_is_tried_again_later(session, monkeypatch, is_picked):
    """It is tried a few times more, ever later, and its failure is counted once."""
    monkeypatch.setattr(settle_jobs, "RETRY_DELAYS_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(settle_jobs, "LATE_DELAYS_SECONDS", (0.05, 0.05))
    monkeypatch.setattr(dispatch, "COUNT_SECONDS", 0.0)
    broken, tries = threading.Event(), Counter()

    def work(job):
        tries[job.bundle.name] += 1
        if broken.is_set():
            raise UnreadableFileError("a.mrc: EIO", "Look at the disk.")
        return find_two(job)

    run = session(work)
    if not is_picked:
        broken.set()
    run.land("a.mrc").start()
    version = "0000"
    if is_picked:
        run.until_counts(picked=1)
        broken.set()
        version = "0001"
        run.inbox.put(Promoted(Path("/models/0001"), card(1, "trained")))
    run.until(lambda: tries[version] == 5)
    run.until_counts(**{"picked" if is_picked else "failed": 1})
    run.stop()
    kind = "repick_failed" if is_picked else "failed"
    assert run.instruments.calls[kind, "io", "pick"] == 1
    assert run.rows()["a.mrc"].remedy == "Look at the disk."  # nothing is promised any more
    assert bool(run.contents()) == is_picked


def test_a_late_try_that_works_ends_the_failure(session, monkeypatch):
    monkeypatch.setattr(settle_jobs, "RETRY_DELAYS_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(settle_jobs, "LATE_DELAYS_SECONDS", (0.05, 3600.0))
    monkeypatch.setattr(dispatch, "COUNT_SECONDS", 0.0)
    tries = Counter()

    def work(job):
        tries[job.path.name] += 1
        if tries[job.path.name] <= (3 if job.path.name == "a.mrc" else 4):
            raise UnreadableFileError(f"{job.path.name}: EIO", "Look at the disk.")
        return find_two(job)

    run = session(work).land("a.mrc", "b.mrc").start()
    run.until_counts(picked=1, failed=1)
    run.until(lambda: tries["b.mrc"] == 4 and run.rows()["b.mrc"].reason == "io")
    run.until_counts(picked=1, failed=1)

    assert run.rows()["a.mrc"].reason is None
    assert "livepick tries it again after 60 min." in run.rows()["b.mrc"].remedy


@pytest.fixture
def three_results(session):
    """Return a dispatch loop that does not run, and three jobs that have finished."""
    run = session()
    for name in ("a.mrc", "b.mrc", "c.mrc"):
        run.ledger.arrivals.landed(ROOT, Path(name), V1, 0.0)
    finished = []
    for claim in run.ledger.claim(3):
        finished.append(Finished(claim, Future()))
        finished[-1].future.set_result(make_result())
    for message in finished:
        run.dispatch._backlog.add(message)
    return run


def test_results_that_come_together_are_recorded_in_one_commit(three_results, monkeypatch):
    """After the files of all are in place, so that a kill at any moment leaves no row without."""
    run = three_results
    commits = []
    run.ledger.database._connection.set_trace_callback(
        lambda sql: commits.append(len(run.contents())) if sql == "commit" else None
    )
    assert run.dispatch._handle_results()
    assert commits == [3]
    assert run.ledger.reader.counts() == Counts(picked=3)
    assert run.instruments.calls["picked"] == 3
    assert not run.dispatch._backlog.urgent


@pytest.mark.parametrize("error", [ContentError("no", "no"), OSError(errno.EIO, "no")])
def test_of_results_that_come_together_only_the_bad_one_fails(three_results, monkeypatch, error):
    """Each is counted once."""
    run = three_results
    write = run.star.write

    def write_two(root, relative, micrograph):
        if relative.name == "b.mrc":
            raise error
        write(root, relative, micrograph)

    monkeypatch.setattr(run.star, "write", write_two)
    assert run.dispatch._handle_results()
    assert run.ledger.reader.counts() == Counts(picked=2, failed=1)
    assert run.rows()["b.mrc"].state == "failed"
    assert run.instruments.calls["picked"] == 2


def test_results_that_cannot_be_recorded_are_not_counted_and_stay(three_results, monkeypatch):
    """They are recorded when the ledger can be written again."""
    run = three_results
    database = run.ledger.database
    database.rows("pragma query_only = 1")
    with pytest.raises(LedgerError):
        run.dispatch._handle_results()
    assert run.instruments.calls["picked"] == 0
    assert len(run.dispatch._backlog.urgent) == 3
    database.rows("pragma query_only = 0")
    assert run.dispatch._handle_results()
    assert run.ledger.reader.counts() == Counts(picked=3)
    assert run.instruments.calls["picked"] == 3


@pytest.mark.parametrize("stopping", [False, True])
def test_workers_that_a_stop_ends_have_not_crashed(three_results, monkeypatch, stopping):
    """Nor have they if several results come meanwhile."""
    run = three_results
    monkeypatch.setattr(type(run.dispatch._engine), "deaths", 1)
    group = run.dispatch._backlog.results(3)
    assert run.dispatch._jobs.settle_results(group, stopping=stopping)
    assert run.instruments.calls["worker_crashed"] == (not stopping)

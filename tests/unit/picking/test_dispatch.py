"""The dispatch loop, with threads or real processes for workers and a ledger on disk."""

import dataclasses
import os
import queue
import threading
import time
from collections import Counter
from concurrent.futures import BrokenExecutor
from pathlib import Path

import numpy as np
import pytest

from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.job import Job, Result, StageSeconds
from livepick.core.formats.micrograph import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.errors import (
    ChangedFileError,
    ContentError,
    LedgerWriteError,
    ModelError,
    OutputError,
    ProviderError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.ledger.inbox import (
    CtfFound,
    Inbox,
    Landed,
    PickingChanged,
    Promoted,
    RootState,
    RunChanged,
    SetAside,
    Stop,
)
from livepick.ledger.rows import Counts
from livepick.ledger.writer import LEDGER, Ledger, ReadLedger
from livepick.picking import dispatch as dispatch_module
from livepick.picking import engine as engines
from livepick.picking import output_sync as outputs_module
from livepick.picking.coordinate_files import RelionStar
from livepick.picking.dispatch import Dispatch
from livepick.picking.micrograph_table import CSV, STAR, MicrographTable
from livepick.picking.model_in_use import Orders
from livepick.picking.output_sync import Outputs

ROOT = Path("/data/avg")
V1, V2 = FileVersion(100, 1, 7), FileVersion(200, 2, 7)


def card(version=0, kind="blob"):
    return ModelCard(
        version=version,
        kind=kind,
        fingerprint="f",
        particle_fingerprint="p",
        diameter_angstrom=150,
        min_distance_angstrom=90,
        contrast="dark",
        pixel_size_angstrom=7.5,
        normalization="background-median",
        threshold=0.5,
        threshold_source="test",
        graph_sha256="0",
        created_at=0,
        livepick_version="0",
    )


def find_two(job: Job) -> Result:
    """Two particles above the threshold and one below, by the model of the job."""
    score = np.array([0.9, 0.6, 0.1], dtype=np.float32)
    version = int(job.bundle.name)
    return Result(
        picks=Picks(score * 100, score * 200, score),
        threshold=0.5 if job.threshold is None else job.threshold,
        model_version=version,
        model_kind="trained" if version else "blob",
        shape_px=(400, 300),
        pixel_size_angstrom=1.5,
        quality=Quality(masked_fraction=0.0, median_score=0.75),
        seconds=StageSeconds(0.1, 0.2, 0.3, 0.4),
        provider="CPUExecutionProvider",
    )


def die_on_poison(job: Job) -> Result:
    if job.path.name == "poison.mrc":
        os._exit(1)
    return find_two(job)


class Recorder:
    """Instruments that remember."""

    def __init__(self):
        self.calls = Counter()
        self.latencies = []
        self.collected = []

    def landed(self, landed_at, *, collected):
        self.calls["landed"] += 1
        self.collected.append(collected)

    def superseded(self):
        self.calls["superseded"] += 1

    def picked(self, result, *, latency_seconds, export_seconds):
        self.calls["picked"] += 1
        self.latencies.append(latency_seconds)

    def ctf_found(self, figures):
        self.calls["ctf_found"] += 1

    def failed(self, reason, stage):
        self.calls["failed", reason, stage] += 1

    def retried(self, reason):
        self.calls["retried", reason] += 1

    def queue(self, counts, oldest_waiting_at):
        self.calls["queue"] += 1

    def worker_crashed(self):
        self.calls["worker_crashed"] += 1

    def output_failed(self):
        self.calls["output_failed"] += 1


class Session:
    """A dispatch loop in a thread, and what it works with."""

    def __init__(self, folder, work=find_two, engine=None, *, tables=False, **orders):
        self.inbox = Inbox()
        self.ledger = Ledger(folder / LEDGER)
        self.out = folder / "out"
        self.star = RelionStar(self.out, [ROOT])
        self.instruments = Recorder()
        self.outputs = Outputs(
            [self.star],
            self.ledger,
            self.instruments.output_failed,
            tables=[MicrographTable(self.out)] if tables else [],
        )
        self.error = None
        wanted = {"bundle": Path("/models/0000"), "card": card(), **orders}
        self.dispatch = Dispatch(
            self.inbox,
            ledger=self.ledger,
            engine=engine or engines.threads(2),
            outputs=self.outputs,
            work=work,
            orders=Orders(**wanted),
            instruments=self.instruments,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self.dispatch.run()
        except Exception as error:  # noqa: BLE001 - shown by the tests
            self.error = error

    def land(self, *names, version=V1, at_start=False):
        for name in names:
            self.inbox.put(Landed(ROOT, Path(name), version, time.time(), at_start))
        return self

    def start(self):
        self.thread.start()
        self.reader = ReadLedger(self.ledger.path)
        return self

    def until(self, condition, seconds=30):
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, (self.rows(), self.error)
            time.sleep(0.01)

    def until_counts(self, **counts):
        self.until(lambda: self.reader.counts() == Counts(**counts))

    def stop(self):
        self.inbox.put(Stop())
        self.thread.join(30)
        assert not self.thread.is_alive()

    def close(self):
        if self.thread.is_alive():
            self.stop()
        self.dispatch._engine.stop()
        self.ledger.close()

    def rows(self):
        return {str(row.relative): row for row in self.ledger.recent()}

    def files(self):
        return sorted(str(p.relative_to(self.out)) for p in self.out.rglob("*") if p.is_file())


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(dispatch_module, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(dispatch_module, "RETRY_DELAYS_SECONDS", (0.02, 0.02))
    monkeypatch.setattr(dispatch_module, "CHANGED_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(dispatch_module, "LEDGER_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(dispatch_module, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(dispatch_module, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(outputs_module, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(outputs_module, "LIST_SECONDS", 0.05)


@pytest.fixture
def session(tmp_path):
    """Return a function that makes a session in ``tmp_path``; the last one is ended for us."""
    made = []

    def make(*args, **kwargs):
        if made:
            made[-1].close()
        made.append(Session(tmp_path, *args, **kwargs))
        return made[-1]

    yield make
    if made:
        made[-1].close()


def test_old_files_are_no_session_that_collects_until_others_follow(session):
    """They are picked as all are; but nobody is called when no more come."""
    run = session().land("a.mrc", "b.mrc", at_start=True).start()
    run.until_counts(picked=2)
    assert (run.instruments.collected, run.reader.last_collected()) == ([False, False], [])

    run.land("c.mrc")
    run.until_counts(picked=3)
    assert run.instruments.collected == [False, False, True]
    assert run.reader.last_collected() == run.reader.last_landings(1)


@pytest.mark.parametrize(("hours", "goes_on"), [(1, True), (7, False)])
def test_what_landed_while_the_service_was_down_belongs_to_a_session_that_goes_on(
    session, hours, goes_on
):
    """Else a restart after a quarter of an hour would raise a stalled acquisition."""
    run = session()
    run.ledger.collected([time.time() - 3600 * hours])
    run.land("a.mrc", at_start=True).start()
    run.until_counts(picked=1)

    assert run.instruments.collected == [goes_on]
    assert len(run.reader.last_collected()) == 1 + goes_on


def test_micrographs_land_and_have_their_picks(session):
    """Two of one name in different folders, each with its file; the list names both."""
    run = session().land("one/a.mrc", "two/a.mrc").start()
    run.until_counts(picked=2)
    run.stop()

    assert run.files() == ["autopick.star", "one/a_autopick.star", "two/a_autopick.star"]
    assert "one/a.mrc" in (run.out / "autopick.star").read_text()
    assert run.instruments.calls["landed"] == run.instruments.calls["picked"] == 2
    assert all(seconds is not None for seconds in run.instruments.latencies)
    assert run.error is None


def test_the_table_of_figures_follows_the_ledger(session):
    """One row a picked micrograph; removed by hand, it is there again after the next start."""
    live = session(tables=True).land("a.mrc", "b.mrc").start()
    live.until_counts(picked=2)
    live.stop()
    first = (live.out / STAR).read_bytes()
    assert len((live.out / CSV).read_text().splitlines()) == 3
    (live.out / STAR).unlink()

    again = session(tables=True).start()
    again.until((again.out / STAR).exists)
    assert (again.out / STAR).read_bytes() == first


def test_a_ctf_that_comes_late_is_in_the_table(session):
    """It is written again, though nothing was picked meanwhile; and is counted once."""
    live = session(tables=True).land("a.mrc").start()
    live.until_counts(picked=1)
    (row,) = live.ledger.recent()
    found = CtfFound(row.id, row.content, CtfFigures(12000.0, 11000.0, 5.0, 4.5))
    for _ in range(2):  # a look may come before the first is recorded
        live.inbox.put(found)
    live.stop()

    assert live.instruments.calls["ctf_found"] == 1
    assert "rlnDefocusU" in (live.out / STAR).read_text()
    assert "4.5" in (live.out / CSV).read_text()


def test_what_was_under_way_at_a_kill_heals_at_the_next_start(session):
    """Whole files, no row twice; the sweep takes what the killed service left unfinished."""
    run = session()
    run.ledger.landed(ROOT, Path("a.mrc"), V1, 900.0)
    run.ledger.claim(1)
    run.out.mkdir()
    (run.out / ".livepick-killed.tmp").write_text("half")
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run.stop()

    assert run.files() == ["a_autopick.star", "autopick.star"]
    assert run.rows()["a.mrc"].attempt == 2


def test_each_bad_file_fails_by_its_own_reason(session):
    """The good ones beside them are picked; a fault of ours is said as such."""
    errors = {
        "nan.mrc": ContentError("nan.mrc is all NaN", "Look at it."),
        "gone.mrc": VanishedFileError("gone.mrc is gone", "Bring it back."),
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


def test_what_is_tried_again_at_a_start_has_landed_when_it_did(session):
    """Else a restart would silence the alert of a microscope that has stopped."""
    gone = VanishedFileError("gone.mrc is gone", "Bring it back.")

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


def test_what_fails_at_last_loses_its_old_picks(session):
    """What is seen in the output folder is what the ledger says."""
    broken = threading.Event()

    def work(job):
        if broken.is_set():
            raise ContentError("all NaN", "Look at it.")
        return find_two(job)

    run = session(work).land("a.mrc").start()
    run.until_counts(picked=1)
    broken.set()
    run.land("a.mrc", version=V2)
    run.until_counts(failed=1)
    run.until(lambda: run.files() == ["autopick.star"])
    run.stop()
    assert "a.mrc" not in (run.out / "autopick.star").read_text()


def test_the_culprit_is_found_and_the_others_are_picked(session):
    """A micrograph that ends its worker every time is poison after three; real processes."""
    names = [f"{number}.mrc" for number in range(5)]
    run = session(die_on_poison, engines.local(2))
    run.land(*names[:2], "poison.mrc", *names[2:]).start()
    run.until_counts(picked=5, failed=1)

    row = run.rows()["poison.mrc"]
    assert (row.reason, row.attempt) == ("poison", 3)
    assert max(row.attempt for row in run.rows().values() if row.state == "picked") <= 2
    assert run.instruments.calls["worker_crashed"] == 3
    assert run.instruments.calls["failed", "poison", "pick"] == 1


def test_a_full_disk_pauses_and_costs_no_try(session):
    """Arrivals are recorded meanwhile; when there is room again, all are picked."""
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

    assert run.instruments.calls["output_failed"] >= 2
    assert {row.tries for row in run.rows().values()} == {0}


def test_a_folder_that_is_well_again_is_no_fault_though_nothing_lands(session):
    """The list that was due is there, written or as it was; no micrograph has to come first."""
    run = session()
    run.land("a.mrc").start()
    run.until(lambda: run.files() == ["a_autopick.star", "autopick.star"])
    run.out.rename(run.out.with_name("away"))
    run.out.touch()
    run.outputs.remove(ROOT, Path("b.mrc"))
    run.until(lambda: run.outputs.fault is not None)
    run.out.unlink()
    run.out.with_name("away").rename(run.out)
    run.until(lambda: run.outputs.fault is None)


def test_a_full_ledger_loses_nothing(session, monkeypatch):
    """What could not be recorded is recorded when there is room again; it says that it waits."""
    monkeypatch.setattr(dispatch_module, "LEDGER_RETRY_SECONDS", 0.5)
    run = session()
    picked, said = run.ledger.picked, []

    def full(claim, result):
        said.append(run.dispatch.ledger_fault is not None)
        if len(said) <= 2:
            raise LedgerWriteError("the ledger takes no writes", "Free space.")
        picked(claim, result)

    monkeypatch.setattr(run.ledger, "picked", full)
    run.land("a.mrc").start()
    run.until(lambda: run.dispatch.ledger_fault is not None)
    run.until_counts(picked=1)
    run.until(lambda: run.dispatch.ledger_fault is None)
    assert said == [False, True, True]  # while it is tried again, too
    assert (run.instruments.calls["picked"], run.rows()["a.mrc"].attempt) == (1, 1)


def test_a_result_of_old_content_is_not_shown(session):
    """The file changed while it was picked: only the picks of the new content are seen."""
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


def test_a_file_that_changes_under_the_reader_waits_for_the_watcher(session):
    """Once it has settled, it comes as new content."""

    def work(job):
        if job.version == V1:
            raise ChangedFileError("a.mrc changed", "Wait.")
        return find_two(job)

    run = session(work).land("a.mrc").start()
    run.until(lambda: run.instruments.calls["retried", "changed"] >= 1)
    run.land("a.mrc", version=V2)
    run.until_counts(picked=1)


def test_a_new_model_picks_everything_again_after_new_arrivals(session):
    """The old picks are seen until the new ones are there."""
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

    assert order[2:] == ["new.mrc", "c.mrc"]
    assert {row.model_version for row in run.rows().values()} == {1}
    assert "model 1 (trained)" in (run.out / "c_autopick.star").read_text()
    assert run.instruments.latencies.count(None) == 3
    assert run.ledger.model().kind == "trained"


def test_a_result_that_comes_after_a_promotion_is_due_again(session):
    """It was picked by the model that was in use when it began."""
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


def test_a_start_with_another_model_or_threshold_picks_again(session):
    """A kill between promotion and re-queueing heals, and an edited threshold takes effect."""
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
def test_the_policy_says_what_a_new_model_picks_again(session, repick, versions):
    """Blob picks, all picks, or none; what lands later is by the new model in any case."""
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
    """By the blob picker of the new particle, live or at a start; not if nothing is to be."""
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


def test_a_live_threshold_is_for_the_next_job_and_for_what_is_picked(session):
    """Files are cut anew, and what was under way with the former one is picked again."""
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


def test_a_threshold_of_a_person_is_for_older_models_picks_too(session):
    """A promotion has left them alone; one threshold for the whole session is then asked for."""
    run = session(bundle=Path("/models/0001"), card=card(1, "trained")).land("old.mrc").start()
    run.until_counts(picked=1)
    run.inbox.put(Promoted(Path("/models/0002"), card(2, "trained")))
    run.until(lambda: run.reader.model().version == 2)
    assert run.rows()["old.mrc"].model_version == 1
    run.inbox.put(PickingChanged(0.05, "provisional"))
    run.until(lambda: run.rows()["old.mrc"].pick_count == 3)


def test_a_live_policy_queues_what_it_makes_due_and_lets_go_of_the_rest(session):
    """``all`` queues at once; ``none`` leaves what still waits with the picks that it has."""
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


def test_a_missing_file_is_written_again_from_the_ledger(session):
    """No micrograph is read for that; one that should not be there goes."""
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run.stop()
    text = (run.out / "a_autopick.star").read_text()
    (run.out / "a_autopick.star").unlink()
    run.ledger.set_aside(ROOT, Path("bad.mrc"), V1, 900.0, ("header", "garbage", "Look."))
    (run.out / "bad_autopick.star").touch()
    run = session(work=None).start()
    run.until(lambda: run.files() == ["a_autopick.star", "autopick.star"])

    assert (run.out / "a_autopick.star").read_text() == text


def test_what_the_watcher_sets_aside_is_failed(session):
    """With its reason; saying so twice counts once."""
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
def test_a_name_that_no_file_can_hold_fails_by_itself(session, name):
    """It neither stops the loop nor reaches the ledger as it is."""
    run = session().land(name, "good.mrc").start()
    run.until_counts(picked=1, failed=1)
    (row,) = (row for row in run.rows().values() if row.state == "failed")
    assert str(row.relative).isprintable()


def test_two_micrographs_never_share_a_coordinates_file(session):
    """The second of two that differ by extension only is refused, and the first stays seen."""
    run = session().land("a.mrc").start()
    run.until_counts(picked=1)
    run.land("a.tif")
    run.until_counts(picked=1, failed=1)
    run.stop()
    assert "same coordinates file as a.mrc" in run.rows()["a.tif"].error
    assert "a_autopick.star" in run.files()


def test_a_folder_that_is_away_is_waited_for(session):
    """Its micrographs are neither tried nor failed meanwhile."""
    away = threading.Event()

    def work(job):
        if away.is_set():
            raise VanishedFileError("a.mrc is gone", "Bring it back.")
        return find_two(job)

    away.set()
    run = session(work).land("a.mrc").start()
    run.until_counts(failed=1)  # the folder went before the watcher knew
    run.inbox.put(RootState(ROOT, available=False, detail="not mounted"))
    run.land("b.mrc")
    run.until_counts(failed=1, queued=1)
    away.clear()
    run.inbox.put(RootState(ROOT, available=True, detail=""))
    run.until_counts(picked=2)


def test_a_missing_gpu_ends_the_service(session):
    """Nothing is failed for it; the micrograph waits for the next start."""

    def work(job):
        raise ProviderError("no CUDA", "Look at nvidia-smi.")

    run = session(work).land("a.mrc").start()
    run.thread.join(30)
    assert isinstance(run.error, ProviderError)
    assert run.ledger.counts() == Counts(queued=1)


def test_a_model_that_fails_on_everything_ends_the_service(session):
    """One micrograph alone may be at fault itself."""

    def work(job):
        if job.path.name == "odd.mrc" or len(bad) > 1:
            raise ModelError("the graph does not run", "Roll back.")
        return find_two(job)

    bad = ["odd.mrc"]
    run = session(work).land("odd.mrc").start()
    run.until_counts(failed=1)
    run.land("a.mrc")
    run.until_counts(failed=1, picked=1)
    bad.append("all")
    run.land("b.mrc", "c.mrc", "d.mrc")
    run.thread.join(30)
    assert isinstance(run.error, ModelError)
    assert run.ledger.counts().failed == 1


def test_a_stop_does_not_wait_for_ever(session):
    """What is not done in time is left to the next start; no more is claimed."""
    hold = threading.Event()

    def work(job):
        hold.wait(30)
        return find_two(job)

    run = session(work, engines.threads(1)).land("a.mrc", "b.mrc", "c.mrc").start()
    run.until_counts(picking=2, queued=1)
    run.stop()
    hold.set()
    assert run.ledger.counts() == Counts(picking=2, queued=1)
    assert run.error is None


def test_a_worker_that_ends_with_the_service_blames_nobody(session):
    """A signal to the whole group reaches the workers too."""
    hold = threading.Event()

    def work(job):
        hold.wait(30)
        raise BrokenExecutor

    run = session(work, engines.threads(1)).land("a.mrc").start()
    run.until_counts(picking=1)
    run.inbox.put(Stop())
    run.until(lambda: run.dispatch._stop_at is not None)
    hold.set()
    run.thread.join(30)
    assert run.ledger.counts() == Counts(queued=1)
    assert run.rows()["a.mrc"].crashes == 0
    assert run.instruments.calls["worker_crashed"] == 0


def test_training_runs_are_recorded(session):
    """The retrain thread has no hands of its own in the ledger."""
    run = session()
    run.inbox.put(RunChanged(1, "abc", "running"))
    run.inbox.put(RunChanged(1, "abc", "failed", "out of memory"))
    run.start()
    run.until(lambda: [r.state for r in run.reader.runs()] == ["failed"])


def test_the_loop_shows_that_it_lives(session):
    """For the watchdog: the time of its last turn moves, also when nothing happens."""
    run = session().start()
    before = run.dispatch.progress_at
    run.until(lambda: run.dispatch.progress_at > before)
    assert isinstance(run.inbox, queue.SimpleQueue)

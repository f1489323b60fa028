"""The picks of a list of micrographs, from a model and from a session."""

import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from factories import make_result
from livepick.config.alert_thresholds import SESSION_SECONDS
from livepick.core.contracts.job import Job, WorkerDiedError
from livepick.core.formats.file_version import FileVersion
from livepick.errors import (
    ContentError,
    HeaderError,
    MemoryLimitError,
    ModelError,
    TimeLimitError,
    VanishedFileError,
)
from livepick.picking import finality, job_picks, tasks
from livepick.picking.engine import Engine, threads
from livepick.picking.finality import Finality
from livepick.picking.job_limits import JobLimits
from livepick.picking.job_picks import Picked, SessionPicks, Unpicked, bundle_picks
from livepick.picking.limited_executor import LimitedExecutor

NAMES = [f"MotionCorr/job002/Movies/{letter}.mrc" for letter in "abcde"]
JOB = Job(Path(), None, Path("/models/0003"), "cpu", 1.5, 0.25)


class Failing(LimitedExecutor):
    """An executor in which one micrograph has an error on its first tries."""

    capacity, limits = 4, JobLimits(2)

    def __init__(self, name, errors, log):
        self._name, self._errors, self._log = name, errors, log

    def submit_within(self, limits, work, /, *args):
        future = Future()
        name = args[0].path.name
        self._log.append(name)
        if name == self._name and self._errors:
            future.set_exception(self._errors.pop())
        else:
            future.set_result(make_result())
        return future


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(job_picks, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(job_picks, "LEDGER_SECONDS", 0.01)
    monkeypatch.setattr(finality, "LOOK_SECONDS", 0.0)


def events(source):
    """Return the events of a source by the name of the micrograph."""
    found = [event for event in source if event is not None]
    assert len({event.name for event in found}) == len(found)
    return {event.name: event for event in found}


def test_a_model_picks_each_micrograph_with_the_settings(monkeypatch):
    jobs = []

    def pick(job):
        jobs.append(job)
        return make_result()

    monkeypatch.setattr(tasks, "pick", pick)

    found = events(bundle_picks(Path("/project"), NAMES, JOB, threads(2)))

    assert sorted(found) == NAMES
    assert sorted(job.path for job in jobs) == [Path("/project", name) for name in NAMES]
    assert {(job.bundle, job.threshold, job.pixel_size_angstrom) for job in jobs} == {
        (Path("/models/0003"), 0.25, 1.5)
    }
    entry = found[NAMES[0]].entry
    assert (entry.root, entry.relative) == (Path("/project"), Path(NAMES[0]))


def test_a_damaged_micrograph_does_not_stop_the_others(monkeypatch):
    def pick(job):
        if job.path.name == "b.mrc":
            raise HeaderError("b.mrc: its header is invalid", "Copy it again.")
        return make_result()

    monkeypatch.setattr(tasks, "pick", pick)

    found = events(bundle_picks(Path("/project"), NAMES, JOB, threads(2)))

    assert found.pop(NAMES[1]) == Unpicked(
        NAMES[1], "failed", "b.mrc: its header is invalid. Copy it again."
    )
    assert all(isinstance(event, Picked) for event in found.values())


def test_a_damaged_model_ends_the_job(monkeypatch):
    def pick(job):
        raise ModelError("the model is damaged", "Restore it.")

    monkeypatch.setattr(tasks, "pick", pick)

    with pytest.raises(ModelError):
        events(bundle_picks(Path("/project"), NAMES, JOB, threads(2)))


@pytest.mark.parametrize(
    ("error", "tries", "picked"),
    [
        (WorkerDiedError("crash", "it was ended by SIGSEGV"), 3, False),
        (WorkerDiedError("outside", "SIGKILL"), 1, True),
        (TimeLimitError("c.mrc took longer than 5 s", "Look at its disk."), 3, False),
        (MemoryLimitError("c.mrc needs 9 GiB", "Raise the limit."), 1, True),
    ],
)
def test_a_micrograph_that_ends_or_occupies_its_worker_is_tried_again_alone(error, tries, picked):
    """The others are picked meanwhile."""
    log = []
    engine = Engine(Failing("c.mrc", [error] * tries, log))

    found = events(bundle_picks(Path("/project"), NAMES, JOB, engine))

    failed = [name for name, event in found.items() if isinstance(event, Unpicked)]
    assert failed == ([] if picked else [NAMES[2]])
    assert picked or str(error) in str(found[NAMES[2]].reason)
    assert log[:5] == ["a.mrc", "b.mrc", "c.mrc", "d.mrc", "e.mrc"]
    assert log[5:] == ["c.mrc"] * (1 if picked else 2)


def test_workers_are_stopped_when_the_job_is_aborted(monkeypatch):
    stopped = []
    engine = threads(1)
    monkeypatch.setattr(engine, "stop", lambda: stopped.append(True))
    monkeypatch.setattr(tasks, "pick", lambda job: make_result())
    source = bundle_picks(Path("/project"), NAMES, JOB, engine)
    next(source)

    source.close()

    assert stopped == [True]


class Scene:
    """A project beside a session that watches its micrographs."""

    def __init__(self, folder, ledger):
        self.project, self.ledger = folder / "project", ledger
        self.watched = self.project / "MotionCorr" / "job002"
        (self.watched / "Movies").mkdir(parents=True)
        self.repicks = True

    def land(self, *names, watched=None):
        for name in names:
            relative = Path("Movies", Path(name).name)
            self.ledger.arrivals.landed(
                watched or self.watched, relative, FileVersion(1, 1, 1), 0.0
            )
        return self

    def pick(self, *, version=1, scores=(0.9, 0.6, 0.1), kind=None):
        kind = kind or ("trained" if version else "blob")
        for claim in self.ledger.claim(10):
            self.ledger.picked(claim, make_result(scores, model_version=version, model_kind=kind))
        return self

    def fail_again(self):
        self.ledger.requeue.stale(1, repick="all", threshold=0.5)
        for claim in self.ledger.claim(10):
            self.ledger.failed(claim, VanishedFileError("the file is gone", "Bring it back."))
        return self

    def final(self, names=NAMES, *, seconds=0.0, verdicts=("good", "doubtful", "bad")):
        reader = self.ledger.reader
        session = SessionPicks(
            self.project, reader, Finality(reader, lambda: self.repicks), verdicts=verdicts
        )
        return session.final(names, wait_seconds=seconds)


@pytest.fixture
def scene(tmp_path, ledger, clock):
    clock.now = time.time()  # a session whose last picks are old has ended
    return Scene(tmp_path, ledger)


def test_picks_of_a_trained_model_are_taken_under_the_name_in_the_list(scene):
    scene.land(*NAMES[:2]).pick(version=3)

    found = events(scene.final(NAMES[:2]))

    picked = found[NAMES[1]]
    assert (picked.entry.root, picked.entry.relative) == (scene.project, Path(NAMES[1]))
    assert picked.entry.model_version == 3
    np.testing.assert_allclose(picked.candidates.score, [0.9, 0.6, 0.1], atol=1e-3)


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda scene: scene, "the session has not seen it, or not picked it yet"),
        (lambda scene: scene.land(NAMES[0]), "the session has not seen it, or not picked it yet"),
        (lambda scene: scene.land(NAMES[0]).pick(version=0), "its picks are provisional"),
        (lambda scene: scene.land(NAMES[0]).pick(kind="general"), "its picks are provisional"),
        (
            lambda scene: scene.land(NAMES[0]).pick(version=0).fail_again(),
            "its picks are provisional, and picking it again failed: the file is gone",
        ),
    ],
)
def test_when_the_time_is_over_it_says_what_a_micrograph_waits_for(scene, prepare, why):
    prepare(scene)

    (event,) = events(scene.final(NAMES[:1], seconds=0.03)).values()

    assert event.state == "waiting"
    assert event.reason.startswith(why)


def test_it_waits_until_the_session_has_final_picks(scene):
    scene.land(NAMES[0]).pick(version=0)
    source = scene.final(NAMES[:1], seconds=60)

    assert [next(source) for _ in range(3)] == [None, None, None]
    scene.ledger.session.run_changed(1, "f", "failed", reason="the trainer stopped")
    (picked,) = events(source).values()
    assert picked.entry.model_kind == "blob"


def test_provisional_picks_are_final_where_no_model_picks_again(scene):
    scene.repicks = False
    scene.land(NAMES[0]).pick(version=0)

    assert isinstance(events(scene.final(NAMES[:1]))[NAMES[0]], Picked)


def test_provisional_picks_are_final_where_the_session_has_ended(scene, clock):
    clock.now -= 2 * SESSION_SECONDS
    scene.land(NAMES[0]).pick(version=0)

    assert isinstance(events(scene.final(NAMES[:1]))[NAMES[0]], Picked)


def test_a_micrograph_that_failed_is_not_waited_for(scene):
    scene.land(NAMES[0])
    (claim,) = scene.ledger.claim(1)
    scene.ledger.failed(claim, ContentError("all pixels are the same", "Look at the camera."))

    (event,) = events(scene.final(NAMES[:1], seconds=60)).values()

    assert event == Unpicked(NAMES[0], "failed", "all pixels are the same. Look at the camera.")


def test_micrographs_of_low_quality_are_left_out_as_the_session_does(scene):
    scene.land(NAMES[0]).pick(version=1)

    (event,) = events(scene.final(NAMES[:1], verdicts=("none",))).values()

    assert event.state == "left_out"
    assert "quality" in event.reason


@pytest.mark.parametrize("link", ["file", "folder", "watched"])
def test_a_micrograph_is_known_through_links(scene, tmp_path, link):
    """The project may link to the files, their folder, or be watched through a link."""
    data, watched = tmp_path / "data", None
    (data / "Movies").mkdir(parents=True)
    (data / "Movies" / "a.mrc").touch()
    name = "Micrographs/a.mrc"
    if link == "file":
        (scene.project / "Micrographs").mkdir()
        (scene.project / "Micrographs" / "mic_1.mrc").symlink_to(data / "Movies" / "a.mrc")
        name = "Micrographs/mic_1.mrc"
    else:
        (scene.project / "Micrographs").symlink_to(data / "Movies")
    watched = data
    if link == "watched":
        watched = tmp_path / "camera"
        watched.symlink_to(data)
    scene.land("a.mrc", watched=watched).pick()

    found = events(scene.final([name]))

    assert found[name].entry.relative == Path(name)


def test_micrographs_of_the_same_name_in_other_folders_are_others(scene, tmp_path):
    scene.land(NAMES[0], watched=tmp_path / "elsewhere").pick()

    (event,) = events(scene.final(NAMES[:1], seconds=0.03)).values()

    assert event.state == "waiting"


def test_two_names_of_one_file_get_the_same_picks(scene):
    (scene.watched / "Movies" / "a.mrc").touch()
    (scene.project / "Micrographs").symlink_to(scene.watched / "Movies")
    scene.land(NAMES[0]).pick()

    found = events(scene.final([NAMES[0], "Micrographs/a.mrc"]))

    assert {type(event) for event in found.values()} == {Picked}
    assert len(found) == 2

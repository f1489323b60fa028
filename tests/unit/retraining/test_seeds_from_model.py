"""Seeds from a model that is not in use."""

from concurrent.futures import BrokenExecutor

import pytest
from planned_session import picks_of

from factories import promote
from livepick.core.contracts.run import RunSpec
from livepick.errors import ContentError, ModelError, VanishedFileError
from livepick.models.registry import Models
from livepick.retraining import seeds_from_model


@pytest.fixture
def pretrained_path(tmp_path, make_config, put_bundle):
    """Return a bundle of another particle and session."""
    models = Models(tmp_path / "elsewhere")
    return put_bundle(models, make_config(particle={"diameter_angstrom": 300}), 7)


def test_a_pretrained_model_picks_the_first_training_set(begin, pretrained_path):
    """Particles are rescaled to the size that it was trained with; its picks are the seeds."""
    session = begin(picks={"model": pretrained_path})
    session.add(4)
    assert session.plan() is None
    assert session.jobs == []
    session.add(3)

    assert "is picking the first training set: 0 of 5" in (sentence := session.plan())
    assert "/" not in sentence
    assert "is picking the first training set: 4 of 5" in session.plan()
    spec = _until_a_run(session)

    assert [m.path.stem for m in spec.micrographs] == list("01234")
    assert [len(m.seeds) for m in spec.micrographs] == [30] * 5
    assert (spec.seeds_from, spec.parent, spec.seed_threshold) == ("model", None, 0.5)
    job = session.jobs[0]
    assert (job.bundle, job.diameter_angstrom, job.contrast) == (pretrained_path, 150, "dark")


def test_the_general_model_in_use_gives_the_first_training_set(begin, put_bundle):
    """The ledger has its picks."""
    session = begin(picks="general")
    put_bundle(session.models, session.config, 1, "general")
    session.add(5, model_version=1)

    spec = session.plan()

    assert (spec.seeds_from, spec.parent, session.jobs) == ("general", 1, [])


def test_the_general_model_picks_a_later_training_set_too(begin, put_bundle):
    """With the trained model's picks, a run would learn the mistakes of its predecessor."""
    session = begin(picks="general", training={"generation": 2})
    put_bundle(session.models, session.config, 1, "general")
    put_bundle(session.models, session.config, 2)
    promote(session.models, 2)
    session.add(5, model_version=2)

    spec = _until_a_run(session)

    assert (spec.seeds_from, spec.parent) == ("general", 1)
    job = session.jobs[0]
    assert (job.bundle.name, job.diameter_angstrom, job.contrast) == ("0001", None, None)


def test_the_blob_picker_gives_seeds_where_the_general_model_finds_too_little(begin, put_bundle):
    """As in single frames; the other way round, the blob picker is not asked."""
    session = begin(picks="general")
    put_bundle(session.models, session.config, 1, "general")
    session.add(4, model_version=1, picks=0)
    assert (session.plan(), session.jobs) == (None, [])
    session.add(1, model_version=1, picks=3)

    spec = _until_a_run(session)

    assert (spec.seeds_from, spec.parent) == ("blob", 0)
    assert {job.bundle.name for job in session.jobs} == {"0000"}


def _until_a_run(session):
    for _ in range(20):
        found = session.plan()
        if isinstance(found, RunSpec):
            return found
    raise AssertionError(found)


def test_a_micrograph_that_the_model_cannot_pick_is_left_out(begin, pretrained_path, caplog):
    """So is one without picks; each is tried once."""
    session = begin(picks={"model": pretrained_path})
    session.add(9)
    answers = {"1": ContentError("all NaN", "Look."), "2": ValueError("odd"), "3": picks_of(0)}
    session.answer = lambda job: answers.get(job.path.stem, picks_of(30))

    spec = _until_a_run(session)

    assert [m.path.stem for m in spec.micrographs] == list("04567")
    assert "1.mrc: left out of the training set: all NaN" in caplog.text
    assert "2.mrc: left out of the training set: odd" in caplog.text
    assert len({job.path for job in session.jobs}) == len(session.jobs)


def test_a_micrograph_that_was_gone_is_tried_again(begin, pretrained_path, monkeypatch):
    """Its share was lost for a while; the others are not enough."""
    monkeypatch.setattr(seeds_from_model, "RETRY_SECONDS", 0.0)
    session = begin(picks={"model": pretrained_path})
    session.add(5)
    gone = [VanishedFileError("1.mrc no longer exists", "Bring it back.")]
    session.answer = lambda job: gone.pop() if gone and job.path.stem == "1" else picks_of(30)

    assert [m.path.stem for m in _until_a_run(session).micrographs] == list("01234")
    assert gone == []


def test_collecting_never_waits_for_the_workers(begin, pretrained_path):
    """The thread must be able to stop; only a few jobs are submitted at a time."""
    session = begin(picks={"model": pretrained_path})
    session.add(9)
    session.answer = lambda job: None

    for _ in range(3):
        assert "0 of 5 micrographs are done" in session.plan()
    assert len(session.jobs) == seeds_from_model.AT_ONCE


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_an_unusable_bundle_does_not_affect_picking(begin, pretrained_path, fault, caplog):
    """It is reported at once, and checked again, because it may still be being copied."""
    whole = (pretrained_path / "model.onnx").read_bytes()
    if fault == "missing":
        pretrained_path.rename(pretrained_path.with_name("later"))
    else:
        (pretrained_path / "model.onnx").write_bytes(b"half")
    session = begin(picks={"model": pretrained_path})
    session.add(5)

    assert str(pretrained_path) in session.plan()
    assert "training: cannot start" in caplog.text
    assert session.jobs == []

    if fault == "missing":
        pretrained_path.with_name("later").rename(pretrained_path)
    (pretrained_path / "model.onnx").write_bytes(whole)
    assert len(_until_a_run(session).micrographs) == 5


@pytest.mark.parametrize("death", [BrokenExecutor("gone"), ModelError("no such node", "Look.")])
def test_a_model_that_crashes_its_workers_is_given_up(begin, pretrained_path, death):
    """Otherwise the session would lose its workers again and again."""
    session = begin(picks={"model": pretrained_path})
    session.add(9)
    session.answer = lambda job: death

    for _ in range(6):
        sentence = session.plan()

    assert "does not run" in sentence
    assert len(session.jobs) <= 2 * seeds_from_model.AT_ONCE


def test_a_model_that_finds_nothing_is_given_up(begin, pretrained_path):
    """A session of thousands of micrographs is not picked twice."""
    session = begin(picks={"model": pretrained_path})
    session.add(60)
    session.answer = lambda job: picks_of(0)

    for _ in range(20):
        sentence = session.plan()

    assert "was tried on 25 micrographs" in sentence
    assert len(session.jobs) == 25

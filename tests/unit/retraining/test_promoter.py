"""Which model is used for picking."""

import json
from concurrent.futures import BrokenExecutor

import pytest
from trainer_programs import PUBLISH

from livepick.errors import ContentError, LedgerWriteError, ModelError
from livepick.models import promotions
from livepick.retraining import trial_picking


def test_a_trained_model_is_tried_promoted_and_announced(make_session):
    """The workers pick a held-out micrograph with it before the session does."""
    session = make_session(PUBLISH)

    session.until(lambda: session.promoted, "promotion")

    assert session.models.current(session.config).card.version == 1
    assert session.changes == [(1, "running"), (1, "promoted")]
    assert [job.bundle.name for job in session.jobs] == ["0001", "0000"]
    assert session.probed == ["0001"]
    assert session.metrics.registry.get_sample_value("livepick_training_validation_loss") == 0.6
    session.scheduler.step()
    assert len(session.promoted) == 1


def test_a_model_that_does_not_run_is_not_promoted(make_session):
    """The session goes on with the champion, and the bundle is not tried again."""
    session = make_session(PUBLISH)
    session.outcome = BrokenExecutor("a worker died")

    session.until(lambda: session.changes[-1:] == [(1, "failed")], "failure")
    session.scheduler.step()

    assert session.models.promoted() is None
    assert len(session.jobs) == trial_picking.DEATHS


def test_a_model_that_nothing_can_be_compared_on_is_kept_aside(make_session):
    """The held-out micrograph went bad since; the model has not failed."""
    session = make_session(PUBLISH)
    session.outcome = ContentError("all NaN", "Nothing to do.")

    session.until(lambda: session.changes[-1:] == [(1, "kept_aside")], "verdict")


def test_a_bundle_whose_promotion_was_interrupted_is_promoted(make_session, put_bundle):
    """The service was killed between the trainer's rename and its own."""
    session = make_session("raise SystemExit('must not be started')")
    session.edit(retrain={"gate": "off"})  # no micrograph is held out
    put_bundle(session.models, session.config, 1)

    session.scheduler.step()

    assert session.models.promoted().card.version == 1
    assert session.changes == [(1, "promoted")]


def test_a_full_disk_at_the_promotion_is_not_the_models_fault(
    make_session, put_bundle, monkeypatch
):
    """It is tried again once there is space, and the run has not failed."""
    session = make_session("raise SystemExit('must not be started')")
    session.edit(retrain={"gate": "off"})  # no micrograph is held out
    put_bundle(session.models, session.config, 1)

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(promotions, "write_atomically", full)
        with pytest.raises(LedgerWriteError, match="No space left"):
            session.scheduler.step()
    assert (session.models.promoted(), session.changes) == (None, [])

    session.scheduler.step()
    assert session.models.promoted().card.version == 1
    assert session.changes == [(1, "promoted")]


def test_a_worse_model_is_kept_aside_with_the_figures_that_say_why(tmp_path, make_session):
    """The champion picks on; run, verdict and metrics say so; a restart judges it no more."""
    session = make_session(PUBLISH)
    session.until(lambda: session.promoted, "promotion")
    session.wrong["0002"] = 4
    session.edit(training={"generation": 2})

    session.until(lambda: session.changes[-1] == (2, "kept_aside"), "verdict")

    assert session.models.current(session.config).card.version == 1
    assert "the new model is worse" in session.row[0].reason
    verdict = json.loads((tmp_path / "state/runs/0002/verdict.json").read_bytes())
    assert verdict["comparison"]["precision"]["candidate"] == pytest.approx(5 / 9)
    assert session.row[0].judgement.as_json() == verdict
    sample = session.metrics.registry.get_sample_value
    assert sample("livepick_training_runs_total", {"result": "kept_aside"}) == 1
    assert sample("livepick_gate_precision", {"model": "champion"}) == 1
    jobs = len(session.jobs)
    session.scheduler = session.start()
    session.scheduler.step()
    assert len(session.jobs) == jobs


def test_a_better_model_picks_from_then_on(make_session):
    """Better than the one in use, not only than the blob picker."""
    session = make_session(PUBLISH)
    session.wrong |= {"0000": 5, "0001": 4}
    session.until(lambda: session.promoted, "promotion")
    session.edit(training={"generation": 2})

    session.until(lambda: len(session.promoted) == 2, "promotion")

    assert [bundle.card.version for bundle in session.promoted] == [1, 2]
    assert session.changes[-1] == (2, "promoted")
    assert "compared with model 1" in session.models.last_promotion().why


def test_an_earlier_config_finds_its_model_and_trains_nothing(make_session):
    """It picked once already, and is not judged again."""
    session = make_session(PUBLISH)
    session.until(lambda: session.promoted, "promotion")
    session.edit(training={"generation": 2})
    session.until(lambda: len(session.promoted) == 2, "promotion")
    jobs = len(session.jobs)

    session.edit(training={"generation": 1})
    session.until(lambda: len(session.promoted) == 3, "promotion")

    assert [bundle.card.version for bundle in session.promoted] == [1, 2, 1]
    assert len(session.jobs) == jobs
    assert session.changes[-1] == (2, "promoted")


def test_a_model_that_a_person_promotes_picks_and_stays(make_session):
    """The service sees that the pointer moved, tries the model, and does not overrule."""
    session = make_session(PUBLISH)
    session.until(lambda: session.promoted, "promotion")
    session.models.promote(
        0, by="operator", why="by hand", fingerprint=session.config.training_fingerprint()
    )

    session.until(lambda: len(session.promoted) == 2, "promotion")
    for _ in range(3):
        session.scheduler.step()

    assert [bundle.card.version for bundle in session.promoted] == [1, 0]
    assert session.models.last_promotion().by == "operator"


def test_a_model_that_does_not_run_gives_the_pointer_back(make_session, put_bundle, caplog):
    """Whoever promoted it: the one in use goes on, and the history says why."""
    session = make_session(PUBLISH)
    session.until(lambda: session.promoted, "promotion")
    put_bundle(session.models, session.config, 7)
    session.provider = ModelError("no scores", "Train again.")
    session.models.promote(
        7, by="operator", why="by hand", fingerprint=session.config.training_fingerprint()
    )

    session.scheduler.step()

    assert session.models.current(session.config).card.version == 1
    assert len(session.promoted) == 1
    assert "model 7 does not run: no scores" in session.models.last_promotion().why
    assert "model 1: stays in use" in caplog.text

"""Promotion of models, and the model used for picking."""

import json
from concurrent.futures import BrokenExecutor

import pytest
from trainer_programs import PUBLISH

from livepick.core.contracts.before_and_after import BeforeAndAfter
from livepick.errors import (
    ContentError,
    LedgerWriteError,
    ModelError,
    StalledError,
    TimeLimitError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.models import promotions
from livepick.retraining import promotion_gate, scheduler, trial_picking


def test_a_trained_model_is_tested_promoted_and_announced(make_session):
    """The workers pick a held-out micrograph with it before it is used."""
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
    """The current model stays in use, and the bundle is not tried again."""
    session = make_session(PUBLISH)
    session.outcome = BrokenExecutor("a worker died")

    session.until(lambda: session.changes[-1:] == [(1, "failed")], "failure")
    session.scheduler.step()

    assert session.models.promoted() is None
    assert len(session.jobs) == trial_picking.DEATHS


def test_a_model_that_cannot_be_compared_is_kept_aside(make_session):
    """The held-out micrograph has become unreadable; the model has not failed."""
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


def test_a_worse_model_is_kept_aside_and_its_figures_are_recorded(tmp_path, make_session):
    """The current model stays in use; a restart does not judge the new one again."""
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
    change = BeforeAndAfter.read(tmp_path / "state/runs/0002")
    assert (change.candidate.version, change.current.version) == (2, 1)
    assert change.candidate.picks_per_micrograph == change.current.picks_per_micrograph == 9
    assert [len(one.candidate_only) for one in change.examples] == [4] * len(change.examples)
    sample = session.metrics.registry.get_sample_value
    assert sample("livepick_training_runs_total", {"result": "kept_aside"}) == 1
    assert sample("livepick_gate_precision", {"model": "champion"}) == 1
    jobs = len(session.jobs)
    session.scheduler = session.start()
    session.scheduler.step()
    assert len(session.jobs) == jobs


@pytest.mark.parametrize(
    "fault",
    [
        VanishedFileError("it no longer exists", "Bring it back."),
        StalledError("it took longer than 600 s", "Look."),
    ],
    ids=["gone", "hangs"],
)
def test_a_held_out_micrograph_that_cannot_be_picked_is_left_out_and_named(make_session, fault):
    """The model is judged by the others."""
    session = make_session(PUBLISH, training={"held_out_fraction": 0.5})
    result, faulty = session.result, []

    def fail_at_one(job):
        if session.models.bundles()[1:]:  # the gate judges
            faulty.append(job.path) if not faulty else None
            if job.path == faulty[0]:
                raise fault
        return result(job)

    session.result = fail_at_one
    session.until(lambda: session.changes[-1:] == [(1, "promoted")], "promotion")

    assert session.row[0].reason.endswith(
        f"; 1 held-out micrograph left out, because they can no longer be used: {faulty[0].name}"
    )


def test_a_model_waits_to_be_judged_while_the_share_is_lost(make_session, monkeypatch):
    """It would otherwise be kept aside, because nothing can be compared."""
    lost = ["/m is empty; is the share mounted?"]
    monkeypatch.setattr(promotion_gate, "away", lambda roots: next(iter(lost), None))
    monkeypatch.setattr(scheduler, "PAUSE_SECONDS", 0.05)
    session = make_session(PUBLISH)
    session.outcome = UnreadableFileError("a.mrc: EIO", "Look.")
    session.until(lambda: session.row and lost[0] in session.row[0].reason, "waiting")
    assert session.row[0].state == "running"

    lost.clear()
    session.outcome = None
    session.until(lambda: session.promoted, "promotion")


def test_a_model_waits_to_be_judged_while_no_held_out_micrograph_answers(make_session, monkeypatch):
    """The share hangs, although its folder can be listed."""
    monkeypatch.setattr(scheduler, "PAUSE_SECONDS", 0.05)
    session = make_session(PUBLISH, training={"held_out_fraction": 0.5})
    session.outcome = StalledError("a.mrc took longer than 600 s", "Look.")
    session.until(lambda: session.row and "does not answer" in session.row[0].reason, "waiting")
    assert session.row[0].state == "running"

    session.outcome = None
    session.until(lambda: session.promoted, "promotion")


def test_a_model_that_never_ends_has_failed(make_session):
    """Its worker computes all the time."""
    session = make_session(PUBLISH)
    session.outcome = TimeLimitError("a.mrc took longer than 600 s", "Look.")
    session.until(lambda: session.changes[-1:] == [(1, "failed")], "failure")
    assert "model 1 takes too long" in session.row[0].reason


def test_a_better_model_replaces_the_current_one(make_session):
    """It must be better than the current model, not only than the blob picker."""
    session = make_session(PUBLISH)
    session.wrong |= {"0000": 5, "0001": 4}
    session.until(lambda: session.promoted, "promotion")
    session.edit(training={"generation": 2})

    session.until(lambda: len(session.promoted) == 2, "promotion")

    assert [bundle.card.version for bundle in session.promoted] == [1, 2]
    assert session.changes[-1] == (2, "promoted")
    assert "compared with model 1" in session.models.last_promotion().why


def test_an_earlier_config_finds_its_model_and_trains_nothing(make_session):
    """The model was in use before, and is not judged again."""
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


def test_a_model_that_a_person_promotes_is_used_and_stays(make_session):
    """The service notices the new pointer, tests the model, and keeps it."""
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


def test_the_pointer_is_set_back_if_the_model_does_not_run(make_session, put_bundle, caplog):
    """The history has the reason, whoever promoted it."""
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

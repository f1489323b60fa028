"""Start and end of training runs."""

import signal

import pytest
from trainer_programs import CRASH, FAIL, PUBLISH, SLEEP

from factories import promote
from livepick.config.sections import Micrograph
from livepick.core.contracts.run import RunSpec
from livepick.core.contracts.trainer import Ended
from livepick.retraining import scheduler as scheduler_module


def test_a_run_starts_when_enough_are_picked(tmp_path, make_session):
    """With one micrograph too few nothing starts; then there is a run with seeds and a hold-out."""
    session = make_session(PUBLISH, picked=4)
    session.scheduler.step()
    assert session.changes == []

    session.picked = 7
    session.until(lambda: session.promoted, "promotion")

    spec = RunSpec.read(tmp_path / "state" / "runs" / "0001")
    assert (spec.version, spec.parent, len(spec.micrographs)) == (1, 0, 5)
    assert [m.held_out for m in spec.micrographs].count(True) == 1
    assert spec.micrographs[0].seeds == [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0)]


def test_a_run_has_the_defocus_of_its_micrographs(tmp_path, make_session):
    """It comes from the file that the config names."""
    star = tmp_path / "micrographs_ctf.star"
    names = ["MicrographName", "DefocusU", "DefocusV", "DefocusAngle"]
    names += ["Voltage", "SphericalAberration", "AmplitudeContrast"]
    star.write_text("data_\nloop_\n" + "".join(f"_rln{name}\n" for name in names))
    with star.open("a") as file:
        file.write("m/2.mrc 12000 11000 30 300 2.7 0.1\n")
    session = make_session(PUBLISH)
    session.config = session.config.model_copy(update={"micrograph": Micrograph(ctf=star)})
    session.scheduler = session.start()

    session.until(lambda: session.promoted, "promotion")

    spec = RunSpec.read(tmp_path / "state" / "runs" / "0001")
    assert [m.path.name for m in spec.micrographs if m.ctf is not None] == ["2.mrc"]
    assert spec.micrographs[2].ctf.defocus_v_angstrom == 11000


FINDINGS = """
    with (folder / "progress.jsonl").open("a") as file:
        file.write('{"at": 2, "stage": "train", "note": "rate too high: 1e5; lower it",'
            ' "finding": "rate_too_high"}\\n')
        file.write('{"at": 3, "stage": "train", "note": "training again", "rerun": true}\\n')
"""


def test_a_finding_is_logged_as_a_warning_once(make_session, caplog):
    """It is in the log and counted in the metrics; the rerun is not a warning."""
    session = make_session(PUBLISH + FINDINGS)

    session.until(lambda: session.promoted, "promotion")

    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == ["run 0001: train: rate too high: 1e5; lower it"]
    sample = session.metrics.registry.get_sample_value
    assert sample("livepick_training_findings_total", {"finding": "rate_too_high"}) == 1
    assert sample("livepick_training_reruns_total") == 1


def test_a_failed_run_does_not_affect_picking_and_is_not_repeated(make_session):
    """Its reason is recorded; a restart does not repeat it, another generation does."""
    session = make_session(FAIL)
    session.until(lambda: session.changes[-1:] == [(1, "failed")], "failure")

    assert session.row[0].reason == "There are no seeds. Lower it."
    assert session.models.current(session.config).card.version == 0
    session.scheduler = session.start()
    session.scheduler.step()
    assert session.changes == [(1, "running"), (1, "failed")]
    sample = session.metrics.registry.get_sample_value
    assert sample("livepick_training_runs_total", {"result": "failed"}) == 1

    other = make_session(PUBLISH, training={"generation": 2})
    other.until(lambda: other.promoted, "promotion")
    assert other.promoted[0].card.version == 2


def test_a_trainer_that_crashes_fails_with_its_log(make_session):
    """The last lines of trainer.log are the reason."""
    session = make_session(CRASH)

    session.until(lambda: session.changes[-1:] == [(1, "failed")], "failure")

    assert "Segmentation fault, nearly" in session.row[0].reason


def test_a_run_that_takes_too_long_is_ended(tmp_path, make_session):
    """``training.time_limit_minutes`` ends a trainer that hangs."""
    session = make_session(SLEEP)
    session.until((tmp_path / "state/runs/0001/began").exists, "trainer")
    trainer = session.scheduler._run._monitor._trainer
    session.scheduler._run._monitor._watch.seconds += 24 * 3600

    session.scheduler.step()

    assert session.changes == [(1, "running"), (1, "failed")]
    assert trainer.poll() is not None


def test_stopping_ends_the_trainer_and_a_start_resumes_the_run(tmp_path, make_session):
    """No run is left behind, and none is lost."""
    session = make_session(SLEEP)
    session.until((tmp_path / "state/runs/0001/began").exists, "trainer")
    trainer = session.scheduler._run._monitor._trainer
    session.scheduler.stop()
    session.scheduler.run()
    assert trainer.poll() == Ended(-signal.SIGTERM)

    again = make_session(PUBLISH)
    again.until(lambda: again.promoted, "promotion")

    assert again.promoted[0].card.version == 1


@pytest.mark.parametrize("edited", [False, True])
def test_a_trainer_left_by_a_killed_service_is_not_left_alone(tmp_path, make_session, edited):
    """It is adopted though a person has promoted a model; or ended, if the config was edited."""
    session = make_session(SLEEP)
    session.until((tmp_path / "state/runs/0001/began").exists, "trainer")
    trainer = session.scheduler._run._monitor._trainer
    fingerprint = session.config.training_fingerprint()
    promote(session.models, 0, fingerprint=fingerprint)
    if edited:
        session.edit(training={"generation": 2})
    session.scheduler = session.start()

    session.scheduler.step()

    assert session.scheduler._run._monitor.name == ("0002" if edited else "0001")
    assert (trainer.poll() is None) is not edited
    state = "superseded" if edited else "running"
    assert (session.row[-1].state, session.row[-1].fingerprint) == (state, fingerprint)
    session.scheduler.stop()
    session.scheduler.run()
    assert trainer._process.wait(90) == -signal.SIGTERM


def test_an_edit_during_a_run_ends_it_and_starts_another(tmp_path, make_session):
    """If the edit is undone, the older run continues where it was."""
    session = make_session(SLEEP)
    session.until((tmp_path / "state/runs/0001/began").exists, "trainer")
    trainer = session.scheduler._run._monitor._trainer
    session.scheduler._run._command = make_session(PUBLISH).command
    session.edit(training={"generation": 2})

    session.until(lambda: session.promoted, "promotion")
    assert trainer.poll() is not None
    assert session.changes == [(1, "running"), (1, "superseded"), (2, "running"), (2, "promoted")]

    session.edit(training={"generation": 1})
    session.until(lambda: len(session.promoted) == 2, "promotion")
    assert session.changes[4:] == [(1, "running"), (1, "promoted")]


def test_drift_trains_on_the_latest_micrographs_only_if_configured(tmp_path, make_session):
    """It is off by default; an equally good model that nobody requested is not promoted."""
    session = make_session(PUBLISH, picked=5)
    session.until(lambda: session.promoted, "promotion")
    session.scheduler.drifted("fewer picks")
    for _ in range(3):
        session.scheduler.step()
    assert session.changes == [(1, "running"), (1, "promoted")]

    session.picked = 30
    session.edit(retrain={"on_drift": True})
    session.scheduler.drifted("fewer picks")
    session.until(lambda: session.changes[-1] == (2, "kept_aside"), "verdict")

    spec = RunSpec.read(tmp_path / "state/runs/0002")
    assert [m.path.stem for m in spec.micrographs] == ["29", "28", "27", "26", "25"]
    assert "nobody requested it" in session.row[0].reason
    for _ in range(3):
        session.scheduler.step()
    assert len(session.changes) == 4


def test_a_later_generation_learns_from_the_whole_session(tmp_path, make_session):
    """It is judged by the micrographs held out before and by new ones."""
    session = make_session(PUBLISH, picked=5)
    session.until(lambda: session.promoted, "promotion")
    (before,) = (m for m in RunSpec.read(tmp_path / "state/runs/0001").micrographs if m.held_out)
    session.picked = 40
    session.edit(training={"generation": 2, "held_out_fraction": 0.4})

    session.until(lambda: len(session.promoted) == 2, "promotion")

    spec = RunSpec.read(tmp_path / "state/runs/0002")
    held_out = [m.path for m in spec.micrographs if m.held_out]
    trained_on = [m.path for m in spec.micrographs if not m.held_out]
    assert held_out[0] == before.path
    assert len(held_out) == 2
    assert int(held_out[1].stem) >= 5
    assert max(int(path.stem) for path in trained_on) > 15


def test_a_step_that_meets_an_unexpected_error_is_tried_again(make_session, monkeypatch):
    """The thread does not end; the error is counted."""
    session = make_session(SLEEP, picked=3)
    monkeypatch.setattr(scheduler_module, "PAUSE_SECONDS", 0.01)
    steps = []

    def step():
        steps.append(1)
        if len(steps) == 3:
            session.scheduler.stop()
            return
        raise RecursionError

    monkeypatch.setattr(session.scheduler, "step", step)
    session.scheduler.run()

    assert len(steps) == 3
    assert session.scheduler._unexpected.count_of("training") == 2
    assert session.scheduler._unexpected.stuck() == {}

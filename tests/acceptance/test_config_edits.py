"""Edits of the config while the service runs: its log, page and metrics."""

import signal

import pytest
from session import livepick

from livepick.core.contracts.bundle import GRAPH
from livepick.models.general_model import SHIPPED

SUCCESSFUL = "livepick_config_last_reload_successful"


def is_in_force(session):
    return f"{SUCCESSFUL} 1.0" in session.get("/metrics")


def model(session):
    """Return version and kind of the model in use, according to ``livepick status``."""
    found = session.status()["model"]
    return found["version"], found["kind"]


def edit(session, /, **sections):
    """Change settings in the config, and replace the file by a rename, as an editor does."""
    for name, section in sections.items():
        session.settings[name] = session.settings.get(name, {}) | section
    config = session.config
    session.config = config.with_suffix(".swp")
    session.save()
    session.config.rename(config)
    session.config = config


def test_edits_take_effect_and_faults_do_not(make_session):
    """A threshold is live; a typo, a wrong type and a needed restart are only shown."""
    session = make_session()
    session.start()
    (first,) = session.drop(1)
    session.until(lambda: session.picked() == 1, "1 picked")
    assert len(session.star(first)) >= 12

    edit(session, picking={"threshold": 1.0})
    session.until(lambda: session.star(first) == [], "picked again at a threshold that none has")
    live = "picking.threshold from auto to 1.0 (live)"
    session.until(lambda: live in session.log.read_text(), "the log says so")
    session.until(lambda: is_in_force(session), "it is in force")

    edit(session, picking={"treshold": 0.9})
    session.until(lambda: not is_in_force(session), "the typo is seen")
    session.until(lambda: "picking.treshold" in session.get("/"), "the typo is on the page")
    del session.settings["picking"]["treshold"]
    edit(session, particle={"diameter_angstrom": "large"}, picking={"threshold": 0.5})
    session.until(lambda: "diameter_angstrom" in session.get("/"), "the wrong type is seen")
    assert "treshold" not in session.get("/")
    edit(session, particle={"diameter_angstrom": 160}, session={"name": "other"})
    session.until(lambda: "needs a restart" in session.get("/"), "the restart is seen")
    page = session.get("/")
    assert "session.name from test to other" in page
    assert "1 other change waits" in page
    (second,) = session.drop(1, first=2)
    star = session.output / f"{second}_autopick.star"
    session.until(star.exists, "picking goes on")
    assert not is_in_force(session)
    assert "<h1>test</h1>" in page
    assert session.star(second) == [], "the other change is in force"

    edit(session, session={"name": "test"}, picking={"threshold": 1.0})
    session.until(lambda: is_in_force(session), "the config is right again")
    session.until(lambda: "The config was edited" not in session.get("/"), "and on the page")
    log = session.log.read_text()
    assert log.count("the previous config stays in use") == 3
    assert "reload: nothing has changed" in log
    edit(session, picking={"threshold": "auto"})
    session.until(lambda: len(session.star(first)) >= 12, "picked again as at first")
    assert session.stop() == 0


def test_another_particle_is_picked_for_at_once(make_session):
    """A blob picker of the new size picks, also the micrographs that the former one picked."""
    session = make_session()
    session.start()
    session.drop(2)
    session.until(lambda: session.picked() == 2, "2 picked")

    edit(session, particle={"diameter_angstrom": 140})
    session.process.send_signal(signal.SIGHUP)
    session.until(
        lambda: 'livepick_model_info{kind="blob",version="1"}' in session.get("/metrics"),
        "another blob picker",
    )
    session.until(lambda: session.picked() == 2, "both picked again")
    stars = list(session.output.glob("mic_*_autopick.star"))
    session.until(
        lambda: all("model 1 (blob)" in star.read_text() for star in stars), "by the new model"
    )
    session.until(lambda: 'diameter_angstrom="140"' in session.get("/metrics"), "the metric")
    assert session.log.read_text().count("(retrain)") == 1


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="the package has no general model yet")
def test_the_first_picker_is_an_edit(make_session):
    """The general model takes over, and the blob picker where the general model is damaged."""
    session = make_session(bootstrap={"picks": "blob"})
    session.start()
    names = session.drop(2)
    session.until(lambda: session.picked() == 2, "2 picked")

    edit(session, bootstrap={"picks": "general"})
    session.until(
        lambda: 'livepick_model_info{kind="general",version="1"}' in session.get("/metrics"),
        "the general model",
    )
    stars = [session.output / f"{name}_autopick.star" for name in names]
    session.until(
        lambda: all("model 1 (general)" in star.read_text() for star in stars), "picked again"
    )
    assert model(session) == (1, "general")
    session.until(lambda: "provisional" in session.get("/"), "the page says so")
    assert session.figure("model_usable") == 1

    (session.state / "models" / "0001" / GRAPH).write_bytes(b"half")
    session.until(lambda: session.figure("model_usable") == 0, "the damage is seen")
    session.until(
        lambda: 'livepick_model_info{kind="blob",version="0"}' in session.get("/metrics"),
        "the blob picker",
    )
    session.until(lambda: "0001/model.onnx" in session.get("/"), "the damage on the page")
    assert session.stop() == 0

    session.start()  # makes another copy
    session.until(lambda: session.figure("model_usable") == 1, "the metric")
    session.until(lambda: model(session) == (2, "general"), "another copy")


def test_the_command_to_retrain_is_an_edit(make_session):
    """The service applies it like any other edit."""
    session = make_session()
    session.start()

    ran = livepick("retrain", session.config, "--note", "thinner ice")

    assert ran.returncode == 0, ran.stderr
    assert "  # thinner ice" in session.config.read_text()
    session.until(
        lambda: "training.generation from 1 to 2 (retrain)" in session.log.read_text(), "the edit"
    )
    session.until(lambda: is_in_force(session), "it is in force")

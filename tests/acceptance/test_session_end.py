"""The end of a session: by a person, by itself, killed on the way, and reopened."""

import contextlib
import json
import signal
import sys
import urllib.request
from datetime import datetime

import psutil
import pytest
from session import livepick

from livepick.ledger.database import LEDGER, Database
from livepick.ledger.history import History


def end_of(session):
    """Return what ``session_end.json`` says; None if the session is not over."""
    try:
        return json.loads((session.state / "session_end.json").read_text())
    except FileNotFoundError:
        return None


def events(session):
    """Return the kinds of events in the history, the first one first."""
    with Database.read_only(session.state / LEDGER) as database:
        return [event.kind for event in History(database).latest(99)][::-1]


def heavy_processes(session):
    """Return the command lines of workers, trainers and other programs of the service."""
    found = []
    for each in psutil.Process(session.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            found.append(" ".join(each.cmdline()))
    return [line for line in found if "resource_tracker" not in line]


def test_a_person_ends_a_session_and_reopens_it(make_session):
    """What has landed is picked first; later arrivals are counted, not picked; nothing is lost."""
    session = make_session()
    session.start()
    session.drop(3)
    ended = livepick("end", session.config)
    assert ended.returncode == 0, ended.stderr
    session.until(session.is_over, "the end")

    end = end_of(session)
    assert (end["reason"], end["left"], end["report_fault"]) == ("person", 0, "")
    assert datetime.fromisoformat(end["at"]).tzinfo is not None
    report = (session.output / "session_report.html").read_text()
    assert "The session is over since" in report
    assert f"ended by {end['by']}." in report
    assert end["by"].endswith(", by livepick end")
    assert end["report"] == str(session.output / "session_report.html")
    assert session.picked() == 3
    session.until(lambda: heavy_processes(session) == [], "workers are released")
    status = session.status()
    assert status["session_end"]["reason"] == "person"
    assert status["problems"] == []
    assert "Session over since" in session.get("/")
    with urllib.request.urlopen(f"http://{session.address}/report", timeout=60) as answer:
        assert "sandbox" in answer.headers["content-security-policy"]
        assert b"session report" in answer.read()
    assert "Session over since" in status["service"]["sentence"]

    session.drop(2, first=4)
    session.until(lambda: session.counts().queued == 2, "2 more are counted")
    session.until(lambda: "2 micrographs have landed since" in session.get("/"), "the page says it")
    assert session.status()["problems"] == []
    assert session.picked() == 3

    undone = livepick("end", "--undo", session.config)
    assert undone.returncode == 0, undone.stderr
    session.until(lambda: session.picked() == 5, "the others are picked")
    assert end_of(session) is None
    assert "reopened" in session.log.read_text()
    assert events(session) == ["session_ended", "session_reopened"]
    assert session.stop() == 0


def test_a_session_ends_by_itself_and_a_micrograph_reopens_it(make_session):
    """Without new micrographs it is over after ``end_after_hours``; the next one reopens it."""
    session = make_session(session={"name": "test", "end_after_hours": 5 / 3600})
    session.start()
    session.drop(2)
    session.until(session.is_over, "the end")
    assert (end_of(session)["reason"], session.picked()) == ("idle", 2)

    session.drop(1, first=3)
    session.until(lambda: session.picked() == 3, "the third is picked")
    twice = ["session_ended", "session_reopened", "session_ended"]
    session.until(lambda: events(session) == twice, "the second end")

    undone = livepick("end", "--undo", session.config)
    assert undone.returncode == 0, undone.stderr
    session.until(lambda: events(session)[3:4] == ["session_reopened"], "reopened by a person")
    assert session.stop() == 0


def test_a_session_that_is_over_stays_over_after_a_reboot(make_session):
    """It is killed and started again: no worker, no second end, and nothing is picked again."""
    session = make_session(session={"name": "test", "end_after_hours": 5 / 3600})
    session.start()
    session.drop(2)
    session.until(session.is_over, "the end")
    first, rows = end_of(session), session.rows()
    session.end()
    begun = session.log.stat().st_size
    session.start()
    log = session.log.read_text()[begun:]
    session.until(session.is_over, "it is over")

    assert end_of(session) == first
    assert events(session) == ["session_ended"]
    assert heavy_processes(session) == []
    assert "workers on" not in log
    assert {name: row.picked_at for name, row in session.rows().items()} == {
        name: row.picked_at for name, row in rows.items()
    }
    assert session.status()["problems"] == []
    assert session.stop() == 0


@pytest.mark.parametrize(
    "step",
    [
        "end_session:ReportWriter.turn",  # the report has begun
        "end_session:write_session_end",  # it is written
        "service:record_end",  # the end is written
        "config.reload:ConfigFile.forget",  # the history is written
    ],
)
def test_an_end_that_is_killed_between_two_steps_goes_on(make_session, step):
    """After a kill at each step: one end, one report that is whole, one event."""
    session = make_session(session={"name": "test", "end_after_hours": 5 / 3600})
    session.start(program=killed_after(step) if "turn" in step else killed_at(step))
    session.drop(2)
    assert session.process.wait(timeout=120) == -signal.SIGKILL, session.log.read_text()
    assert (end_of(session) is None) == step.startswith("end_session")

    session.start()
    session.until(session.is_over, "the end")
    session.until(lambda: events(session) == ["session_ended"], "one end")
    report = (session.output / "session_report.html").read_text()
    assert report.rstrip().endswith("</html>")
    assert "ended by itself, as no more micrographs came" in report
    assert (end_of(session)["reason"], session.picked()) == ("idle", 2)
    assert session.stop() == 0


def killed_at(place):
    """Return ``livepick`` as a program that is killed when it calls a function."""
    return _killed(place, "pass")


def killed_after(place):
    """Return ``livepick`` as a program that is killed shortly after it has called a function."""
    return _killed(place, "before(*args, **kwargs); time.sleep(0.4)")


def _killed(place, first):
    module, _, name = place.partition(":")
    code = f"""\
import importlib, os, signal, sys, time
from livepick.cli import main
owner = importlib.import_module("livepick.{module}")
*owners, name = "{name}".split(".")
for each in owners:
    owner = getattr(owner, each)
before = getattr(owner, name)
def killed(*args, **kwargs):
    {first}
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, killed)
sys.exit(main())
"""
    return sys.executable, "-c", code


def test_a_service_exits_at_the_end_if_it_is_told_to(make_session):
    """The exit status is 0; a start after the end exits too, unless a micrograph has landed."""
    session = make_session(session={"name": "test", "end_after_hours": 5 / 3600})
    session.start(options=("--exit-when-ended",))
    session.drop(1)
    assert session.process.wait(timeout=120) == 0
    assert (end_of(session)["reason"], session.picked()) == ("idle", 1)
    assert session.status()["service"]["state"] == "stopped"
    assert events(session) == ["session_ended"]

    session.start(wait=False, options=("--exit-when-ended",))
    assert session.process.wait(timeout=120) == 0
    assert events(session) == ["session_ended"]

    session.drop(1, first=2)
    session.start(wait=False, options=("--exit-when-ended",))
    assert session.process.wait(timeout=120) == 0
    assert session.picked() == 2
    assert events(session) == ["session_ended", "session_reopened", "session_ended"]


def test_a_fault_of_the_config_does_not_disturb_the_end(make_session):
    """The settings in use stay; the fault is still shown after the end."""
    session = make_session(session={"name": "test", "end_after_hours": 8 / 3600})
    session.start()
    session.drop(1)
    session.until(lambda: session.picked() == 1, "picked")
    session.settings["particle"]["diameter_angstrom"] = "large"
    session.save()
    session.until(session.is_over, "the end")
    session.until(
        lambda: "was rejected" in str(session.problems()), "the fault is shown after the end"
    )
    assert end_of(session)["report"] is not None
    assert session.stop() == 0

"""Notices of a real service, to a webhook of this machine; their address is nowhere to be seen."""

import socket

import yaml
from session import impatient, livepick

from webhook import webhook

SOON = {"notices.notifier.LOOK_SECONDS": 0.5, "notices.notifier.LASTING_SECONDS": 0.5}
SECRET = "hunter2"  # noqa: S105 - of nobody


def titles(hook):
    """Return the titles of the notices that a webhook was sent."""
    return [each["title"] for each in hook.messages]


def address_in(session, port, *, name="address"):
    """Write an address into a file, and return its setting."""
    file = session.folder / name
    file.write_text(f"json://anna:{SECRET}@127.0.0.1:{port}/{SECRET}\n")
    file.chmod(0o600)
    return [{"url_file": str(file)}]


def test_a_session_tells_its_end_once_and_hides_the_address(make_session):
    """Also after a restart; a folder that is gone is told, too."""
    with webhook() as hook:
        session = make_session()
        session.settings["notify"] = address_in(session, hook.port)
        session.save()
        tried = livepick("notify-test", session.config)
        assert (tried.returncode, titles(hook)) == (0, ["livepick test: test"]), tried.stderr
        session.start(program=impatient(SOON))
        session.drop(1)
        session.until(lambda: session.picked() == 1, "picks")
        session.landing.rename(session.folder / "away")
        session.until(lambda: "livepick test: livepick needs help" in titles(hook), "help")
        sent = 'notices_total{outcome="sent"}'
        session.until(lambda: session.figure(sent) >= 1, "the count")
        (session.folder / "away").rename(session.landing)
        assert livepick("end", session.config).returncode == 0
        session.until(lambda: "livepick test: the session is over" in titles(hook), "the end")
        session.until(session.is_over, "the service at rest")
        shown = session.get("/") + session.get("/metrics") + session.get("/report")
        shown += session.get("/headline.json") + livepick("doctor", session.config).stdout
        shown += session.log.read_text() + (session.state / "config.yaml").read_text()
        shown += (session.state / "notices.json").read_text() + tried.stdout
        assert SECRET not in shown
        assert session.stop() == 0

        count = len(titles(hook))
        with webhook() as other:  # hears of all that the first one would hear again before
            session.settings = yaml.safe_load(session.config.read_text())  # it has the end
            session.settings["notify"] += address_in(session, other.port, name="other")
            session.save()
            session.start(program=impatient(SOON))
            session.until(lambda: "livepick test: the session is over" in titles(other), "the end")
            assert session.stop() == 0
        assert len(titles(hook)) == count


def test_a_server_that_hangs_does_not_delay_picking(make_session):
    """The failure is counted and said, and picking goes on meanwhile."""
    constants = SOON | {"notices.delivery.SEND_SECONDS": 3}
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        session = make_session(session={"name": "test", "end_after_hours": 6})
        session.settings["notify"] = address_in(session, hanging.getsockname()[1])
        session.save()
        session.start(program=impatient(constants))
        session.drop(1)
        session.until(lambda: session.picked() == 1, "picks")
        session.landing.rename(session.folder / "away")
        session.until(
            lambda: session.figure('notices_total{outcome="failed"}') >= 1, "a failed notice"
        )
        session.until(lambda: "A notice could not be sent" in str(session.problems()), "it is said")
        (session.folder / "away").rename(session.landing)
        session.drop(3, first=2)
        session.until(lambda: session.picked() == 4, "picks meanwhile")
        assert SECRET not in session.get("/") + session.log.read_text()
        assert session.stop() == 0


def test_a_service_that_exits_with_its_session_tells_the_end_first(make_session):
    """It is told before the process ends."""
    with webhook() as hook:
        session = make_session(session={"name": "test", "end_after_hours": 5 / 3600})
        session.settings["notify"] = address_in(session, hook.port)
        session.save()
        session.start(options=("--exit-when-ended",))
        session.drop(1)
        assert session.process.wait(timeout=120) == 0
        assert titles(hook) == ["livepick test: the session is over"]

"""Why the process of a session has ended, in its own words."""

import sys

import pytest

from livepick.instrument.notify_socket import NotifySockets
from livepick.instrument.session_process import SessionProcess


@pytest.fixture
def ended(tmp_path):
    """Return a function that runs a program which prints an error, until it has ended."""
    sockets = NotifySockets()

    def run(*lines, status=78):
        code = f"import sys; sys.stderr.write({chr(10).join(lines)!r}); sys.exit({status})"
        program = (sys.executable, "-c", code)
        process = SessionProcess("s1", tmp_path / "session.yaml", sockets.make(), program)
        process.close()
        return process

    yield run
    sockets.close()


def test_an_error_and_its_remedy_are_those_that_it_printed(ended):
    process = ended("2026-11-30 10:00:00 INFO starts", "livepick: no room", "  Make some.", "")
    assert (process.reason(), process.remedy()) == ("no room", "Make some.")


def test_several_faults_are_one_reason(ended):
    process = ended("livepick: a.yaml has 2 faults:", "  line 1: a", "  line 2: b", "  Fix them.")
    assert process.reason() == "a.yaml has 2 faults: line 1: a line 2: b"
    assert process.remedy() == "Fix them."


def test_without_an_error_the_last_line_is_the_reason(ended):
    assert ended("Traceback", "ValueError: x", status=1).reason() == "ValueError: x"
    assert ended(status=3).reason() == "exit status 3"
    assert ended(status=3).remedy() == ""

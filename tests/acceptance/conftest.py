"""Fixture of all acceptance tests: sessions whose services end with the test."""

import pytest
from session import Session


@pytest.fixture
def make_session(tmp_path):
    """Return a function that makes a session; its service ends with the test.

    If a test needs several, each has its own ``place``.
    """
    made = []

    def make(place="", **sections):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        made.append(Session(folder, **sections))
        return made[-1]

    yield make
    for session in made:
        if session.process is not None and session.process.poll() is None:
            session.process.kill()
            session.process.wait()

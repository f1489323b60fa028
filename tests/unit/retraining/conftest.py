"""Sessions that train, with fakes for the ledger and the workers."""

import pytest
from planned_session import PlannedSession
from scheduled_session import ScheduledSession

from livepick.retraining import promotion_gate, scheduler


@pytest.fixture(autouse=True)
def _folders_are_there(monkeypatch):
    """Pretend that the folders of the fake micrographs exist."""
    monkeypatch.setattr(scheduler, "away", lambda roots: None)
    monkeypatch.setattr(promotion_gate, "away", lambda roots: None)


@pytest.fixture
def make_session(make_config, put_bundle):
    """Return a function that makes a session with a trainer program and a blob picker."""

    def make(program, *, picked=5, bootstrap=None, training=None):
        config = make_config(
            bootstrap={"micrographs": 5, "minimum_picks": 10} | (bootstrap or {}),
            training=training or {},
        )
        return ScheduledSession(config, program, picked, put_bundle)

    return make


@pytest.fixture
def begin(make_config, put_bundle):
    """Return a function that starts a session that needs five micrographs with 100 picks."""

    def make(*, training=None, **bootstrap):
        config = make_config(
            bootstrap={"micrographs": 5, "minimum_picks": 100} | bootstrap,
            training=training or {},
        )
        session = PlannedSession(config)
        if not session.models.bundles():
            put_bundle(session.models, config, 0, "blob")
        return session

    return make

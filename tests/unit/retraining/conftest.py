"""Sessions that train, with fakes for the ledger and the workers."""

import pytest
from planned_session import PlannedSession
from scheduled_session import ScheduledSession


@pytest.fixture
def make_session(make_config, put_bundle, micrograph_row):
    """Return a function that makes a session with a trainer program and a blob picker."""

    def make(program, *, picked=5, generation=1, bootstrap=None, training=None):
        bootstrap = {"minimum_picks": 10} | (bootstrap or {})
        config = make_config(
            generation=generation, micrographs=5, bootstrap=bootstrap, training=training
        )
        return ScheduledSession(config, program, picked, micrograph_row, put_bundle)

    return make


@pytest.fixture
def begin(make_config, put_bundle, micrograph_row):
    """Return a function that starts a session that needs five micrographs with 100 picks."""

    def make(*, training=None, **bootstrap):
        config = make_config(
            micrographs=5, bootstrap={"minimum_picks": 100} | bootstrap, training=training
        )
        session = PlannedSession(config, micrograph_row)
        if not session.models.bundles():
            put_bundle(session.models, config, 0, "blob")
        return session

    return make

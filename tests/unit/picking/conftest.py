"""The session that the tests of the dispatch loop share, and pools of workers."""

import pytest
from dispatch_session import Session

from livepick.picking import background_write, dispatch, output_sync, settle_jobs
from livepick.picking.job_limits import JobLimits
from livepick.picking.worker_pool import WorkerPool


@pytest.fixture
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(dispatch, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(settle_jobs, "RETRY_DELAYS_SECONDS", (0.02, 0.02))
    monkeypatch.setattr(settle_jobs, "CHANGED_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(dispatch, "LEDGER_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(dispatch, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(dispatch, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(output_sync, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(output_sync, "LIST_SECONDS", 0.05)
    # Else a list that took a second, as on a busy machine, is not written again for 50 s.
    monkeypatch.setattr(background_write, "SHARE", 1e6)


@pytest.fixture
def session(tmp_path, _in_a_hurry):
    """Return a function that makes a session in ``tmp_path``; the last one is closed at the end."""
    made = []

    def make(*args, **kwargs):
        if made:
            made[-1].close()
        made.append(Session(tmp_path, *args, **kwargs))
        return made[-1]

    yield make
    if made:
        made[-1].close()


@pytest.fixture
def make_pool():
    """Return a function that makes a pool; all pools end with the test."""
    pools = []

    def make(workers=1, **options):
        pools.append(WorkerPool(workers, JobLimits(workers), **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown()

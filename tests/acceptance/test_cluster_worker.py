"""``livepick worker`` on a Dask cluster over TLS, with the certificates that deploy/dask makes."""

import pickle
import signal
import subprocess

import pytest

distributed = pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

import livepick  # noqa: E402
from certificates import make_cluster_tls, needs_openssl  # noqa: E402
from livepick.core.contracts.node import PICK, TaskLimits  # noqa: E402
from livepick.picking.cluster.node import run_on_node, version  # noqa: E402
from livepick.picking.cluster.security import cluster_security  # noqa: E402

SECONDS = 60

pytestmark = needs_openssl


@pytest.mark.slow
def test_a_worker_joins_works_joins_again_and_leaves(make_cluster, tmp_path):
    """It outlives its scheduler, whose address changes, and finishes its job before it leaves."""
    tls = make_cluster_tls(tmp_path / "tls")
    cluster = make_cluster(by_file=True, tls=tls)

    def logged(words, count=1):
        cluster.until(lambda: cluster.worker_log.read_text().count(words) >= count, words)

    worker = cluster.start_worker("--mount", tmp_path, wait=False)
    logged("waits for the scheduler")
    cluster.start_scheduler()
    logged("worker: joined tls://127.0.0.1:")
    cluster.kill(cluster.scheduler)
    logged("worker: lost the scheduler")
    cluster.start_scheduler()
    logged("worker: joined tls://127.0.0.1:", 2)

    with distributed.Client(
        scheduler_file=str(cluster.scheduler_file),
        security=cluster_security(tls),
        set_as_default=False,
    ) as client:
        assert client.submit(version).result(SECONDS) == livepick.__version__
        begun, may_end = tmp_path / "begun", tmp_path / "may_end"
        words = f"touch {begun}; until [ -e {may_end} ]; do sleep 0.1; done"
        job = client.submit(
            run_on_node,
            subprocess.run,
            (["/bin/sh", "-c", words],),
            TaskLimits(SECONDS),
            resources={PICK: 1},
        )
        cluster.until(begun.exists, "the begin of the job")
        worker.send_signal(signal.SIGTERM)
        logged("worker: leaving (SIGTERM received); 1 running")
        may_end.touch()
        outcome = pickle.loads(job.result(SECONDS))  # noqa: S301 - of this test
        assert outcome.value.returncode == 0
    assert worker.wait(SECONDS) == 0
    log = cluster.worker_log.read_text()
    assert "CPUExecutionProvider" in log
    assert "TLS        until 20" in log
    assert "the certificates end" not in log  # they are valid for years
    assert f"folder     {tmp_path}: can be read" in log
    assert "handed back" not in log
    assert "Traceback" not in log

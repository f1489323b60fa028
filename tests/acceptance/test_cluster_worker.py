"""``livepick worker`` on a Dask cluster over TLS, with the certificates that deploy/dask makes."""

import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

distributed = pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

import livepick  # noqa: E402
from certificates import needs_openssl  # noqa: E402
from livepick.config.engine_section import ClusterTls  # noqa: E402
from livepick.core.contracts.node import PICK, TaskLimits  # noqa: E402
from livepick.picking.cluster.node import run_on_node, version  # noqa: E402
from livepick.picking.cluster.security import cluster_security  # noqa: E402

MAKE_CERTIFICATES = Path(__file__).parents[2] / "deploy" / "dask" / "make-certificates.sh"
BIN = Path(sys.executable).parent
SECONDS = 60

pytestmark = needs_openssl


class Cluster:
    """A scheduler and a worker on this machine, each a process with a log."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes = []
        tls = folder / "tls"
        subprocess.run([MAKE_CERTIFICATES, tls], check=True, capture_output=True)
        self.tls = ClusterTls(
            ca=tls / "ca.pem", certificate=tls / "certificate.pem", key=tls / "key.pem"
        )

    def start_scheduler(self):
        """Start a scheduler at a new port, and return its process."""
        return self._start(
            "scheduler",
            *(BIN / "dask", "scheduler", "--host", "tls://127.0.0.1", "--port", "0"),
            *("--tls-ca-file", self.tls.ca, "--tls-cert", self.tls.certificate),
            *("--tls-key", self.tls.key, "--scheduler-file", self.file),
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
        )

    def start_worker(self, *options):
        return self._start(
            "worker",
            *(BIN / "livepick", "worker", "--scheduler-file", self.file, "--device", "cpu"),
            *("--workers", "1", "--mount", self.folder, "--tls-ca", self.tls.ca),
            *("--tls-certificate", self.tls.certificate, "--tls-key", self.tls.key, *options),
        )

    def _start(self, name, *command):
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def log(self, name="worker"):
        return (self.folder / f"{name}.log").read_text()

    def await_log(self, words, count=1):
        give_up = time.monotonic() + SECONDS
        while self.log().count(words) < count:
            assert time.monotonic() < give_up, self.log() + self.log("scheduler")
            time.sleep(0.05)

    def client(self):
        return distributed.Client(
            scheduler_file=str(self.file), security=cluster_security(self.tls), set_as_default=False
        )


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    for process in cluster.processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_worker_joins_works_joins_again_and_leaves(cluster):
    """It outlives its scheduler, whose address changes, and finishes its job before it leaves."""
    worker = cluster.start_worker()
    cluster.await_log("waits for the scheduler")
    first = cluster.start_scheduler()
    cluster.await_log("worker: joined tls://127.0.0.1:")
    first.kill()
    first.wait()
    cluster.await_log("worker: lost the scheduler")
    cluster.start_scheduler()
    cluster.await_log("worker: joined tls://127.0.0.1:", 2)

    with cluster.client() as client:
        assert client.submit(version).result(SECONDS) == livepick.__version__
        begun = cluster.folder / "begun"
        command = ["/bin/sh", "-c", f"touch {begun}; sleep 1"]
        job = client.submit(
            run_on_node, subprocess.run, (command,), TaskLimits(30), resources={PICK: 1}
        )
        give_up = time.monotonic() + SECONDS
        while not begun.exists():
            assert time.monotonic() < give_up, cluster.log()
            time.sleep(0.02)
        worker.send_signal(signal.SIGTERM)
        outcome = pickle.loads(job.result(SECONDS))  # noqa: S301 - of this test
        assert outcome.value.returncode == 0
    assert worker.wait(SECONDS) == 0
    log = cluster.log()
    assert "CPUExecutionProvider" in log
    assert "TLS        until 20" in log
    assert "the certificates end" not in log  # they are valid for years
    assert f"folder     {cluster.folder}: can be read" in log
    assert "worker: leaving (SIGTERM received); 1 running" in log
    assert "handed back" not in log
    assert "Traceback" not in log

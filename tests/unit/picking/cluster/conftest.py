"""A Dask cluster of this process with one node, and the sessions that share it."""

import fcntl

import distributed
import pytest

from livepick.config.engine_section import EngineSettings
from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.node import HEAVY, PICK, HelloRequest
from livepick.models.general_model import SHIPPED
from livepick.picking.cluster.client import ClusterExecutor
from livepick.picking.cluster.heavy_on_node import HeavyWork, offer_heavy
from livepick.picking.cluster.node import close_node, open_node
from livepick.picking.cluster.worker_program import _WaitingTasks
from livepick.picking.job_limits import JobLimits
from livepick.retraining.trainer_process import TrainerProcess


@pytest.fixture(scope="module")
def scheduler():
    """Return the address of a scheduler with one node: one process, and heavy jobs."""
    open_node(1, heavy=True)
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        resources={PICK: 1, HEAVY: 1},
        dashboard_address=":0",
        protocol="tcp",
        plugins=(_WaitingTasks(),),
    ) as cluster:
        yield cluster.scheduler_address
    close_node()


@pytest.fixture
def work():
    """Return the heavy work of the node."""
    work = HeavyWork(TrainerProcess.start)
    offer_heavy(work)
    yield work
    offer_heavy(None)
    work.leave()


@pytest.fixture
def guard(tmp_path):
    """Return a file that the service has locked."""
    path = tmp_path / "service.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


@pytest.fixture
def connect(scheduler, tmp_path):
    """Return a function that connects a session, whose node is accepted or will be."""
    made = []
    (tmp_path / "token").write_text("abc")
    graph_sha256 = read_card(SHIPPED).graph_sha256
    token_file = tmp_path / "token"

    def connect(session="s", root=tmp_path):
        request = HelloRequest("cpu", SHIPPED, graph_sha256, token_file, "abc", (root,))
        engine = EngineSettings(kind="dask", scheduler=scheduler)
        made.append(ClusterExecutor(engine, lambda: request, JobLimits(1), session=session))
        return made[-1]

    yield connect
    for executor in made:
        executor.shutdown()

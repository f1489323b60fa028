"""Trainings on a real Dask cluster of this process, with stub trainers.

The worker here has no thread to spare, so a heavy job that took one would be noticed.
"""

import asyncio
import fcntl
import os
import signal
import sys
import textwrap
import time

import distributed
import pytest

from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.contracts.heavy_job import HeavyOrder
from livepick.core.contracts.node import HEAVY, PICK
from livepick.errors import EngineError
from livepick.picking.cluster import heavy_client, heavy_on_node
from livepick.picking.cluster.heavy_client import HeavyClient
from livepick.picking.cluster.heavy_on_node import HeavyWork, offer_heavy
from livepick.retraining import trainer_on_node
from livepick.retraining.trainer_on_node import starter
from livepick.retraining.trainer_process import LOCK, Ended, TrainerProcess

TRAINER = """
    import sys, time
    from pathlib import Path
    folder = Path(sys.argv[1])
    with (folder / "starts").open("a") as file:
        file.write("x")
    stage = folder / "prepare"
    if not stage.exists():
        stage.write_text("finished")
        time.sleep(60)
    while not (folder / "go").exists():
        time.sleep(0.02)
"""
"""Its first stage is finished at once; killed after that, it resumes with the second one, which
ends when a file is there."""

COMMAND = (sys.executable, "-c", textwrap.dedent(TRAINER))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(trainer_on_node, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(heavy_on_node, "POLL_SECONDS", 0.02)


@pytest.fixture
def work():
    """Return the heavy work of the worker of this process."""
    work = HeavyWork(TrainerProcess.start)
    offer_heavy(work)
    yield work
    offer_heavy(None)
    work.leave()


@pytest.fixture
def cluster(work):
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        resources={PICK: 1, HEAVY: 1},
        dashboard_address=":0",
        protocol="tcp",
    ) as cluster:
        yield cluster


class Connection:
    """A connection of a service, without its executor."""

    def __init__(self, cluster):
        self.client = distributed.Client(cluster, set_as_default=False)
        self.state = "accepted"

    @property
    def view(self):
        workers = self.client.scheduler_info()["workers"]
        nodes = (
            NodeView(address, "", "", self.state, 1, 0, heavy=HEAVY in worker["resources"])
            for address, worker in workers.items()
        )
        return ClusterView("", True, nodes=tuple(nodes))

    def call(self, ask, seconds):
        async def run():
            async with distributed.Client(
                self.client.scheduler.address, asynchronous=True, set_as_default=False
            ) as client:
                return await ask(client)

        return self.client.sync(run, callback_timeout=seconds)


@pytest.fixture
def service(cluster, tmp_path):
    """Return a function that makes the connection of a service; each is closed at the end."""
    guard = tmp_path / "service.lock"
    made = []

    def connect():
        made.append(Connection(cluster))
        return made[-1].client, starter(HeavyClient(made[-1]), guard)

    with guard.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield connect
    for connection in made:
        connection.client.close()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "0001"
    folder.mkdir()
    return folder


def until(condition, trainer=None):
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        if trainer is not None:
            trainer.poll()
        time.sleep(0.02)


def starts(run):
    path = run / "starts"
    return len(path.read_text()) if path.exists() else 0


def process_id(run):
    return int((run / LOCK).read_text().split()[0])


def await_end(trainer):
    until(lambda: trainer.poll() is not None)
    return trainer.poll()


def test_a_training_is_killed_resumes_is_adopted_and_ends_once(service, run):
    """Its client is gone without a word for a while, as if the service was killed."""
    client, start = service()
    trainer = start(run, COMMAND, threads=1)
    until(lambda: starts(run) == 1, trainer)
    # Picking has the only thread of the worker meanwhile.
    assert client.submit(os.getpid, resources={PICK: 1}).result(timeout=30) == os.getpid()

    os.kill(process_id(run), signal.SIGKILL)
    host = os.uname().nodename
    assert await_end(trainer) == Ended(-signal.SIGKILL, host)
    assert not TrainerProcess.is_running(run)

    trainer = start(run, COMMAND, threads=1)
    until(lambda: starts(run) == 2, trainer)
    client.close()
    number = process_id(run)
    _, start = service()
    trainer = start(run, COMMAND, threads=1)
    assert trainer.poll() is None
    (run / "go").touch()
    assert await_end(trainer) == Ended(0, host)
    assert (starts(run), process_id(run)) == (2, number)


def test_the_service_ends_a_training(service, run):
    _, start = service()
    trainer = start(run, COMMAND, threads=1)
    until(lambda: starts(run) == 1, trainer)
    trainer.end()
    assert not TrainerProcess.is_running(run)
    assert starts(run) == 1


def test_two_sessions_have_a_worker_one_after_the_other(service, run, tmp_path):
    """The second one waits, and its training runs when the first has ended."""
    other = tmp_path / "0002"
    other.mkdir()
    (run / "prepare").touch()
    (other / "prepare").touch()
    first = service()[1](run, COMMAND, threads=1)
    second = service()[1](other, COMMAND, threads=1)
    until(lambda: starts(run) == 1, first)
    until(lambda: second._place is not None and "another run" in second._place.waits, second)
    assert starts(other) == 0
    (run / "go").touch()
    (other / "go").touch()
    assert await_end(first).exit_status == 0
    assert await_end(second).exit_status == 0


class FakeCluster:
    """Workers that need no scheduler; a name is also the state, and what it answers."""

    def __init__(self, *names, fails=False):
        nodes = (NodeView(name, "", "", name, 1, 0, heavy=True) for name in names)
        self.view = ClusterView("", True, nodes=tuple(nodes))
        self.fails = fails

    def call(self, ask, seconds):
        if self.fails:
            raise EngineError("the cluster is lost", "It is tried again.")
        return asyncio.run(ask(self))

    async def run(self, function, *args, workers):
        (address,) = workers
        if address == "silent":
            await asyncio.sleep(60)
        if address == "asked":
            raise OSError("Timed out trying to connect")
        return {address: function(*args)}


def test_a_worker_that_hangs_hides_no_other_one(work, run, monkeypatch):
    monkeypatch.setattr(heavy_client, "ANSWER_SECONDS", 0.1)
    nodes = HeavyClient(FakeCluster("asked", "silent", "accepted"))
    assert {a: report.state for a, report in nodes.ask(run).items()} == {"accepted": "free"}


def test_a_worker_that_is_set_aside_gets_no_new_training_but_keeps_its_own(work, run, tmp_path):
    nodes = HeavyClient(FakeCluster("set_aside"))
    order = HeavyOrder(run, "first", 1, tmp_path / "guard", COMMAND)
    assert nodes.ask(run) == {}
    assert nodes.start("set_aside", order) is None
    (tmp_path / "guard").touch()
    with (tmp_path / "guard").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        work.start(order)
        until(lambda: starts(run) == 1)
        assert nodes.ask(run)["set_aside"].state == "running"


def test_a_lost_scheduler_is_as_if_no_worker_answers(run):
    assert HeavyClient(FakeCluster("accepted", fails=True)).ask(run) == {}

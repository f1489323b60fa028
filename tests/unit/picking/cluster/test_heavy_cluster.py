"""Trainings on a real Dask cluster of this process, with stub trainers.

The node here has one thread, so a heavy job that took it would be noticed.
"""

import asyncio
import os
import signal
import sys
import textwrap

import pytest
from waiting import until

from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.contracts.heavy_job import HeavyOrder
from livepick.core.contracts.trainer import Ended
from livepick.errors import EngineError
from livepick.picking.cluster import heavy_client, heavy_on_node
from livepick.picking.cluster.heavy_client import HeavyClient
from livepick.retraining import trainer_on_node
from livepick.retraining.trainer_on_node import start_on_nodes
from livepick.retraining.trainer_place import TrainerPlace, read_place
from livepick.retraining.trainer_process import LOCK, TrainerProcess

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
def run(tmp_path):
    folder = tmp_path / "0001"
    folder.mkdir()
    return folder


def poll_until(trainer, condition):
    """Wait for a condition as the service does, which polls its trainer."""

    def is_true():
        trainer.poll()
        return condition()

    until(is_true)


def starts(run):
    path = run / "starts"
    return len(path.read_text()) if path.exists() else 0


def process_id(run):
    """Return the process id in the lock, which is there a moment after the start; 0: it is not."""
    return int((run / LOCK).read_text().partition(" ")[0] or 0)


def await_end(trainer):
    until(lambda: trainer.poll() is not None)
    return trainer.poll()


def trains(executor, guard, run):
    """Return the trainer of a run of the session of an executor."""
    return start_on_nodes(HeavyClient(executor), guard)(run, COMMAND, threads=1)


@pytest.mark.usefixtures("work")
def test_a_training_is_killed_resumes_is_adopted_and_ends_once(connect, guard, run):
    """Its service is gone without a word for a while, as if it was killed."""
    executor = connect()
    trainer = trains(executor, guard, run)
    poll_until(trainer, lambda: starts(run) == 1 and process_id(run))
    # Picking has the only thread of the node meanwhile.
    assert executor.submit(abs, -3).result(timeout=30) == 3

    first = process_id(run)
    os.kill(first, signal.SIGKILL)
    host = os.uname().nodename
    assert await_end(trainer) == Ended(-signal.SIGKILL, host)
    assert not TrainerProcess.is_running(run)

    trainer = trains(executor, guard, run)
    poll_until(trainer, lambda: starts(run) == 2 and process_id(run) not in (0, first))
    executor.shutdown()
    number = process_id(run)
    trainer = trains(connect(), guard, run)
    poll_until(trainer, lambda: read_place(run) == TrainerPlace(host=host))
    (run / "go").touch()
    assert await_end(trainer) == Ended(0, host)
    assert (starts(run), process_id(run)) == (2, number)


@pytest.mark.usefixtures("work")
def test_the_service_ends_a_training(connect, guard, run):
    trainer = trains(connect(), guard, run)
    poll_until(trainer, lambda: starts(run) == 1)
    trainer.end()
    assert not TrainerProcess.is_running(run)
    assert starts(run) == 1


@pytest.mark.usefixtures("work")
def test_two_sessions_have_a_worker_one_after_the_other(connect, guard, run, tmp_path):
    """The second one waits, and its training runs when the first has ended."""
    other = tmp_path / "0002"
    other.mkdir()
    (run / "prepare").touch()
    (other / "prepare").touch()
    first = trains(connect(), guard, run)
    poll_until(first, lambda: starts(run) == 1)
    second = trains(connect(), guard, other)
    poll_until(second, lambda: "another run" in (read_place(other) or TrainerPlace()).waits)
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


@pytest.mark.usefixtures("work")
def test_a_worker_that_hangs_hides_no_other_one(run, monkeypatch):
    monkeypatch.setattr(heavy_client, "ANSWER_SECONDS", 0.1)
    nodes = HeavyClient(FakeCluster("asked", "silent", "accepted"))
    assert {a: report.state for a, report in nodes.ask(run).items()} == {"accepted": "free"}


def test_a_worker_that_is_set_aside_gets_no_new_training_but_keeps_its_own(work, run, guard):
    nodes = HeavyClient(FakeCluster("set_aside"))
    order = HeavyOrder(run, "first", 1, guard, COMMAND)
    assert nodes.ask(run) == {}
    assert nodes.start("set_aside", order) is None
    work.start(order)
    until(lambda: starts(run) == 1)
    assert nodes.ask(run)["set_aside"].state == "running"


def test_a_lost_scheduler_is_as_if_no_worker_answers(run):
    assert HeavyClient(FakeCluster("accepted", fails=True)).ask(run) == {}

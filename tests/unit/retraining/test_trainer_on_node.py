"""A trainer on a worker of a cluster, with workers that are objects of this process."""

import contextlib
import dataclasses
import fcntl
import sys
import textwrap

import pytest
from trainer_programs import PUBLISH, SLEEP

from livepick.core.contracts.heavy_job import HeavyOrder, HeavyReport
from livepick.core.contracts.trainer import Ended
from livepick.retraining import run_in_progress, trainer_on_node, trainer_process
from livepick.retraining.trainer_on_node import TrainerOnNode
from livepick.retraining.trainer_place import TrainerPlace, read_place


class FakeNodes:
    """Workers by address, each with its report on the only folder; ``None`` does not answer."""

    def __init__(self, **workers):
        self.reports = {name: HeavyReport(name, state) for name, state in workers.items()}
        self.silent = set()
        self.refuses = {}
        self.orders = []
        self.ended = []

    def ask(self, folder):
        return {a: r for a, r in self.reports.items() if a not in self.silent}

    def start(self, address, order):
        if address in self.silent:
            return None
        self.orders.append(address)
        if address in self.refuses:
            return HeavyReport(address, "refused", order.attempt, reason=self.refuses[address])
        self.reports[address] = HeavyReport(address, "starting", order.attempt)
        return self.reports[address]

    def end(self, folder, *, kill):
        self.ended.append(kill)
        for address, report in self.reports.items():
            if report.state == "running":
                self.set(address, state="ended", reason="the service ended it")

    def set(self, address, **changes):
        self.reports[address] = dataclasses.replace(self.reports[address], **changes)


class Here:
    """Stands in for the start of a trainer on this machine."""

    def __init__(self):
        self.started = []

    def __call__(self, folder, command=(), *, threads=1):
        self.started.append(threads)
        return self

    def poll(self):
        return Ended(0)

    def activity(self):
        return None


@pytest.fixture(autouse=True)
def _asked_at_each_step(monkeypatch):
    monkeypatch.setattr(trainer_on_node, "ASK_SECONDS", 0.0)


@pytest.fixture
def make(tmp_path):
    """Return a function that makes the trainer of the run in ``tmp_path``."""

    def make(nodes, attempt="first"):
        order = HeavyOrder(tmp_path, attempt, threads=3, guard=tmp_path / "guard")
        return TrainerOnNode(order, nodes, here=here)

    here = make.here = Here()
    return make


@contextlib.contextmanager
def locked(folder, text="12 b"):
    """Hold the lock of a run, as a trainer does."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(text)
        lock.flush()
        yield


def test_the_first_free_worker_gets_the_run_and_its_end_is_that_of_the_trainer(tmp_path, make):
    nodes = FakeNodes(a="busy", b="free", c="free")
    trainer = make(nodes)
    assert nodes.orders == ["b"]
    nodes.set("b", state="running", cpu_seconds=7.0)
    assert trainer.poll() is None
    assert trainer.activity().cpu_seconds == 7.0
    assert read_place(tmp_path) == TrainerPlace(host="b")

    nodes.set("b", state="ended", exit_status=-9)
    assert trainer.poll() == Ended(-9, "b")
    assert read_place(tmp_path) is None
    assert nodes.orders == ["b"]


def test_a_worker_that_refuses_is_named_and_another_one_is_asked(tmp_path, make, caplog):
    """It may refuse at once, or after it has looked at the folder."""
    nodes = FakeNodes(a="free", b="free", c="free")
    nodes.refuses["a"] = "not installed: torch"
    trainer = make(nodes)
    assert nodes.orders == ["a", "b"]
    nodes.set("b", state="refused", reason="it does not see the lock")
    trainer.poll()
    trainer.poll()
    assert nodes.orders == ["a", "b", "c"]
    assert read_place(tmp_path) == TrainerPlace(host="c")
    assert caplog.text.count("a refuses it: not installed: torch") == 1
    assert "b refuses it: it does not see the lock" in caplog.text


def test_without_a_worker_the_run_waits_and_is_then_trained_here(tmp_path, make, monkeypatch):
    nodes = FakeNodes()
    trainer = make(nodes)
    assert trainer.poll() is None
    assert "no worker of the cluster takes heavy jobs" in read_place(tmp_path).waits
    assert not trainer.activity().has_begun
    assert make.here.started == []

    monkeypatch.setattr(trainer_on_node, "WAIT_SECONDS", 0.0)
    trainer.poll()
    assert make.here.started == [3]
    assert read_place(tmp_path) is None
    assert trainer.poll() == Ended(0)


def test_a_machine_without_the_trainer_goes_on_waiting(tmp_path, make, monkeypatch):
    monkeypatch.setattr(trainer_on_node, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(trainer_on_node, "missing_packages", lambda: ["torch"])
    nodes = FakeNodes(a="busy")
    trainer = make(nodes)
    assert make.here.started == []
    waits = read_place(tmp_path).waits
    assert waits == "a works for another run, and it cannot be trained here without torch"
    nodes.set("a", state="free")
    trainer.poll()
    assert nodes.orders == ["a"]


def test_a_trainer_whose_worker_does_not_answer_keeps_its_run(tmp_path, make):
    """As long as it has the lock, no other is started; then the run continues elsewhere."""
    nodes = FakeNodes(b="free", c="free")
    trainer = make(nodes)
    nodes.set("b", state="running")
    trainer.poll()
    nodes.silent.add("b")
    with locked(tmp_path):
        assert trainer.poll() is None
        assert trainer.activity() is None
        assert "does not answer" in read_place(tmp_path).waits
    assert trainer.poll() == Ended(None, "b", "the worker on b is gone")
    assert nodes.orders == ["b"]


def test_a_worker_that_joins_again_at_another_address_still_has_the_run(tmp_path, make):
    nodes = FakeNodes(b="free")
    trainer = make(nodes)
    nodes.set("b", state="running")
    nodes.reports["b2"] = nodes.reports.pop("b")
    with locked(tmp_path):
        assert trainer.poll() is None
    nodes.set("b2", state="ended", exit_status=0)
    assert trainer.poll() == Ended(0, "b")


def test_a_trainer_that_runs_on_a_worker_is_adopted(tmp_path, make):
    """Also if its worker does not answer at once, as after a restart of the scheduler."""
    nodes = FakeNodes(a="free", b="running")
    nodes.set("b", attempt="of the service before")
    nodes.silent.add("b")
    with locked(tmp_path):
        trainer = make(nodes)
        assert trainer.poll() is None
        nodes.silent.clear()
        assert trainer.poll() is None
        assert read_place(tmp_path) == TrainerPlace(host="b")
    nodes.set("b", state="ended", exit_status=0)
    assert trainer.poll() == Ended(0, "b")
    assert nodes.orders == []


def test_a_trainer_of_a_lost_worker_is_not_adopted_for_ever(tmp_path, make):
    """The lock is free once it has ended; the run then continues, if it has no bundle."""
    with locked(tmp_path, "12 b"):
        trainer = make(FakeNodes(a="free"))
        assert trainer.poll() is None
    assert trainer.poll() == Ended(None, "b", "the worker on b is gone")


def test_a_trainer_that_ended_before_its_worker_answered_has_not_been_lost(tmp_path, make):
    nodes = FakeNodes(b="running")
    nodes.silent.add("b")
    with locked(tmp_path, "12 b"):
        trainer = make(nodes)
    nodes.silent.clear()
    nodes.set("b", state="ended", attempt="of the service before", exit_status=1)
    assert trainer.poll() == Ended(1, "b")


def test_a_trainer_of_a_killed_service_on_this_machine_is_adopted_here(tmp_path, make):
    nodes = FakeNodes(a="free")
    with locked(tmp_path, "12"):
        make(nodes)
    assert make.here.started == [3]
    assert nodes.orders == []


def test_a_worker_that_leaves_does_not_end_the_run(make):
    nodes = FakeNodes(a="free")
    trainer = make(nodes)
    nodes.set("a", state="ended", reason="the worker leaves the cluster")
    ended = trainer.poll()
    assert ended.lost == "the worker on a ended it: the worker leaves the cluster"


def test_the_end_waits_for_the_trainer_there(tmp_path, make):
    nodes = FakeNodes(a="free")
    trainer = make(nodes)
    nodes.set("a", state="running")
    trainer.end()
    assert nodes.ended == [False]
    assert read_place(tmp_path) is None
    trainer = make(nodes, "second")
    nodes.set("a", state="running")
    trainer.kill()
    assert nodes.ended == [False, True]


def test_an_unreachable_trainer_does_not_stop_the_service(tmp_path, make, monkeypatch, caplog):
    monkeypatch.setattr(trainer_on_node, "END_SECONDS", 0.2)
    nodes = FakeNodes(b="free")
    trainer = make(nodes)
    nodes.silent.add("b")
    with locked(tmp_path):
        trainer.end()
    assert "ends by itself within five minutes" in caplog.text


@pytest.mark.parametrize(("text", "pid", "host"), [("12", 12, ""), ("12 b", 0, "b"), ("", 0, "")])
def test_a_process_of_another_machine_is_never_signalled(tmp_path, text, pid, host):
    """A process id counts only on the machine that wrote it."""
    with locked(tmp_path, text):
        adopted = trainer_process.TrainerProcess.start_or_adopt(tmp_path, ("/bin/false",))
        assert adopted.pid == pid
        assert trainer_process.lock_host(tmp_path) == host


class Lost:
    """A trainer whose worker is lost as soon as it runs, a number of times."""

    def __init__(self, times):
        self.times = times
        self.starts = 0

    def __call__(self, folder, command=(), *, threads=1):
        self.starts += 1
        if self.starts > self.times:
            return trainer_process.TrainerProcess.start_or_adopt(folder, command, threads=threads)
        return self

    def poll(self):
        return Ended(None, "b", "the worker on b is gone")

    def activity(self):
        return None


def test_a_run_whose_worker_is_lost_continues_and_its_model_is_promoted_once(make_session):
    session = make_session(PUBLISH)
    session.start_trainer = Lost(2)
    session.scheduler = session.start()
    session.until(lambda: session.promoted, "promotion")
    assert session.start_trainer.starts == 3
    assert session.changes == [(1, "running"), (1, "promoted")]


def test_a_run_that_loses_every_worker_fails(make_session, monkeypatch):
    """As if the training itself exhausts the memory of the machines."""
    monkeypatch.setattr(run_in_progress, "RESTARTS", 2)
    session = make_session(SLEEP)
    session.start_trainer = Lost(99)
    session.scheduler = session.start()
    session.until(lambda: session.changes[-1:] == [(1, "failed")], "failure")
    assert session.start_trainer.starts == 3
    assert "its worker was lost 3 times in one stage (the first)" in session.row[0].reason


def test_a_bundle_that_is_seen_late_is_awaited(make_session, monkeypatch, tmp_path):
    """A network file system shows it late; the run has not failed meanwhile."""
    session = make_session(PUBLISH)

    class Done(Lost):
        def poll(self):
            if self.polled:
                command = (sys.executable, "-c", textwrap.dedent(PUBLISH))
                trainer_process.subprocess.run([*command, str(self.folder)], check=True)
            self.polled = True
            return Ended(0, "b")

        def __call__(self, folder, command=(), *, threads=1):
            self.folder, self.polled = folder, False
            return self

    session.start_trainer = Done(1)
    session.scheduler = session.start()
    session.until(lambda: session.promoted, "promotion")
    assert session.changes == [(1, "running"), (1, "promoted")]

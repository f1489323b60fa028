"""Heavy jobs of a worker: one at a time, with the lock of their folder, ended with their worker."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
from trainer_programs import SLEEP
from waiting import until

from livepick.core.contracts.heavy_job import HeavyOrder
from livepick.picking.cluster import heavy_on_node
from livepick.retraining.trainer_process import LOCK, TrainerProcess, lock_host


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(heavy_on_node, "POLL_SECONDS", 0.02)


@pytest.fixture
def order(tmp_path, guard):
    """Return a function that makes the order of a stub trainer on a run."""

    def make(program=SLEEP, run="0001", **changes):
        folder = tmp_path / run
        folder.mkdir(exist_ok=True)
        command = (sys.executable, "-c", textwrap.dedent(program))
        values = {"attempt": "first", "threads": 2, "guard": guard, "command": command}
        return HeavyOrder(folder=folder, **(values | changes))

    return make


def await_state(work, order, state):
    give_up = time.monotonic() + 60
    while (report := work.report(order.folder)).state != state:
        assert time.monotonic() < give_up, report
        assert report.state in ("starting", "running"), report
        time.sleep(0.02)
    return report


def test_the_program_has_the_lock_of_its_folder_and_its_status_is_reported(work, order):
    program = """
        import os, sys, time
        print("threads", os.environ["OMP_NUM_THREADS"], "nice", os.nice(0), flush=True)
        while not os.path.exists(sys.argv[1] + "/go"):
            time.sleep(0.02)
        sys.exit(3)
    """
    one = order(program)
    assert work.start(one).state in ("starting", "running")
    assert await_state(work, one, "running").exit_status is None
    assert TrainerProcess.is_running(one.folder)
    assert lock_host(one.folder) == os.uname().nodename
    (one.folder / "go").touch()

    report = await_state(work, one, "ended")

    assert (report.exit_status, report.reason, report.attempt) == (3, "", "first")
    assert not TrainerProcess.is_running(one.folder)
    assert (one.folder / "trainer.log").read_text().startswith("threads 2 nice 1")


def test_two_heavy_jobs_never_run_at_once(work, order):
    one, other = order(), order(run="0002", attempt="second")
    work.start(one)
    assert work.start(other).state == "busy"
    assert work.report(other.folder).state == "busy"
    assert not (other.folder / LOCK).exists()

    work.end(other.folder)
    assert work.report(one.folder).state in ("starting", "running")
    work.end(one.folder)
    assert await_state(work, one, "ended").reason == "the service ended it"
    assert work.start(other).state in ("starting", "running")


def test_no_second_program_runs_on_a_folder(work, order, monkeypatch):
    """Whoever started the first, on whatever machine."""
    monkeypatch.setattr(heavy_on_node, "LOCK_TRIES", 1)
    one = order()
    first = TrainerProcess.start_or_adopt(one.folder, one.command)
    work.start(one)
    assert "another trainer runs" in await_state(work, one, "refused").reason
    first.end()
    work.start(one)
    await_state(work, one, "running")


def test_a_machine_that_does_not_see_the_locks_of_the_service_refuses(work, order, tmp_path):
    """Otherwise a second trainer could run on the folder."""
    unlocked = tmp_path / "unlocked"
    unlocked.touch()
    one = order(guard=unlocked)
    work.start(one)
    assert "does not see the lock" in await_state(work, one, "refused").reason
    assert not (one.folder / LOCK).exists()

    other = order(guard=tmp_path / "not mounted", attempt="second")
    work.start(other)
    assert "not mounted cannot be read" in await_state(work, other, "refused").reason


def test_a_job_ends_if_nothing_is_heard_from_the_service(work, order, monkeypatch):
    one = order()
    work.start(one)
    (child,) = await_process(one)
    monkeypatch.setattr(heavy_on_node, "LEASE_SECONDS", 0.0)
    child.wait(90)
    assert "nothing was heard" in work.report(one.folder).reason


def test_a_worker_that_leaves_ends_its_job_and_takes_no_other(work, order):
    one = order()
    work.start(one)
    (child,) = await_process(one)
    work.leave()
    assert not child.is_running()
    assert work.report(one.folder).reason == "the worker leaves the cluster"
    assert work.start(order(run="0002")).state == "refused"


def await_process(order):
    """Wait for the stub trainer of an order."""
    until((order.folder / "began").exists)
    until((order.folder / LOCK).read_text)  # written a moment after the start
    return [psutil.Process(int((order.folder / LOCK).read_text().split()[0]))]


def test_a_job_ends_with_a_worker_that_is_killed(order, guard):
    """Nobody could end it any more."""
    one = order()
    program = f"""
        import time
        from pathlib import Path
        from livepick.core.contracts.heavy_job import HeavyOrder
        from livepick.picking.cluster.heavy_on_node import HeavyWork
        from livepick.retraining.trainer_process import TrainerProcess
        order = HeavyOrder(Path({str(one.folder)!r}), "", 1, Path({str(guard)!r}), {one.command!r})
        HeavyWork(TrainerProcess.start).start(order)
        time.sleep(60)
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    (child,) = await_process(one)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    child.wait(90)
    assert not TrainerProcess.is_running(one.folder)

"""Worker processes with limits: those that hang, stop, grow, fork or die, and what becomes of jobs.

Each test uses real processes. Limits are short, and no test measures how long something takes.
"""

import itertools
import os
import pickle
import resource
import signal
import threading
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from waiting import until

from livepick.core.contracts.job import WorkerDiedError
from livepick.errors import EngineError, MemoryLimitError, StalledError, TimeLimitError
from livepick.picking import worker_pool
from livepick.picking.job_limits import Limits
from livepick.picking.worker_handle import WorkerHandle
from livepick.picking.worker_process import run_worker

SHORT = Limits(seconds=1.0, memory_bytes=16 << 30)


def hang_holding_the_lock():
    """Never return, in a call during which no other thread of the process runs."""
    sum(itertools.repeat(1))


def grow(size_bytes):
    """Use memory step by step."""
    parts = []
    while sum(map(len, parts)) < size_bytes:
        parts.append(b"x" * (16 << 20))
        time.sleep(0.001)
    time.sleep(600)


def refuse_memory():
    raise MemoryError("Unable to allocate 9.31 GiB for an array")


def end_by(number):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)  # nohup leaves SIGHUP ignored
    os.kill(os.getpid(), number)


def leave_child(path):
    """Start a process that outlives its parent, and hang."""
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    Path(path).write_text(str(pid))
    time.sleep(600)


def own_pid():
    """Return the process id of a worker, which has imported this module then."""
    return os.getpid()


def big_result(size_bytes):
    return b"x" * size_bytes


def cannot_be_pickled():
    return lambda: None


def error_that_cannot_be_pickled():
    raise ValueError(threading.Lock())


def die_at_start(channel, parent):
    os._exit(3)


def start_slowly(channel, parent):
    time.sleep(1.0)
    run_worker(channel, parent)


def hang_at_start(channel, parent):
    time.sleep(600)


def hang_at_first_start(channel, parent):
    """Hang in the first process, which leaves a file; work in the next."""
    mark = Path(os.environ["LIVEPICK_TEST_MARK"])
    if not mark.exists():
        mark.touch()
        time.sleep(600)
    run_worker(channel, parent)


def killed_at_first_starts(channel, parent):
    """Be killed in the first processes, as many as may fail in a row; work in the next."""
    mark = Path(os.environ["LIVEPICK_TEST_MARK"])
    until(mark.exists)
    with mark.open("a") as starts:
        starts.write("x")
    if len(mark.read_text()) <= worker_pool.START_TRIES:
        os.kill(os.getpid(), signal.SIGKILL)
    run_worker(channel, parent)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_job_that_hangs_is_stopped_and_the_others_do_not_notice(make_pool):
    """The worker is replaced."""
    pool = make_pool(2)
    slow = pool.submit_within(SHORT, time.sleep, 600)
    others = [pool.submit(os.getpid) for _ in range(20)]
    with pytest.raises(StalledError, match=r"sleep took longer than 1 s.*time_limit_seconds"):
        slow.result(60)
    assert all(future.result(60) for future in others)
    assert pool.deaths == 1


def test_a_job_that_hangs_in_a_library_is_stopped(make_pool):
    """No other thread of the worker runs meanwhile."""
    with pytest.raises(TimeLimitError):
        make_pool().submit_within(SHORT, hang_holding_the_lock).result(60)


def test_a_worker_that_was_stopped_is_replaced(make_pool, monkeypatch):
    """The job is not to blame. One that was stopped while idle is replaced too."""
    monkeypatch.setattr(worker_pool, "STOPPED_SECONDS", 2.5)
    pool = make_pool()
    pid = pool.submit(os.getpid).result()
    busy = pool.submit(time.sleep, 600)
    until(busy.running)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(WorkerDiedError, match="SIGSTOP") as caught:
        busy.result(60)
    assert caught.value.cause == "outside"

    pid = pool.submit(os.getpid).result()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: pool.deaths == 2)
    assert pool.submit(os.getpid).result(60) != pid


def test_a_worker_that_continues_is_not_replaced(make_pool, monkeypatch):
    monkeypatch.setattr(worker_pool, "STOPPED_SECONDS", 600)
    pool = make_pool()
    pid = pool.submit(os.getpid).result()
    os.kill(pid, signal.SIGSTOP)
    later = pool.submit(os.getpid)
    time.sleep(0.5)
    os.kill(pid, signal.SIGCONT)
    assert later.result(60) == pid


def test_a_worker_stopped_in_the_middle_of_a_result_does_not_stop_the_others(
    make_pool, monkeypatch
):
    """Its result is larger than the channel."""
    stopped, receive = [], WorkerHandle.receive

    def stop_in_the_middle(worker):
        messages = receive(worker)
        if worker._received and not stopped:
            os.kill(worker.pid, signal.SIGSTOP)
            worker.task.limits = SHORT
            stopped.append(worker.pid)
        return messages

    pool = make_pool(2)
    pids = set()
    while len(pids) < 2:
        pids |= {future.result() for future in [pool.submit(own_pid) for _ in range(8)]}
    monkeypatch.setattr(WorkerHandle, "receive", stop_in_the_middle)
    stop = pool.submit(big_result, 16 << 20)
    until(lambda: stopped)
    assert {pool.submit(os.getpid).result(60) for _ in range(5)} == pids - set(stopped)
    with pytest.raises(TimeLimitError):
        stop.result(60)


def test_a_large_job_and_a_large_result_arrive(make_pool):
    data = bytes(range(256)) * 100_000
    assert make_pool().submit(pickle.loads, pickle.dumps(data)).result(60) == data


def test_a_job_that_takes_too_much_memory_is_stopped(make_pool):
    """The error says how much it had, and which setting it exceeded."""
    limits = Limits(seconds=600, memory_bytes=256 << 20)
    with pytest.raises(MemoryLimitError, match=r"grow needs too much.*used 0\.\d GiB.*0\.2 GiB"):
        make_pool().submit_within(limits, grow, 64 << 30).result(60)


def test_memory_that_the_system_refuses_is_an_error_of_the_job(make_pool):
    """The worker survives."""
    pool = make_pool()
    pid = pool.submit(os.getpid).result()
    with pytest.raises(MemoryLimitError, match=r"Unable to allocate 9\.31 GiB.*memory_limit_gib"):
        pool.submit(refuse_memory).result(60)
    assert pool.submit(os.getpid).result() == pid


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (signal.SIGSEGV, "crash"),
        (signal.SIGABRT, "crash"),
        (signal.SIGBUS, "crash"),
        (signal.SIGKILL, "outside"),
        (signal.SIGTERM, "outside"),
        (signal.SIGHUP, "outside"),
    ],
)
def test_the_cause_of_a_death_is_told_by_the_signal(make_pool, number, cause):
    with pytest.raises(BrokenExecutor, match=number.name) as caught:
        make_pool().submit(end_by, number).result(60)
    assert caught.value.cause == cause


def test_a_kill_is_for_memory_if_the_system_counts_one(make_pool, monkeypatch):
    pool = make_pool()
    pool.submit(os.getpid).result()
    counter = itertools.count(worker_pool.kills_for_memory() + 1)  # however often it is looked at
    monkeypatch.setattr(worker_pool, "kills_for_memory", lambda: next(counter))
    with pytest.raises(WorkerDiedError, match="memory ran out") as caught:
        pool.submit(end_by, signal.SIGKILL).result(60)
    assert caught.value.cause == "memory"


def test_what_a_worker_has_started_ends_with_it(make_pool, tmp_path):
    pool = make_pool()
    pool.submit(own_pid).result()
    hang = pool.submit_within(Limits(5.0, 16 << 30), leave_child, tmp_path / "pid")
    with pytest.raises(TimeLimitError):
        hang.result(60)
    child = int((tmp_path / "pid").read_text())
    until(lambda: not alive(child))


def test_a_suspended_service_ends_no_job(make_pool, monkeypatch):
    """After a suspension an hour has passed, of which the job had nothing."""
    pool = make_pool()
    pool.submit(os.getpid).result()
    jump = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0], sleep=time.sleep)
    ahead = [0.0]
    monkeypatch.setattr(worker_pool, "time", jump)
    job = pool.submit_within(Limits(30.0, 16 << 30), time.sleep, 1.0)
    until(job.running)
    ahead[0] = 3600.0
    assert job.result(60) is None


def test_a_process_that_cannot_be_killed_is_left_behind(make_pool, monkeypatch):
    """Another one takes its place, up to a number."""
    monkeypatch.setattr(worker_pool, "KILL_SECONDS", 0.5)
    pool = make_pool()
    pid = pool.submit(os.getpid).result()
    monkeypatch.setattr(WorkerHandle, "kill", lambda _: None)
    with pytest.raises(TimeLimitError):
        pool.submit_within(SHORT, time.sleep, 600).result(60)
    monkeypatch.undo()
    assert alive(pid)
    assert pool.left_behind == 1
    assert pool.submit(os.getpid).result(60) != pid
    os.kill(pid, signal.SIGKILL)  # the disk answers
    until(lambda: pool.left_behind == 0)


def test_workers_that_die_at_their_start_are_an_engine_error(make_pool):
    """No micrograph is blamed."""
    with pytest.raises(EngineError, match="do not start: it exited with status 3"):
        make_pool(target=die_at_start).submit(os.getpid).result(60)


def test_workers_that_hang_at_their_start_are_an_engine_error(make_pool, monkeypatch):
    monkeypatch.setattr(worker_pool, "START_SECONDS", 0.5)
    with pytest.raises(EngineError, match=r"do not start: it did not start within 0\.5 s"):
        make_pool(target=hang_at_start).submit(os.getpid).result(60)


def test_a_worker_that_hangs_at_its_start_is_replaced(make_pool, monkeypatch, tmp_path):
    monkeypatch.setattr(worker_pool, "START_SECONDS", 10)
    monkeypatch.setenv("LIVEPICK_TEST_MARK", str(tmp_path / "mark"))
    assert make_pool(target=hang_at_first_start).submit(os.getpid).result(60)


def test_a_system_without_room_for_a_process_is_an_engine_error_that_passes(make_pool, monkeypatch):
    """The next job finds the system as it is then."""
    monkeypatch.setattr(worker_pool, "START_PAUSE_SECONDS", 0.1)
    pool = make_pool()

    def refuse(target, **_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(worker_pool, "WorkerHandle", refuse)
        with pytest.raises(EngineError, match="Resource temporarily unavailable"):
            pool.submit(os.getpid).result(60)
    assert pool.submit(os.getpid).result(60)


def test_an_idle_worker_ends_and_another_one_takes_the_next_job(make_pool):
    """Its memory is free meanwhile. That it ends is not an error."""
    pool = make_pool(1, idle_seconds=0.5)
    first = pool.submit(os.getpid).result(60)
    until(lambda: not Path(f"/proc/{first}").exists(), "the worker has ended")
    assert pool.submit(os.getpid).result(60) != first


def test_a_worker_that_starts_is_not_idle(make_pool):
    """Its start takes longer than it may be idle."""
    assert make_pool(idle_seconds=0.5, target=start_slowly).submit(abs, -1).result(60) == 1


def test_errors_have_the_traceback_of_the_worker(make_pool):
    error = make_pool().submit(int, "seven").exception(60)
    assert isinstance(error, ValueError)
    assert "worker_process.py" in str(error.__cause__)


@pytest.mark.parametrize("work", [cannot_be_pickled, error_that_cannot_be_pickled])
def test_what_cannot_be_sent_is_an_error_of_the_job(make_pool, work):
    pool = make_pool()
    pid = pool.submit(os.getpid).result()
    assert pool.submit(work).exception(60) is not None
    assert pool.submit(os.getpid).result() == pid


def test_an_unexpected_error_in_the_pool_does_not_end_it(make_pool, monkeypatch, caplog):
    pool = make_pool()
    faults = iter([OSError("EIO")])

    def fail_once(pid):
        for fault in faults:
            raise fault
        return 0

    monkeypatch.setattr("livepick.picking.worker_handle.process_bytes", fail_once)
    assert pool.submit(time.sleep, 0.5).result(60) is None
    assert pool.submit(os.getpid).result(60)


def test_a_thousand_jobs_lose_nothing_while_workers_are_killed(make_pool):
    """Only the job of a killed worker has an error.

    Workers that are still starting are spared: of those, three in a row end all jobs.
    """
    pool = make_pool(2)
    futures = [pool.submit(time.sleep, 0.005) for _ in range(1000)]
    kills = 0
    while kills < 5 and not futures[-1].done():
        time.sleep(0.05)
        if busy := [worker.pid for worker in list(pool._workers) if worker.task is not None]:
            os.kill(busy[0], signal.SIGKILL)
            kills += 1
            until(lambda: pool.deaths == kills)  # noqa: B023 - called in this turn
    errors = [future.exception(120) for future in futures]
    assert kills
    assert sum(error is not None for error in errors) <= kills
    assert all(error is None or error.cause == "outside" for error in errors)
    until(lambda: pool.deaths == kills)


def test_workers_that_are_killed_while_they_start_are_an_engine_error_that_passes(
    make_pool, monkeypatch, tmp_path
):
    """Somebody, or the system, ends every process that is started."""
    monkeypatch.setattr(worker_pool, "START_PAUSE_SECONDS", 0.1)
    monkeypatch.setenv("LIVEPICK_TEST_MARK", str(tmp_path / "mark"))
    pool = make_pool(target=killed_at_first_starts)
    futures = [pool.submit(os.getpid) for _ in range(100)]
    (tmp_path / "mark").touch()  # until now, they only wait
    for future in futures:
        with pytest.raises(EngineError, match="killed it"):
            future.result(60)
    assert pool.submit(os.getpid).result(60)


def test_workers_are_looked_at_now_and_then_and_not_at_each_message(make_pool, monkeypatch):
    """With many workers, looks at each message would take more time than the messages."""
    looked = []
    memory_bytes = WorkerHandle.memory_bytes
    monkeypatch.setattr(
        WorkerHandle, "memory_bytes", lambda self: looked.append(1) or memory_bytes(self)
    )
    monkeypatch.setattr(worker_pool, "TICK_SECONDS", 3600.0)
    pool = make_pool(2)
    assert [pool.submit(abs, -1).result(60) for _ in range(50)] == [1] * 50
    assert not looked

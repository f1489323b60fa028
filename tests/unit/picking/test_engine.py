"""Engines: workers that use one thread, exit with the service, and may die."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from livepick.errors import EngineError
from livepick.picking import engine as engines

SCRIPT = """
import os, sys, time
from livepick.picking import engine

if __name__ == "__main__":
    workers = engine.local(2)
    first = {workers.submit(os.getpid).result() for _ in range(20)}
    busy = [workers.submit(time.sleep, 600) for _ in range(4)]
    while len(pids := workers._executor.pids()) < 2:
        time.sleep(0.01)
    print(*pids, flush=True)
    if "stop" in sys.argv:
        workers.stop()
        sys.exit(0)
    time.sleep(600)
"""


@pytest.fixture
def local():
    made = engines.local(1)
    yield made
    made.stop()


def die():
    os._exit(1)


def settings():
    return [os.environ.get(name) for name in engines.THREAD_SETTINGS]


def allocator_settings():
    return os.environ.get("GLIBC_TUNABLES")


def sigint_handler():
    return signal.getsignal(signal.SIGINT)


def alive(pid):
    """Return True if a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends while it is read
        return False
    return state != "Z"


def gone(pids, seconds=90):
    give_up = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < give_up:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def test_worker_uses_one_thread_and_ignores_ctrl_c(local):
    """Libraries find the thread settings before they are imported."""
    assert local.submit(settings).result() == ["1"] * len(engines.THREAD_SETTINGS)
    assert local.submit(sigint_handler).result() == signal.SIG_IGN


def test_a_worker_has_large_pages_and_other_programs_do_not(local, monkeypatch):
    """Settings of the user stay."""
    assert local.submit(allocator_settings).result() == "glibc.malloc.hugetlb=1"
    assert "GLIBC_TUNABLES" not in os.environ
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    other = engines.local(1)
    try:
        assert other.submit(allocator_settings).result() == "glibc.malloc.check=0"
    finally:
        other.stop()


def test_worker_that_died_is_replaced(local):
    """The death is an error of its job alone."""
    futures = [local.submit(die), local.submit(os.getpid)]
    with pytest.raises(BrokenExecutor, match="exited with status 1"):
        futures[0].result()
    assert futures[1].result() != os.getpid()
    assert local.deaths == 1


def test_worker_that_died_idle_is_replaced_silently(local):
    """The next job runs."""
    pid = local.submit(os.getpid).result()
    os.kill(pid, signal.SIGKILL)
    while not local.deaths:  # until the pool has noticed
        time.sleep(0.01)
    assert local.submit(os.getpid).result() != pid


def test_threads_are_an_engine_too():
    """Tests use it, because they need no processes."""
    engine = engines.threads(2)
    assert engine.submit(os.getpid).result() == os.getpid()
    assert engine.capacity == 4
    engine.stop()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_no_worker_outlives_its_service(tmp_path, how):
    """The service is killed, or stopped in the middle of jobs that never end."""
    script = tmp_path / "service.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script, how], stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        pids = [int(word) for word in service.stdout.readline().split()]
        if how == "kill":
            service.kill()
        assert service.wait(timeout=90) == (0 if how == "stop" else -signal.SIGKILL)
    assert len(pids) == 2
    assert gone(pids)


def test_stopped_engine_accepts_no_jobs():
    """A retry during a stop must not start new workers."""
    engine = engines.threads(1)
    assert engine.submit(abs, -1).result() == 1
    engine.stop()
    with pytest.raises(EngineError, match="have been stopped"):
        engine.submit(abs, -1)

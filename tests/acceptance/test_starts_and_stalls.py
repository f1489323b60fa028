"""The service on a machine that is not ready, and with workers that stop or hang."""

import os
import signal
import socket
import time

import psutil
from session import impatient


def is_alive(process):
    """Return True if a process has not ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_start_waits_for_its_port_and_its_state_folder(make_session):
    """It continues by itself, and an edit of the config is read meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        session = make_session(web={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
        session.state.write_text("not a folder")
        program = impatient({"monitoring.start_waits.PAUSE_SECONDS": 1})
        session.start(wait=False, program=program)
        session.until(lambda: "start waits" in session.log.read_text(), "waiting")
        session.state.unlink()
        session.until(lambda: "web.listen is 127.0.0.1" in session.log.read_text(), "the port")
        session.settings["web"] = {"listen": "127.0.0.1:0"}
        session.save()
        session.until(lambda: ": ready" in session.log.read_text(), "ready")
    session.drop(1)
    session.until(lambda: session.picked() == 1, "picks")
    assert session.stop() == 0


def test_a_start_that_waits_ends_on_sigterm(make_session):
    session = make_session()
    session.state.write_text("not a folder")
    session.start(wait=False)
    session.until(lambda: "start waits" in session.log.read_text(), "waiting")
    assert session.stop() == 0


def test_a_stopped_worker_is_replaced_and_its_micrograph_picked(make_session):
    """``SIGSTOP``, as by a mistaken kill. It is not the micrograph's fault."""
    session = make_session()
    session.start(program=impatient({"picking.worker_pool.STOPPED_SECONDS": 5}))
    (worker,) = session.workers()
    worker.suspend()
    session.drop(3)
    session.until(lambda: session.picked() == 3, "picks")
    session.until(lambda: not is_alive(worker), "its end")
    assert session.counts().failed == 0
    assert "had been stopped (SIGSTOP)" in session.log.read_text()


def test_workers_end_with_a_service_that_is_killed(make_session):
    """A stopped one too."""
    session = make_session(picking={"device": "cpu", "workers": 2})
    session.start()
    session.drop(6)
    session.until(lambda: session.picked() == 6, "picks")
    found = session.workers()
    found[0].suspend()
    session.process.kill()
    session.process.wait()
    give_up = time.monotonic() + 120
    while any(map(is_alive, found)):
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_a_suspended_service_continues(make_session):
    """``SIGSTOP`` and ``SIGCONT`` of the service and its workers cost no micrograph anything."""
    session = make_session(picking={"device": "cpu", "workers": 1, "time_limit_seconds": 5})
    session.start()
    processes = [session.process.pid, *(w.pid for w in session.workers())]
    session.drop(4)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in processes:
            os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(8)
    session.until(lambda: session.picked() == 4, "picks")
    assert session.counts().failed == 0

"""State of a service, seen from outside: running, silent, stopped or killed."""

import contextlib
import fcntl
import http.server
import os
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from livepick.host import lock
from livepick.host.lock import StateLock, holder, lock_file
from livepick.ledger.database import LEDGER
from livepick.monitoring.headline import Headline
from livepick.monitoring.problem import Problem
from livepick.web.address_file import AddressFile
from livepick.web.client import service_status

WELL = Headline("good", "Collecting and picking: 4 of 5 micrographs.", "", "", (), kind=None)
GONE = Headline(
    "bad",
    "The watched folder /in is missing: gone.",
    "Mount it again.",
    "Picked so far: 4 of 5 micrographs.",
    (Problem("no_gpu", "attention", "There is no GPU.", "It is slower."),),
    kind="folder_gone",
)


@pytest.fixture
def session(make_config):
    """Return a config whose state folder exists."""
    config = make_config()
    config.state.directory.mkdir()
    return config


@pytest.fixture
def locked(session):
    """Lock the state folder of the session, as a service does."""
    own = StateLock(session.state.directory / LEDGER)
    yield session
    own.release()


@pytest.fixture
def serve():
    """Return a function that serves one response, and returns the address."""
    with contextlib.ExitStack() as ending:

        def start(body, status=200):
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(status if self.path == "/headline.json" else 404)
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_):
                    return

            server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            ending.callback(server.server_close)
            ending.callback(thread.join)
            ending.callback(server.shutdown)
            return f"127.0.0.1:{server.server_port}"

        yield start


def put_address(config, address):
    AddressFile(config.state.directory).write(address)


def test_a_stopped_session_is_not_a_problem(session, tmp_path):
    """The sentence says how to continue."""
    answer = service_status(session, tmp_path / "s.yaml")

    assert (answer.state, answer.problems) == ("stopped", ())
    assert answer.sentence == (
        "The service is not running. To continue the session: systemctl start livepick, or"
        f" livepick run {tmp_path}/s.yaml."
    )


def test_a_killed_service_is_a_problem_with_its_remedy(session, tmp_path, serve):
    """Another service that now uses its port is not queried."""
    put_address(session, serve(WELL.as_json()))
    answer = service_status(session, tmp_path / "s.yaml")
    (problem,) = answer.problems

    assert (answer.state, answer.sentence, problem.level) == ("ended", "", "bad")
    assert "killed" in problem.sentence
    assert f"livepick run {tmp_path}/s.yaml" in problem.remedy


def test_a_service_that_runs_says_it_in_the_words_of_the_page(locked, tmp_path, serve):
    put_address(locked, address := serve(GONE.as_json()))
    answer = service_status(locked, tmp_path / "s.yaml")

    assert (answer.state, answer.address) == ("running", f"http://{address}/")
    assert answer.sentence == GONE.doing
    assert answer.problems == GONE.problems
    assert [p.level for p in answer.problems] == ["bad", "attention"]


def test_a_healthy_service_reports_its_activity(locked, tmp_path, serve):
    put_address(locked, serve(WELL.as_json()))
    answer = service_status(locked, tmp_path / "s.yaml")

    assert (answer.sentence, answer.problems) == (WELL.sentence, ())


def test_an_unreadable_ledger_is_the_problem_of_a_service(locked, tmp_path, serve):
    damaged = Headline("bad", "It is damaged.", "", "", (), kind="ledger_not_readable")
    put_address(locked, serve(damaged.as_json(), 503))

    assert service_status(locked, tmp_path / "s.yaml").problems == (
        Problem("ledger_not_readable", "bad", "It is damaged."),
    )


@pytest.mark.parametrize("body", [b"Not Found", b"[]", b'{"level": "bad"}', b"\xff"])
def test_a_service_of_another_version_counts_as_running(locked, tmp_path, serve, body):
    """For example, after an update without a restart."""
    put_address(locked, serve(body, 404))
    answer = service_status(locked, tmp_path / "s.yaml")

    assert (answer.state, answer.problems[0].level) == ("running", "attention")
    assert "another version" in answer.problems[0].sentence


def test_a_service_that_refuses_connections_is_named_with_its_address(locked, tmp_path):
    """The process is named too, because somebody may have to end it."""
    with socket.socket() as door:  # bound, so that no other program gets the port; not listening
        door.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{door.getsockname()[1]}"
        put_address(locked, address)
        answer = service_status(locked, tmp_path / "s.yaml")
    (problem,) = answer.problems

    assert (answer.state, problem.level) == ("silent", "bad")
    assert problem.sentence == (
        f"The service is not responding at http://{address}/: Connection refused."
    )
    assert f"end process {os.getpid()}" in problem.remedy


def test_a_service_that_hangs_is_not_waited_for(locked, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as door:
        put_address(locked, f"127.0.0.1:{door.getsockname()[1]}")
        answer = service_status(locked, tmp_path / "s.yaml", timeout_seconds=0.2)

    assert "timed out" in answer.problems[0].sentence


@pytest.mark.parametrize("address", ["", "nonsense:port", "\n\n"])
def test_a_file_with_no_address_ends_no_command(locked, tmp_path, address):
    put_address(locked, address)

    assert service_status(locked, tmp_path / "s.yaml").state in ("starting", "silent")


def test_a_start_is_no_fault_unless_it_takes_too_long(locked, tmp_path):
    answer = service_status(locked, tmp_path / "s.yaml")
    assert (answer.state, answer.problems) == ("starting", ())
    assert "starting" in answer.sentence

    hour_ago = time.time() - 3600
    os.utime(lock_file(locked.state.directory / LEDGER), (hour_ago, hour_ago))
    (problem,) = service_status(locked, tmp_path / "s.yaml").problems
    assert (problem.level, "(60 min)" in problem.sentence) == ("bad", True)


def test_a_query_of_the_lock_does_not_block_a_service(session, monkeypatch):
    """The query holds the lock for a moment, when a service may start."""
    ledger = session.state.directory / LEDGER
    StateLock(ledger).release()
    asking = os.open(lock_file(ledger), os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            os.close(asking)

    monkeypatch.setattr(lock, "time", SimpleNamespace(sleep=sleep))
    StateLock(ledger).release()
    assert len(pauses) == 2
    assert holder(ledger) is None

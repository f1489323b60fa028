"""Clients that hold connections open stop neither the metrics nor the picking."""

import contextlib
import http.client
import resource
import socket
from pathlib import Path

import pytest
from session import LIVEPICK

HELD = 400
"""More than the service accepts, and fewer than the descriptors of this process."""


@pytest.fixture
def hold():
    """Return a function that opens connections to an address and sends the start of a request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * HELD)), hard))
    with contextlib.ExitStack() as held:

        def open_many(address, sent):
            host, port = address.split(":")
            for _ in range(HELD):
                client = held.enter_context(socket.create_connection((host, int(port)), timeout=60))
                with contextlib.suppress(OSError):  # it has been displaced already
                    client.sendall(sent)

        yield open_many
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /metrics HTTP/1.1\r\nHost: local",
        b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20,
    ],
    ids=["silent", "half-requests", "events", "page"],
)
def test_metrics_and_picking_continue_while_connections_are_held(make_session, hold, sent):
    session = make_session()
    session.start(program=("prlimit", "--nofile=1024:1024", LIVEPICK))
    address = session.address
    hold(address, sent)

    session.drop(1)
    for path in ("/healthz", "/metrics", "/headline.json") * 5:
        connection = http.client.HTTPConnection(address, timeout=60)
        connection.request("GET", path)
        assert connection.getresponse().status == 200, path
        connection.close()
    session.until(lambda: session.picked() == 1, "picking while connections are held")
    descriptors = len(list(Path(f"/proc/{session.process.pid}/fd").iterdir()))
    assert descriptors < 400
    assert session.stop() == 0
    assert "Traceback" not in session.log.read_text()

"""Requests that no browser sends: each gets an answer of 4xx, and the log no traceback."""

import contextlib
import itertools
import logging
import re
import socket
import time
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from waiting import until

from livepick.web.connections import Limits
from livepick.web.guard import Guard
from livepick.web.server import Door, Web, listen

LARGE = b"x" * 1_000_000


def _app():
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"page {request.query_params.get('name', '')}")

    async def large(_: Request) -> StreamingResponse:
        return StreamingResponse(iter([LARGE] * 50))

    async def metrics(_: Request) -> PlainTextResponse:
        return PlainTextResponse("metrics")

    return Starlette(routes=[Route("/", page), Route("/large", large), Route("/metrics", metrics)])


@pytest.fixture
def serve(caplog):
    """Return a function that starts a server with limits, and returns its address."""
    caplog.set_level(logging.WARNING)
    with contextlib.ExitStack() as ending:

        def start(*, listener=None, ended=None, page_requests=192, **limits):
            limits = Limits(**{"connections": 64, **limits})
            guard = Guard(_app(), page_requests=page_requests)
            instruments = SimpleNamespace(
                connections=lambda _: None, connection_ended=([] if ended is None else ended).append
            )
            listener = listener or listen("127.0.0.1:0")
            web = Web(Door(listener, guard, limits, instruments=instruments))
            web.start()
            ending.callback(web.stop)
            host, port = web.address.split(":")
            return host, int(port)

        yield start
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


def _send(address, *parts, seconds=60.0):
    """Send bytes, with pauses, and return the status of each answer until the connection ends."""
    with socket.create_connection(address, timeout=seconds) as client:
        for part in parts:
            time.sleep(part) if isinstance(part, float) else client.sendall(part)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while chunk := client.recv(65536):
                received += chunk
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", received)]


def _get(target, *headers, host=b"Host: localhost"):
    lines = [b"GET " + target + b" HTTP/1.1", host, b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (_get(b"/"), 200),
        (_get(b"/%ff%00/../..;a=b"), 404),
        (_get(b"/?name=%ff%00%ed%a0%80&page=-1&x=nan&y=1e999"), 200),
        (_get(b"/?" + b"n=" + b"a" * 5000), 414),
        (_get(b"/" + b"a" * 40_000), 414),
        (_get(b"/", b"X: " + b"a" * 17_000), 431),
        (_get(b"/", *(b"X%d: " % i + b"a" * 100 for i in range(1000))), 431),
        (_get(b"/", b"Content-Length: 70000"), 413),
        (_get(b"/", b"Content-Length: " + b"9" * 19), 413),
        (_get(b"/", b"Content-Length: -1"), 400),
        (_get(b"/", b"Content-Length: 3", b"Content-Length: 4"), 400),
        (_get(b"/", b"Transfer-Encoding: gzip"), 400),
        (_get(b"/", b"Host: localhost"), 400),
        (_get(b"/", host=b"Host: evil.example"), 400),
        (_get(b"/", host=b"X: y"), 400),
        (_get(b"http://localhost/"), 404),
        (_get(b"*"), 404),
        (_get(b"/ /"), 400),
        (_get(b"/\xff"), 400),
        (_get(b"/", b"X: a\x00b"), 400),
        (_get(b"/", b"Content-Encoding: gzip", b"Upgrade: websocket"), 200),
        (b"GET / HTTP/1.0\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        (b"get / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        (b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab", 405),
    ],
)
def test_a_bad_request_gets_an_answer(serve, request_bytes, status):
    assert _send(serve(), request_bytes) == [status]


def test_the_answer_to_a_large_body_can_be_read(serve):
    """The rest of the body is read before the connection ends; else the client sees a reset."""
    request = _get(b"/", b"Content-Length: 1000000")
    assert _send(serve(), request, LARGE) == [413]


def test_a_body_in_chunks_is_read_up_to_its_end(serve):
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert _send(serve(), head, b"5\r\nhello\r\n", b"0\r\n\r\n") == [405]


@pytest.mark.parametrize("pause_seconds", [0, 0.3])
def test_garbage_after_the_start_of_a_request_ends_the_connection(serve, pause_seconds):
    """Also if the request has been answered meanwhile."""
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(serve(), timeout=60) as client:
        client.sendall(head)
        time.sleep(pause_seconds)
        client.sendall(b"zzz\r\n")
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    assert received.split()[1] in (b"200", b"400")


def test_requests_in_a_row_are_answered_in_order(serve):
    one = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert _send(serve(), one * 20 + _get(b"/none")) == [200] * 20 + [404]


def test_a_client_that_sends_nothing_is_disconnected(serve):
    address = serve(idle_seconds=0.3)
    assert _send(address, seconds=60) == []


def test_a_client_that_sends_byte_by_byte_is_disconnected(serve):
    address = serve(idle_seconds=0.5)
    parts = [bytes([byte]) for byte in _get(b"/") * 100]
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        _send(address, *itertools.chain.from_iterable((part, 0.05) for part in parts))


def test_a_client_that_does_not_read_is_disconnected(serve):
    """Its answer is larger than the buffers of the kernel."""
    ended = []
    address = serve(stall_seconds=0.5, ended=ended)
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(_get(b"/large"))
        until(lambda: ended == ["deadline"])
        with contextlib.suppress(ConnectionResetError):
            received = 0
            while chunk := client.recv(1 << 20):
                received += len(chunk)
            assert received < 50 * len(LARGE)


def test_a_slow_reader_gets_its_whole_answer(serve):
    """Only standstill counts. The time for a request is over long before."""
    listener = listen("127.0.0.1:0")
    with socket.create_connection(listener.getsockname(), timeout=60) as client:
        client.sendall(_get(b"/large"))  # before the server runs, so that it is there in time
        serve(listener=listener, stall_seconds=30, idle_seconds=0.2)
        received = 0
        while chunk := client.recv(1 << 20):
            received += len(chunk)
            time.sleep(0.01)
    assert received > 50 * len(LARGE)


def test_silent_connections_give_way(serve):
    """A new client is answered at once, however many others hold a connection."""
    address = serve(connections=8)
    with contextlib.ExitStack() as held:
        for _ in range(40):
            held.enter_context(socket.create_connection(address, timeout=60))
        assert [_send(address, _get(b"/")) for _ in range(20)] == [[200]] * 20


def test_requests_for_the_page_leave_the_metrics_alone(serve):
    """Connections whose answers are not read hold all places of the page, but not the reserve."""
    address = serve(connections=8, page_requests=6)
    with contextlib.ExitStack() as held:
        for _ in range(20):
            client = held.enter_context(socket.create_connection(address, timeout=60))
            client.sendall(_get(b"/large"))
        give_up = time.monotonic() + 60
        while _send(address, _get(b"/")) != [503]:  # until all of them have been accepted
            assert time.monotonic() < give_up
        assert [_send(address, _get(b"/metrics")) for _ in range(10)] == [[200]] * 10


def test_answers_that_are_not_read_do_not_hold_off_a_scrape(serve):
    """Not even answers for programs, which have no limit of their own."""
    address = serve(connections=8)
    with contextlib.ExitStack() as held:
        for _ in range(20):
            client = held.enter_context(socket.create_connection(address, timeout=60))
            client.sendall(_get(b"/large"))
        time.sleep(1)
        assert [_send(address, _get(b"/metrics")) for _ in range(10)] == [[200]] * 10


def test_a_client_that_closes_its_side_gets_its_answer(serve):
    """Nc does so at the end of its input."""
    with socket.create_connection(serve(), timeout=60) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"metrics")


def test_a_body_that_never_comes_ends_the_connection(serve):
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
    assert _send(serve(), head, seconds=60) == [405]


def test_a_client_with_many_connections_does_not_displace_another(serve):
    address = serve(connections=8)
    with contextlib.ExitStack() as held:
        other = held.enter_context(socket.socket())
        other.bind(("127.0.0.2", 0))
        other.settimeout(60)
        other.connect(address)
        for _ in range(40):
            held.enter_context(socket.create_connection(address, timeout=60))
        other.sendall(_get(b"/"))
        assert other.recv(12) == b"HTTP/1.1 200"


def test_the_connections_are_a_fraction_of_the_descriptors(monkeypatch):
    for soft, connections in ((256, 64), (1024, 256), (1 << 19, 256), (-1, 256), (16, 8)):
        monkeypatch.setattr("resource.getrlimit", lambda _, soft=soft: (soft, soft))
        assert Limits.of_process().connections == connections
        assert Limits.of_process().page_requests < connections

"""Random requests to the real application: an answer below 500 or the end of the connection."""

import contextlib
import logging
import os
import re
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.monitoring.health import Health
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.status import Status
from livepick.picking.engine import threads
from livepick.web.app import create_app
from livepick.web.connections import Limits
from livepick.web.page import Sources
from livepick.web.server import Door, Web, listen

EXAMPLES = int(os.environ.get("LIVEPICK_FUZZ_EXAMPLES", "60"))

METHODS = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"\0"]
)

NUMBERS = st.sampled_from(
    [
        b"1",
        b"0",
        b"-1",
        b"9" * 30,
        b"9" * 5000,
        b"1e9",
        b"nan",
        b"inf",
        b"%00",
        b"..",
        b"%2e%2e",
        b"x",
    ]
)

PATHS = st.one_of(
    st.sampled_from([b"/", b"/metrics", b"/healthz", b"/headline.json", b"/search", b"/style.css"]),
    NUMBERS.map(lambda n: b"/micrographs/" + n),
    NUMBERS.map(lambda n: b"/micrographs/" + n + b"/candidates"),
    NUMBERS.map(lambda n: b"/micrographs/" + n + b"/mask.png"),
    NUMBERS.map(lambda n: b"/micrographs/1/" + n + b".txt"),
    NUMBERS.map(lambda n: b"/models/" + n + b"/classes.png"),
    NUMBERS.map(lambda n: b"/sections/" + n),
    st.binary(max_size=40).map(lambda raw: b"/" + raw),
    st.just(b"http://localhost/metrics"),
)

QUERIES = st.one_of(
    st.just(b""),
    st.tuples(st.sampled_from([b"name", b"part", b"v", b"page"]), NUMBERS).map(
        lambda pair: b"?%b=%b" % pair
    ),
    st.binary(max_size=40).map(lambda raw: b"?name=" + raw),
)

HEADERS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"Content-Length: 5",
                b"Content-Length: -5",
                b"Content-Length: 99999999",
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: gzip, chunked",
                b"Content-Encoding: gzip",
                b"Expect: 100-continue",
                b"Connection: Upgrade, keep-alive",
                b"Upgrade: websocket",
                b"Range: bytes=5-1,0-",
                b"If-None-Match: *",
                b"Authorization: Basic x",
                b"X-Forwarded-For: \xff",
                b"X-Forwarded-Host: evil.example",
                b"Host: localhost",
                b" folded",
            ]
        ),
        st.binary(max_size=30),
    ),
    max_size=4,
)

BODIES = st.one_of(st.just(b""), st.binary(max_size=60), st.just(b"5\r\nhello\r\n0\r\n\r\n"))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Return the address of a page with an empty ledger."""
    import factories  # noqa: PLC0415 - only here

    folder = tmp_path_factory.mktemp("fuzzed")
    config = factories.make_config(folder)
    with contextlib.ExitStack() as ending:
        ending.enter_context(Database.writable(config.state.directory / LEDGER))
        shared = ending.enter_context(Database.read_only(config.state.directory / LEDGER))
        engine = threads(1)
        ending.callback(engine.stop)
        sources = Sources(
            lambda: Status(session="s"),
            lambda: Health(ok=True, seconds_since={}),
            lambda: config,
            LedgerReader(shared),
            PageQueries(shared),
        )
        app = create_app(Metrics(), sources, engine.submit)
        limits = Limits(32, idle_seconds=0.5, stall_seconds=0.5)
        web = Web(Door(listen("127.0.0.1:0"), app.asgi, limits), closing=app.close)
        web.start()
        ending.callback(web.stop)
        host, port = web.address.split(":")
        yield host, int(port)


def _statuses(address, sent):
    with socket.create_connection(address, timeout=60) as client:
        received = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(1 << 16):
                received += chunk
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="LIVEPICK_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(METHODS, PATHS, QUERIES, HEADERS, BODIES, st.booleans())
def test_a_random_request_gets_no_error_of_the_server(  # noqa: PLR0917 - as drawn
    address, caplog, method, path, query, headers, body, has_host
):
    caplog.clear()
    caplog.set_level(logging.WARNING)
    first = b"%b %b%b HTTP/1.1" % (method, path, query)
    lines = [first, *([b"Host: localhost"] * has_host), b"Connection: close", *headers]
    sent = b"\r\n".join(lines) + b"\r\n\r\n" + body
    assert all(status < 500 for status in _statuses(address, sent))
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="LIVEPICK_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=300).map(lambda raw: raw + b"\r\n\r\n"))
def test_random_bytes_get_no_error_of_the_server(address, caplog, sent):
    caplog.clear()
    caplog.set_level(logging.WARNING)
    assert all(status < 500 for status in _statuses(address, sent))
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []

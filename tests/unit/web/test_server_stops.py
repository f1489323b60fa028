"""The end of the server: answers in progress are finished, or ended without a word in the log."""

import asyncio
import contextlib
import logging
import socket
import threading

import pytest
from waiting import until

import livepick.web.server
from livepick.web.guard import Guard
from livepick.web.server import Door, Web, listen

REQUEST = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
SECONDS = 60


@pytest.fixture
def server():
    """Return a function that starts a server, which calls ``closing`` when it is stopped."""
    with contextlib.ExitStack() as ending:

        def start(begun, closing=lambda: None):
            async def app(scope, receive, send):
                async def body(data, *, more):
                    part = {"type": "http.response.body", "body": data, "more_body": more}
                    await send(part)

                if scope["path"] != "/nothing":
                    await send({"type": "http.response.start", "status": 200})
                    await body(b"begun", more=True)
                begun.release()
                if scope["path"] == "/soon":
                    while not closed.is_set():
                        await asyncio.sleep(0.01)
                    await body(b"ended", more=False)
                    return
                await asyncio.Event().wait()

            closed = threading.Event()

            def close():
                closing()
                closed.set()

            web = Web(Door(listen("127.0.0.1:0"), Guard(app)), closing=close)
            ending.callback(web.stop)
            web.start()
            return web

        yield start


def _connect(web, sent):
    host, port = web.address.split(":")
    client = socket.create_connection((host, int(port)), timeout=SECONDS)
    client.sendall(sent)
    return client


def _received(client):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            parts.append(part)
    client.close()
    return b"".join(parts)


@pytest.mark.parametrize("path", [b"/nothing", b"/begun"])
def test_an_answer_that_takes_too_long_is_ended_without_an_error_in_the_log(server, caplog, path):
    begun = threading.Semaphore(0)
    web = server(begun)
    clients = [_connect(web, REQUEST % path * 3) for _ in range(4)]
    clients += [_connect(web, sent) for sent in (b"", b"GET / HT", b"\x16\x03\x01garbage\r\n\r\n")]
    for _ in range(4):
        assert begun.acquire(timeout=SECONDS)
    with caplog.at_level(logging.INFO):
        web.stop()
        until(lambda: not web.alive, "the end of the server")
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert [b"ended" in _received(client) for client in clients] == [False] * 7


def test_an_answer_in_progress_is_finished(server, caplog, monkeypatch):
    monkeypatch.setattr(livepick.web.server, "STOP_SECONDS", SECONDS)
    begun = threading.Semaphore(0)
    web = server(begun)
    client = _connect(web, REQUEST % b"/soon" * 3)
    assert begun.acquire(timeout=SECONDS)
    web.stop()
    assert not web.alive
    received = _received(client)
    assert 1 <= received.count(b"ended") == received.count(b"begun") <= 3
    assert received.endswith(b"0\r\n\r\n")
    assert caplog.records == []

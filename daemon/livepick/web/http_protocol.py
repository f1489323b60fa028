"""HTTP/1.1 on one connection: uvicorn's protocol with deadlines, and better answers to garbage.

uvicorn waits for ever for a request, and for a client that does not read its answer. It also
answers 400 to every request that it cannot read, and fails if the bad bytes come after the start of
an answer. This subclass adds what is missing; hypercorn, tornado and cheroot, which were considered
instead, limit some of these times but not the number of connections.
"""

import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

__all__ = [
    "IDLE_SECONDS",
    "MOST_HEADER_BYTES",
    "STALL_SECONDS",
    "HttpProtocol",
    "uvicorn_config",
]

MOST_HEADER_BYTES = 16 << 10
"""Maximum size of a request without its body."""

IDLE_SECONDS = 10.0
"""Time for a request to arrive completely, and until the next one on the same connection begins."""

STALL_SECONDS = 20.0
"""Time for a client to take up a stalled answer, or the end of one."""


class HttpProtocol(H11Protocol):
    """One HTTP connection whose deadlines are checked by its owner."""

    def __init__(self, config: Config, server_state: ServerState) -> None:
        super().__init__(config, server_state, {})
        self._lost = self.loop.create_future()
        self._waits_since = self.loop.time()
        self._has_begun = False
        self._stalled_since: float | None = None

    @property
    def is_answering(self) -> bool:
        """True from a complete request to the end of its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def waits_since(self) -> float | None:
        """Time of the event loop since when the connection waits for its client.

        The client has not sent a complete request, or does not read its answer. None: it has done
        its part.
        """
        return self._stalled_since if self.is_answering else self._waits_since

    async def lost(self) -> None:
        """Wait for the end of the connection."""
        await self._lost

    def end_if_overdue(self, now: float, *, idle_seconds: float, stall_seconds: float) -> bool:
        """End the connection if it is overdue at a time of the event loop; return True if it is."""
        stalled = self._stalled_since
        if stalled is None and self.transport.is_closing():
            self._stalled_since = now  # what was written has not been read
        if stalled is not None and now - stalled > stall_seconds:
            self.transport.abort()
            return True
        if not self.is_answering and now - self._waits_since > idle_seconds:
            self.end()
            return True
        return False

    def end(self) -> None:
        """End the connection, without waiting for what the client has not read."""
        self.transport.abort()

    def shutdown(self) -> None:
        """End the connection, after the answer in progress if there is one.

        uvicorn's own fails on a connection whose last bytes were no request.
        """
        if self.is_answering:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    # --- events of the transport -------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if not self._lost.done():
            self._lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Read requests; the deadline of one runs from its first byte."""
        if not self._has_begun:
            self._has_begun = True
            self._waits_since = self.loop.time()
        super().data_received(data)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # as in asyncio
        """Answer a client that has closed its side after the request, as nc does; not with TLS."""
        if self.is_answering and not self.cycle.response_started and self.scheme == "http":
            self.cycle.keep_alive = False
            return True
        return None

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._has_begun = False
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the deadline of a client that does not read."""
        self._stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Stop that deadline."""
        self._stalled_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as in uvicorn
        """Answer bytes that are not a request, if no answer has begun, and end the connection."""
        if self.is_answering:
            self.cycle.disconnected = True  # what it still sends is dropped
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        status = self._status_of_refusal()
        body = f"{status.phrase}\n".encode()
        headers: list[tuple[Any, Any]] = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        events = (
            h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        # The method of a request that could not be read is not known, so the body is written as is.
        self.transport.writelines([self.conn.send(event) or b"" for event in events])
        self.transport.close()

    def _status_of_refusal(self) -> HTTPStatus:
        error = sys.exception()  # of h11, which uvicorn handles now
        if getattr(error, "error_status_hint", 400) != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            return HTTPStatus.BAD_REQUEST
        received, _ = self.conn.trailing_data
        if b"\n" not in received:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def uvicorn_config(app: Any) -> Config:
    """Return the settings of uvicorn for an ASGI application."""
    return Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        loop="asyncio",
        http=HttpProtocol,
        timeout_keep_alive=int(IDLE_SECONDS),
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )

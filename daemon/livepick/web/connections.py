"""Accepting of connections: how many, from whom, and how long a client may take.

Connections are accepted here and not by asyncio's server, which sees a TLS connection only after
its handshake: silent clients would then take descriptors without being counted. A connection that
waits for its client, which has sent no request or does not read the answer, gives way to a new one,
and requests for the page take at most three quarters of the connections (``livepick.web.guard``).
So a scrape is always accepted, however many clients hold connections open.
"""

import asyncio
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from uvicorn.config import Config
from uvicorn.server import ServerState

from livepick.web.http_protocol import IDLE_SECONDS, STALL_SECONDS, HttpProtocol

__all__ = ["Connections", "EndCause", "Instruments", "Limits", "NoInstruments"]

MOST_CONNECTIONS = 256
"""Maximum number of connections. A browser keeps up to seven open."""

DESCRIPTORS_FRACTION = 4
"""The page takes at most this fraction of the descriptors, 1/4. The others are for the session."""

CHECK_SECONDS = 0.5
"""Interval between two checks of the deadlines."""

ACCEPT_PAUSE_SECONDS = 0.2
"""Pause after a failed accept, for example because this process has no descriptors left."""

ROOM_PAUSE_SECONDS = 0.02
"""Pause between two looks for a connection that gives way to a new one."""

EndCause = Literal["deadline", "limit"]

_log = logging.getLogger(__name__)


class Instruments(Protocol):
    """Metrics of the connections."""

    def connections(self, count: int) -> None:
        """Set the number of open connections."""

    def connection_ended(self, cause: EndCause) -> None:
        """Count a connection that livepick has ended."""


class NoInstruments:
    """Metrics that nobody reads."""

    def connections(self, count: int) -> None:
        """Do nothing."""

    def connection_ended(self, cause: EndCause) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the connections."""

    connections: int
    """Maximum number of connections at a time."""
    idle_seconds: float = IDLE_SECONDS
    """Time for a TLS handshake or a request."""
    stall_seconds: float = STALL_SECONDS
    """Time for a client to take up what was written."""

    @classmethod
    def of_process(cls) -> "Limits":
        """Return limits that leave most descriptors of this process to its other parts."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors == resource.RLIM_INFINITY:
            return cls(MOST_CONNECTIONS)
        return cls(min(MOST_CONNECTIONS, max(8, descriptors // DESCRIPTORS_FRACTION)))

    @property
    def page_requests(self) -> int:
        """Maximum number of requests for the page at a time; the others are reserved."""
        return max(1, self.connections * 3 // 4)


class _Connection:
    """One accepted connection, from its handshake to its end."""

    def __init__(self, client: str, now: float) -> None:
        self.client = client
        self.protocol: HttpProtocol | None = None
        self.task: asyncio.Task[None] | None = None
        self._began_at = now

    @property
    def waits_since(self) -> float | None:
        """Time since when the connection waits for its client; None: it does not."""
        return self._began_at if self.protocol is None else self.protocol.waits_since

    def end(self) -> None:
        """End the connection now."""
        if self.protocol is not None:
            self.protocol.end()
        elif self.task is not None:
            self.task.cancel()

    def end_if_overdue(self, now: float, limits: Limits) -> bool:
        """End the connection if it is overdue; return True if it is."""
        if self.protocol is not None:
            return self.protocol.end_if_overdue(
                now, idle_seconds=limits.idle_seconds, stall_seconds=limits.stall_seconds
            )
        if now - self._began_at > limits.idle_seconds:
            self.end()
            return True
        return False


class Connections:
    """All connections of one listening socket. For one event loop.

    Parameters
    ----------
    config, state
        Settings and state of uvicorn.
    limits
        Maximum number of connections, and their deadlines.
    tls
        Function that returns the TLS context for a new connection; None: no TLS.
    instruments
        Metrics.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: Limits,
        *,
        tls: Callable[[], ssl.SSLContext | None],
        instruments: Instruments,
    ) -> None:
        self._config = config
        self._state = state
        self._limits = limits
        self._tls = tls
        self._instruments = instruments
        self._open: set[_Connection] = set()

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until cancelled, and check their deadlines."""
        loop = asyncio.get_running_loop()
        checks = loop.create_task(self._check_deadlines())
        failing = False
        try:
            while True:
                try:
                    accepted, address = await loop.sock_accept(listener)
                except OSError as error:
                    if not failing:
                        _log.warning("page: a connection could not be accepted: %s", error.strerror)
                    failing = True
                    await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                else:
                    failing = False
                    while not self._has_room():
                        await asyncio.sleep(ROOM_PAUSE_SECONDS)
                    self._admit(accepted, str(address[0]) if address else "")
        finally:
            checks.cancel()
            for connection in list(self._open):
                if connection.protocol is None:
                    connection.end()

    def _admit(self, accepted: socket.socket, client: str) -> None:
        loop = asyncio.get_running_loop()
        connection = _Connection(client, loop.time())
        self._open.add(connection)
        self._instruments.connections(len(self._open))
        task = connection.task = loop.create_task(self._serve(connection, accepted))
        task.add_done_callback(lambda _: self._end(connection, accepted))

    def _has_room(self) -> bool:
        """Return True if there is room for one more connection, after one that waits has ended.

        It is the one that waits longest, of the client that has the most. If none waits, answers
        are under way, so there is room soon.
        """
        if len(self._open) < self._limits.connections:
            return True
        held = Counter(connection.client for connection in self._open)
        waiting = [
            (-held[connection.client], since, connection)
            for connection in self._open
            if (since := connection.waits_since) is not None
        ]
        if not waiting:
            return False
        _, _, oldest = min(waiting, key=lambda each: each[:2])
        self._forget(oldest)
        oldest.end()
        self._instruments.connection_ended("limit")
        return True

    async def _serve(self, connection: _Connection, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            context = self._tls()
            _, protocol = await loop.connect_accepted_socket(
                lambda: HttpProtocol(self._config, self._state),
                accepted,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self._limits.idle_seconds,
                ssl_shutdown_timeout=None if context is None else self._limits.stall_seconds,
            )
            connection.protocol = protocol
            await protocol.lost()
        except OSError:  # not TLS, or another version
            return
        except Exception:  # noqa: BLE001 - one connection must not end the others
            _log.exception("page: a connection failed")

    def _end(self, connection: _Connection, accepted: socket.socket) -> None:
        """Note the end of a connection, which may have been cancelled before it began."""
        if connection.protocol is None:
            accepted.close()
        self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        self._instruments.connections(len(self._open))

    async def _check_deadlines(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for connection in list(self._open):
                if connection.end_if_overdue(loop.time(), self._limits):
                    self._instruments.connection_ended("deadline")

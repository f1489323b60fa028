"""Web server: the listening sockets, and the thread that serves the page."""

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import uvicorn
from starlette.types import ASGIApp

from livepick.errors import ConfigError
from livepick.web.connections import Connections, Instruments, Limits, NoInstruments
from livepick.web.http_protocol import HttpProtocol, uvicorn_config

__all__ = ["Door", "Web", "address_of", "listen"]

STOP_SECONDS = 1
"""Time that requests in progress get to finish when the service ends."""

TICK_SECONDS = 0.5
"""Time between two looks if the server is to end."""

BACKLOG = 128
"""Connections that the kernel holds until they are accepted."""

DEAD_PEER_MS = 60_000
"""Time after which a peer counts as gone if it does not acknowledge what was sent."""

_log = logging.getLogger(__name__)


def listen(address: str) -> socket.socket:
    """Bind ``host:port``; port 0 takes a free one.

    Raises
    ------
    ConfigError
        The address is invalid, is in use, or does not belong to this machine.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        if not 0 <= int(port) < 1 << 16:
            raise OverflowError("a port is between 0 and 65535")  # noqa: TRY301 - reported with the others
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # A restarted service must not wait for the old connections' TIME_WAIT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
            listener.bind(place)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"web.listen is {address}: {error}",
            "Give an address of this machine as host:port, such as 127.0.0.1:9476. Port 0 chooses a"
            " free port.",
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the actual ``host:port`` of a socket from ``listen``."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _no_tls() -> ssl.SSLContext | None:
    return None


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket, and what is behind it."""

    listener: socket.socket
    app: ASGIApp
    limits: Limits = field(default_factory=Limits.of_process)
    tls: Callable[[], ssl.SSLContext | None] = _no_tls
    """Function that returns the TLS context for a new connection; None: no TLS."""
    instruments: Instruments = field(default_factory=NoInstruments)


class Web:
    """Web server in a thread of its own.

    Parameters
    ----------
    doors
        The page's door, and further ones, for example for this machine's own programs.
    closing
        Called first at the end, to end responses that would otherwise never finish.
    """

    def __init__(self, *doors: Door, closing: Callable[[], None] = lambda: None) -> None:
        self._doors = doors
        self._closing = closing
        self._server: _Server | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def address(self) -> str:
        """Actual ``host:port`` of the page's door."""
        return address_of(self._doors[0].listener)

    @property
    def alive(self) -> bool:
        """True while the server thread is running."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the server thread."""
        for door in self._doors:
            door.listener.settimeout(0)
        # Anyone can send garbage, so it is not worth a line of the log each.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server within a few seconds."""
        self._stopping = True
        self._closing()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS + 1)
        for door in self._doors:
            door.listener.close()

    def _run(self) -> None:
        while not self._stopping:
            self._server = _Server(self._doors)
            if self._stopping:  # by a call that did not see this server
                return
            try:
                self._server.run()
            except Exception:  # noqa: BLE001 - the page comes back
                _log.exception("page: the server failed; it starts again")
                time.sleep(1)


class _Server(uvicorn.Server):
    """uvicorn's server with our own accepting of connections."""

    def __init__(self, doors: tuple[Door, ...]) -> None:
        self._doors = doors
        self._configs = [uvicorn_config(d.app) for d in doors]
        self._accepting: list[asyncio.Task[None]] = []
        super().__init__(self._configs[0])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Accept connections at every door."""
        self.servers = []
        for door, config in zip(self._doors, self._configs, strict=True):
            if not config.loaded:
                config.load()
            connections = Connections(
                config, self.server_state, door.limits, tls=door.tls, instruments=door.instruments
            )
            self._accepting.append(asyncio.create_task(connections.accept(door.listener)))
        self.started = True

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn looks for it ten times a second, also if nobody is there."""
        while not await self.on_tick(0):  # also sets the date that answers have
            await asyncio.sleep(TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Accept no more, wait for the answers in progress, and end the connections."""
        for task in self._accepting:
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(0.05)
        await self._end_all()

    async def _end_all(self) -> None:
        """End what still goes on, which uvicorn would report as an error with a stack each."""
        connections = [
            each for each in self.server_state.connections if isinstance(each, HttpProtocol)
        ]
        for connection in connections:
            connection.end()
        await asyncio.gather(*(connection.lost() for connection in connections))
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

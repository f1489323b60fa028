"""Web server: host check, security headers, and the thread that serves the page.

On a loopback address only loopback names are accepted as ``Host``. Otherwise a foreign web page
could point its own name at this address and read the responses (DNS rebinding).
"""

import ipaddress
import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livepick.errors import ConfigError

__all__ = ["Guard", "Web", "is_loopback", "listen"]

SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

STOP_SECONDS = 1
"""Time that requests in progress get to finish when the service ends."""

MOST_CONNECTIONS = 200
"""Maximum number of connections. A browser keeps up to seven open; Prometheus must still connect
next to two dozen browsers."""


class Guard:
    """Middleware that rejects foreign hosts and adds security headers to every response."""

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *SECURITY_HEADERS]
            await send(message)

        app: ASGIApp = self._app
        if scope["type"] == "http" and self._loopback and not _names_loopback(scope):
            app = PlainTextResponse("Open this page as http://localhost or http://127.0.0.1\n", 400)
        await app(scope, receive, send_with_headers)


def _names_loopback(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    host = hosts[0]
    # An IPv6 address is in brackets; a port may follow either kind of address.
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)


def is_loopback(host: str) -> bool:
    """Return True if a host name or address is a loopback one, reachable only from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
            listener.bind(place)
            listener.listen(64)
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


class Web:
    """Web server in a thread of its own.

    Parameters
    ----------
    listener
        Socket from ``listen``.
    app
        Application to serve.
    closing
        Called first at the end, to end responses that would otherwise never finish.
    """

    def __init__(
        self, listener: socket.socket, app: ASGIApp, closing: Callable[[], None] = lambda: None
    ) -> None:
        self._listener = listener
        self._closing = closing
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                loop="asyncio",
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def address(self) -> str:
        """Actual ``host:port``."""
        host, port = self._listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect."""
        return is_loopback(self._listener.getsockname()[0])

    @property
    def alive(self) -> bool:
        """True while the server thread is running."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the server thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the server within a few seconds."""
        self._closing()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS + 1)
        self._listener.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

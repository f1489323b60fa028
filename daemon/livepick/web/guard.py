"""Checks that every request passes before it reaches the page: host, size, method, and number.

On a loopback address only loopback names are accepted as ``Host``. Otherwise a foreign web page
could point its own name at this address and read the responses (DNS rebinding). Only GET and HEAD
are served, unless people may change something: then their forms may be posted, and
``livepick.web.action_pages`` checks who sends them.
"""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livepick.host.loopback import is_loopback
from livepick.web.host_header import host_name
from livepick.web.http_protocol import MOST_HEADER_BYTES
from livepick.web.passwords import TooBusyError
from livepick.web.protection import Protection
from livepick.web.responses import busy

__all__ = ["ACTIONS", "Guard"]

ACTIONS = "/actions/"
"""Beginning of the paths to which forms are posted."""

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}

RESERVED = frozenset({"/metrics", "/healthz", "/headline.json"})
"""Paths for programs, which are answered however many requests for the page there are."""

MOST_TARGET_BYTES = 4096
"""Maximum length of path and query."""

MOST_BODY_BYTES = 64 << 10
"""Maximum size of a body. None is needed; a small one is ignored."""

DRAIN_SECONDS = 2.0
"""Time for a client to send the rest of its body, so that it sees the answer before the end of the
connection."""


class Guard:
    """Middleware that rejects what the page need not read, and adds security headers.

    Parameters
    ----------
    app
        The application.
    accepts_host
        Function that returns True for an accepted name in ``Host``; None: any is accepted.
    page_requests
        Maximum number of requests at a time, without those for programs.
    protection
        Passwords and headers of ``web.web_config_file``; None: none.
    has_actions
        True to accept forms.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        accepts_host: Callable[[str], bool] | None = is_loopback,
        page_requests: int = 192,
        protection: Protection | None = None,
        has_actions: bool = False,
    ) -> None:
        self._app = app
        self._accepts_host = accepts_host
        self._page_requests = page_requests
        self._protection = protection
        self._requests = 0
        self._has_actions = has_actions
        # With no-referrer, browsers hide the origin of a form from its own page too.
        referrer = {"referrer-policy": "same-origin"} if has_actions else {}
        self._headers = SECURITY_HEADERS | referrer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        own = {} if self._protection is None else self._protection.headers
        end = _Ending(scope, receive, send, self._headers | own)
        try:
            await self._answer(scope, receive, end)
        except asyncio.CancelledError:
            # The server ends, and has closed the connection. uvicorn would report an error.
            return

    async def _answer(self, scope: Scope, receive: Receive, end: "_Ending") -> None:
        refusal = self._refusal(scope) or await self._unauthorized(scope)
        if refusal is not None:
            await refusal(scope, receive, end.send)
        elif scope["path"] in RESERVED:
            await self._app(scope, end.receive, end.send)
        else:
            self._requests += 1
            try:
                await self._app(scope, end.receive, end.send)
            finally:
                self._requests -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that does not reach the application."""
        if not self._has_our_name(scope["headers"]):
            return _refuse(
                HTTPStatus.BAD_REQUEST,
                "Open this page as http://localhost or http://127.0.0.1, or by the address in"
                " web.external_url",
            )
        too_large = _too_large(scope)
        if too_large is not None:
            return _refuse(too_large)
        if scope["method"] not in ("GET", "HEAD"):
            if not self._is_form(scope):
                return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, allow="GET, HEAD")
            if _has_two_lengths(scope["headers"]):
                return _refuse(HTTPStatus.BAD_REQUEST, connection="close")
        if self._requests >= self._page_requests and scope["path"] not in RESERVED:
            return busy("Too many requests for the page at a time.", closing=True)
        return None

    def _is_form(self, scope: Scope) -> bool:
        return self._has_actions and scope["method"] == "POST" and scope["path"].startswith(ACTIONS)

    async def _unauthorized(self, scope: Scope) -> Response | None:
        if self._protection is None:
            return None
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        try:
            if await self._protection.passwords.accept(given[0] if given else None):
                return None
        except TooBusyError:
            return busy("Too many passwords to check.", closing=True)
        return _refuse(HTTPStatus.UNAUTHORIZED, **{"www-authenticate": 'Basic realm="livepick"'})

    def _has_our_name(self, headers: list[tuple[bytes, bytes]]) -> bool:
        if self._accepts_host is None:
            return True
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        return len(hosts) == 1 and self._accepts_host(host_name(hosts[0]))


class _Ending:
    """Sends an answer with the security headers, and reads the rest of the request's body."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]
    ) -> None:
        self._receive = receive
        self._send = send
        self._headers = headers
        self._has_body = self._is_unread = _has_body(scope["headers"])

    async def receive(self) -> Message:
        """Receive a part of the request."""
        message = await self._receive()
        if not message.get("more_body"):
            self._is_unread = False
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            present = {name for name, _ in headers}
            headers += [
                pair
                for name, value in self._headers.items()
                if (pair := (name.encode(), value.encode()))[0] not in present
            ]
            if self._has_body:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        elif self._is_unread and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while (await self._receive()).get("more_body"):
                    pass
        except TimeoutError:
            return


def _too_large(scope: Scope) -> HTTPStatus | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(scope["raw_path"]) + len(scope["query_string"]) > MOST_TARGET_BYTES:
        return HTTPStatus.REQUEST_URI_TOO_LONG
    if sum(len(name) + len(value) for name, value in headers) > MOST_HEADER_BYTES:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    if _body_bytes(headers) > MOST_BODY_BYTES:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return None


def _body_bytes(headers: list[tuple[bytes, bytes]]) -> int:
    """Return the announced length of the body; 0 if there is none."""
    lengths = [value for name, value in headers if name == b"content-length"]
    # h11 has checked that it is a number, which may have thousands of digits.
    return int(lengths[0][:20]) if lengths else 0


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    return chunked or _body_bytes(headers) > 0


def _has_two_lengths(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return True if two readers could see different ends of a body (request smuggling)."""
    names = [name for name, _ in headers if name in (b"content-length", b"transfer-encoding")]
    return len(names) > 1


def _refuse(status: HTTPStatus, sentence: str = "", **headers: str) -> Response:
    return PlainTextResponse(f"{sentence or status.phrase}.\n", status, headers=headers)

"""The cookie of people who are signed in.

Cookies do not know ports, so each service has a name of its own: another livepick on the same host
neither reads nor replaces it.
"""

import hashlib
import socket
import urllib.parse
from http.cookies import SimpleCookie
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from livepick.config.web_section import Web
from livepick.web.host_header import host_name

__all__ = ["SessionCookie"]

MOST_COOKIES = 8
"""Maximum number of cookies with the name that are looked at."""


class SessionCookie:
    """Reads and sets the cookie.

    Parameters
    ----------
    web
        Settings of the page.
    state
        State folder, which tells services apart.
    """

    def __init__(self, web: Web, state: Path) -> None:
        self._web = web
        identity = f"{socket.gethostname()}\0{state}\0{web.listen}"
        digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
        self.name = f"livepick_{digest[:12]}"
        """Name of the cookie."""

    def read(self, request: Request) -> list[str]:
        """Return the values of the cookie that a request has; several paths give several."""
        pairs = (
            pair.strip().partition("=")
            for header in request.headers.getlist("cookie")
            for pair in header.split(";")
        )
        return [value for name, _, value in pairs if name == self.name][:MOST_COOKIES]

    def set(self, response: Response, value: str, request: Request) -> None:
        """Give the cookie to the browser; it ends with the browser's session."""
        self._write(response, value, request, max_age=None)

    def remove(self, response: Response, request: Request) -> None:
        """Remove the cookie from the browser."""
        self._write(response, "", request, max_age=0)

    def _write(
        self, response: Response, value: str, request: Request, *, max_age: int | None
    ) -> None:
        path, secure = self._place(request)
        cookie: SimpleCookie = SimpleCookie()
        cookie[self.name] = value
        morsel = cookie[self.name]
        morsel["path"] = path
        morsel["httponly"] = True
        morsel["samesite"] = "Strict"
        if secure:
            morsel["secure"] = True
        if max_age is not None:
            morsel["max-age"] = max_age
        response.headers.append("set-cookie", morsel.OutputString())

    def _place(self, request: Request) -> tuple[str, bool]:
        """Return the path of the page in the browser, and True if the browser uses TLS."""
        external = self._web.external_url
        host = request.headers.get("host", "").lower()
        if external is not None and host_name(host) == (self._web.external_host or ""):
            parts = urllib.parse.urlsplit(external)
            if not (
                request.scope["scheme"] == "http" and _is_direct(request, parts.netloc, self._web)
            ):
                return parts.path or "/", parts.scheme == "https"
        return "/", request.scope["scheme"] == "https"


def _is_direct(request: Request, netloc: str, web: Web) -> bool:
    """Return True if a browser reached the service itself under the proxy's name."""
    host = request.headers.get("host", "")
    return host != netloc and host.endswith(f":{web.port}") and web.port != 0

"""Requests to a running service through the socket in its state folder."""

import http.client
from pathlib import Path

from livepick.host.local_socket import connect_local
from livepick.web.address_file import SOCKET, AddressFile

__all__ = ["TIMEOUT_SECONDS", "service_answer"]

TIMEOUT_SECONDS = 2.5
"""Timeout of a request. An answer takes milliseconds; a terminal must not wait for a lost one."""

MOST_BYTES = 1 << 20


def service_answer(state: Path, path: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """Return what the running service of a state folder answers to a request, whatever its status.

    Raises
    ------
    OSError, http.client.HTTPException
        It does not answer.
    """
    address = AddressFile(state).read()
    connection = _connect(state / SOCKET, address, timeout_seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(MOST_BYTES)
    finally:
        connection.close()


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over the socket of a state folder."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path
        self._timeout_seconds = timeout_seconds

    def connect(self) -> None:
        self.sock = connect_local(self._path, timeout_seconds=self._timeout_seconds)


def _connect(path: Path, address: str, timeout_seconds: float) -> http.client.HTTPConnection:
    """Return a connection through the socket, or to the address if there is no socket.

    Without one, for example on a file system that has none, only an address without TLS and
    passwords can be queried.
    """
    local = _LocalConnection(path, timeout_seconds)
    try:
        local.connect()
    except OSError:
        return http.client.HTTPConnection(address, timeout=timeout_seconds)
    return local

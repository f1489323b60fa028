"""The file that tells other processes where the page of a running service is.

It exists from when the page answers until the service is told to stop. If it exists while nobody
holds the lock on the state folder, the service has ended unexpectedly.
"""

import logging
import socket
from pathlib import Path

from livepick.config.web_section import Web
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import read_bounded
from livepick.host.loopback import is_address, is_loopback

__all__ = ["SOCKET", "AddressFile", "page_link", "page_url"]

SOCKET = "web.socket"
"""Socket of the page in a state folder, for livepick's own commands."""

_log = logging.getLogger(__name__)


class AddressFile:
    """The file ``web.address`` in a state folder, which holds the page's ``host:port``."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / "web.address"

    def read(self) -> str:
        """Return the address; empty if there is none."""
        try:
            return read_bounded(self._path, limit_bytes=1000).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def write(self, address: str) -> None:
        """Write the address.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        write_atomically(self._path, f"{address}\n".encode())

    def remove(self) -> None:
        """Remove the file, if there is one; a failure is logged."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("page: %s could not be removed: %s", self._path, error.strerror)


def page_url(web: Web, address: str, *, tls: bool) -> str:
    """Return the URL of a page for people and programs, with a slash at the end.

    Parameters
    ----------
    web
        Settings of the page.
    address
        Actual ``host:port``.
    tls
        True if it is served with TLS.
    """
    if web.external_url is not None:
        return web.external_url
    host, _, port = address.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # noqa: S104 - every address of this machine, so its name
        host = socket.gethostname()
    elif not is_address(web.host):  # a certificate has the name that web.listen has
        host = web.host
    return f"{'https' if tls else 'http'}://{host}:{port}/"


def page_link(web: Web, address: str, *, tls: bool) -> str:
    """Return the URL of a page for mails, which are read on other machines.

    The arguments are those of ``page_url``.
    """
    host, _, port = address.rpartition(":")
    if web.external_url is None and is_loopback(host):
        return f"{'https' if tls else 'http'}://{socket.gethostname()}:{port}/"
    return page_url(web, address, tls=tls)

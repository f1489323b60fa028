"""TLS, passwords and headers in force, from ``web.web_config_file``.

The file and its certificates are read again when they change, as Prometheus's exporters do, so that
a renewed certificate and a new password need no restart. A fault in them is reported, and what was
read before stays in force until it is fixed.
"""

import logging
import ssl
from pathlib import Path

from livepick.config.reload import FileStamp, file_stamp
from livepick.config.web_config import WebConfig, check_exposure, read_protection
from livepick.config.web_section import Web
from livepick.config.web_tls import make_context
from livepick.errors import ConfigError
from livepick.web.passwords import Passwords

__all__ = ["Protection"]

_log = logging.getLogger(__name__)


class Protection:
    """Protection of the page from other machines.

    Parameters
    ----------
    web
        Settings of the page.
    host
        Address that is listened on.

    Raises
    ------
    ConfigError
        The file, or one that it names, cannot be used, or does not protect the page and
        ``web.insecure`` does not accept that.
    """

    def __init__(self, web: Web, *, host: str) -> None:
        self._web = web
        self._host = host
        self._path = web.web_config_file
        self.insecure = False
        """True if other machines can read the page without TLS or without a password."""
        self.passwords = Passwords()
        """The users."""
        self.headers: dict[str, str] = {}
        """Headers of every answer, by name in lower case."""
        self.fault: ConfigError | None = None
        """Fault for which the file as it is now is not in force; None: it is."""
        self._context: ssl.SSLContext | None = None
        self._files: tuple[Path, ...] = () if self._path is None else (self._path,)
        self._last = self._read = self._stat()
        self._use(read_protection(self._web))
        self._note_files()

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS context for a new connection; None: no TLS."""
        return self._context

    def reload_if_edited(self) -> None:
        """Read the files again if they have changed and the change is complete.

        Call it every second or so; it is for one thread.
        """
        now = self._stat()
        settled, self._last = now == self._last, now
        if not settled or now == self._read:
            return
        self._read = now
        try:
            self._use(read_protection(self._web))
        except ConfigError as error:
            self.fault = error
            _log.error("page: the previous TLS and passwords stay in force: %s", error)
        else:
            self.fault = None
            self._note_files()
            _log.info("page: %s was read again", self._path)

    def _use(self, config: WebConfig) -> None:
        insecure = check_exposure(self._web, config, host=self._host)
        tls = config.tls_server_config
        context = None if tls is None else make_context(tls)
        # From here on nothing fails.
        self.insecure = insecure
        self._context = context
        self.passwords.use(config.basic_auth_users)
        headers = config.http_server_config.headers
        self.headers = {name.lower(): value for name, value in headers.items()}
        if self._path is not None:
            self._files = (self._path, *config.files)

    def _note_files(self) -> None:
        """Watch the files that were read; the file itself as it was before that."""
        self._last = self._read = (*self._read[:1], *self._stat()[1:])

    def _stat(self) -> tuple[FileStamp, ...]:
        return tuple(map(file_stamp, self._files))

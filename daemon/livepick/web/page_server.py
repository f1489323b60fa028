"""The server of the page, put together: sockets, protection, application, and their problems.

There are two doors. The address ``web.listen`` is for browsers and Prometheus. The socket
``STATE/web.socket`` is for livepick's own commands: the permissions of the file decide who may
connect, so they need neither a name, a certificate nor a password, and a crowd at the address does
not reach it.
"""

import logging
from pathlib import Path

from livepick.config.schema import Config
from livepick.config.web_config import read_protection
from livepick.config.web_token import check_actions
from livepick.host.local_socket import listen_local
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.problem import Problem, web_config_refused, web_insecure
from livepick.web.accepted_hosts import accepted_hosts
from livepick.web.address_file import SOCKET, AddressFile, page_link, page_url
from livepick.web.app import ActionSources, App, create_app
from livepick.web.connections import Limits
from livepick.web.guard import Guard
from livepick.web.page import Sources
from livepick.web.protection import Protection
from livepick.web.server import Door, Web, address_of, listen
from livepick.web.sign_in import SignIns
from livepick.web.thumbnails import Submit

__all__ = ["PageServer"]

LOCAL_CONNECTIONS = 16
"""Maximum number of connections of livepick's own commands."""

_log = logging.getLogger(__name__)


class PageServer:
    """The server of the page of one session.

    Parameters
    ----------
    config
        Settings of the session.

    Raises
    ------
    ConfigError
        The address cannot be used, or others can reach it and it is not protected.
    """

    def __init__(self, config: Config) -> None:
        self._settings = config.web
        self._state = config.state.directory
        self._address_file = AddressFile(self._state)
        self._listener = listen(config.web.listen)
        self._host: str = self._listener.getsockname()[0]
        try:
            self._protection = Protection(config.web, host=self._host)
        except BaseException:
            self._listener.close()
            raise
        self._sign_ins = self._make_sign_ins()
        self._metrics: Metrics | None = None
        self._web: Web | None = None

    @property
    def address(self) -> str:
        """Actual ``host:port``."""
        return address_of(self._listener)

    @property
    def url(self) -> str:
        """URL of the page for people and programs, with a slash at the end."""
        tls = self._protection.tls() is not None
        return page_url(self._settings, self.address, tls=tls)

    @property
    def link(self) -> str:
        """URL of the page for mails: as ``url``, but never with the name localhost.

        Without ``web.external_url`` it has the name of this machine, which may lead nowhere if the
        page listens on the loopback address only.
        """
        tls = self._protection.tls() is not None
        return page_link(self._settings, self.address, tls=tls)

    def serve(
        self,
        metrics: Metrics,
        sources: Sources,
        submit: Submit,
        unexpected: UnexpectedErrors,
        *,
        config_file: Path | None = None,
    ) -> None:
        """Make the application; ``start`` lets it answer.

        Parameters
        ----------
        metrics, sources, submit, unexpected
            As in ``create_app``.
        config_file
            File that people edit on the page if ``web.actions`` allows it.
        """
        acting = None
        if self._sign_ins is not None and config_file is not None:
            acting = ActionSources(config_file, self._sign_ins)
        limits = Limits.of_process()
        app = create_app(
            metrics,
            sources,
            submit,
            guard=lambda app: Guard(
                app,
                accepts_host=accepted_hosts(self._settings, self._host, self._protection),
                page_requests=limits.page_requests,
                protection=self._protection,
                has_actions=acting is not None,
            ),
            unexpected=unexpected,
            acting=acting,
        )
        self._metrics = metrics
        front = Door(
            self._listener, app.asgi, limits, tls=self._protection.tls, instruments=metrics.web
        )
        self._web = Web(front, *self._local_door(app), closing=app.close)

    def start(self) -> None:
        """Answer requests, and tell other processes where."""
        if self._web is None:
            raise RuntimeError("serve comes first")
        self._web.start()
        try:
            self._address_file.write(self.address)
        except OSError as error:  # a full disk: commands do not find the page, which is there
            _log.error("page: its address could not be written: %s", error.strerror)
        _log.info("page and metrics: %s", self.url)
        if self._protection.insecure:
            _log.warning(
                "page and metrics: anyone who can reach %s can read them, as web.insecure allows",
                self.address,
            )
        self._show()

    def reload_if_edited(self) -> None:
        """Read the files of passwords and of the token again if they have changed.

        Call it every second or so.
        """
        self._protection.reload_if_edited()
        if self._sign_ins is not None:
            self._sign_ins.reload_if_edited()
        self._show()

    def problems(self) -> list[Problem]:
        """Return what the operator should know about the protection of the page."""
        problems = []
        if self._protection.fault is not None:
            problems.append(web_config_refused(self._protection.fault))
        if self._protection.insecure:
            problems.append(web_insecure(self.address))
        return problems

    def stop(self) -> None:
        """Stop the server within a few seconds."""
        if self._web is not None:
            self._web.stop()

    def close(self) -> None:
        """Release the address."""
        self._listener.close()

    def _make_sign_ins(self) -> SignIns | None:
        """Return the people who may change something; None: nobody may."""
        web = self._settings
        if web.actions == "off" or web.token_file is None:
            return None
        try:
            check_actions(web, read_protection(web), host=self._host)
            return SignIns(web.token_file)
        except BaseException:
            self._listener.close()
            raise

    def _show(self) -> None:
        if self._metrics is not None:
            self._metrics.web.insecure(is_insecure=self._protection.insecure)

    def _local_door(self, app: App) -> tuple[Door, ...]:
        path = self._state / SOCKET
        try:
            return (Door(listen_local(path), app.local, Limits(LOCAL_CONNECTIONS)),)
        except OSError as error:
            _log.warning("page: no socket for livepick's commands at %s: %s", path, error.strerror)
            return ()

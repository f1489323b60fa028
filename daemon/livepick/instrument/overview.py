"""The page of all sessions of an instrument, its metrics, and the targets for Prometheus.

It has the look, TLS, passwords and rules of a session's page. The main thread hands it a snapshot;
no request waits for a session, a folder or a disk, except that for a closing report.
"""

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from livepick.config.instrument_config import Instrument
from livepick.host.foreign_files import read_bounded
from livepick.host.local_socket import listen_local
from livepick.instrument.metrics import CONTENT_TYPE, SCRAPE_HEADER, InstrumentMetrics
from livepick.instrument.session_search import end_of
from livepick.instrument.session_view import SessionView, Snapshot
from livepick.monitoring.human_units import zone
from livepick.web.accepted_hosts import accepted_hosts
from livepick.web.address_file import SOCKET, AddressFile, page_link, page_url
from livepick.web.connections import Limits
from livepick.web.guard import Guard
from livepick.web.host_header import host_name, other_port
from livepick.web.jinja import render_template
from livepick.web.page_thread import PageThread
from livepick.web.protection import Protection
from livepick.web.responses import NO_CACHE, not_found
from livepick.web.server import Door, Web, address_of, listen
from livepick.web.static_files import OVERVIEW_FILES, static_routes

__all__ = ["Overview"]

LOCAL_CONNECTIONS = 16
"""Maximum number of connections of livepick's own commands."""

MOST_REPORT_BYTES = 256 << 20

SILENT_SECONDS = 30.0
"""The main thread counts as hung if it has not made a snapshot for this long."""

REPORT_POLICY: Final = {
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; img-src data:;"
    " style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
}
"""A report has all in one file, and must not read other pages of this address."""

_log = logging.getLogger(__name__)


class Overview:
    """The server of the overview.

    Parameters
    ----------
    instrument
        Settings of the instrument at the start.
    root
        Folder for its address and its socket.

    Raises
    ------
    ConfigError
        The address cannot be used, or others can reach it and it is not protected.
    """

    def __init__(self, instrument: Instrument, root: Path) -> None:
        self._instrument = instrument
        self._root = root
        self._listener = listen(instrument.web.listen)
        host: str = self._listener.getsockname()[0]
        try:
            self._protection = Protection(instrument.web, host=host)
        except BaseException:
            self._listener.close()
            raise
        self._host = host
        self._metrics = InstrumentMetrics()
        self._snapshot = Snapshot.of(instrument, (), listing=None)
        self._states: dict[str, Path] = {}
        self._shown_at = time.monotonic()
        self._told_at: float | None = None
        self._reports = PageThread()
        self._address_file = AddressFile(root)
        limits = Limits.of_process()
        app = self._app()
        guarded = Guard(
            app,
            accepts_host=accepted_hosts(instrument.web, host, self._protection),
            page_requests=limits.page_requests,
            protection=self._protection,
        )
        front = Door(self._listener, guarded, limits, tls=self._protection.tls)
        self._web = Web(front, *self._local_door(app))

    @property
    def url(self) -> str:
        """URL of the overview, with a slash at the end."""
        is_tls = self._protection.tls() is not None
        return page_url(self._instrument.web, address_of(self._listener), tls=is_tls)

    def start(self) -> None:
        """Answer requests, and tell other processes where."""
        self._web.start()
        is_tls = self._protection.tls() is not None
        address = address_of(self._listener)
        self._metrics.describe(page_link(self._instrument.web, address, tls=is_tls))
        try:
            self._address_file.write(address_of(self._listener))
        except OSError as error:
            _log.error("overview: its address could not be written: %s", error.strerror)
        _log.info("overview and metrics: %s", self.url)

    def say_stopped(self) -> None:
        """Tell a Prometheus that watches that the service is stopped on purpose."""
        if self._metrics.scrapes.is_watched:
            self._told_at = time.monotonic()
        self._metrics.stopped()

    @property
    def waits_for_scrape(self) -> bool:
        """True if a Prometheus that watches has not been told yet that the service stops."""
        return self._told_at is not None and not self._metrics.scrapes.since(self._told_at)

    def stop(self) -> None:
        """Stop the server within a few seconds."""
        self._address_file.remove()
        self._web.stop()
        self._reports.stop()

    def show(self, snapshot: Snapshot, states: dict[str, Path], *, is_applied: bool) -> None:
        """Show a snapshot from now on; ``states`` are the state folders by session."""
        self._snapshot, self._states = snapshot, states
        self._shown_at = time.monotonic()
        self._metrics.show(snapshot, is_applied=is_applied)
        self._protection.reload_if_edited()

    def count_crash(self) -> None:
        """Count an unexpected end of a session."""
        self._metrics.count_crash()

    def _local_door(self, app: Starlette) -> tuple[Door, ...]:
        path = self._root / SOCKET
        try:
            local = Guard(app, accepts_host=None)
            return (Door(listen_local(path), local, Limits(LOCAL_CONNECTIONS)),)
        except OSError as error:
            _log.warning("overview: no socket for commands at %s: %s", path, error.strerror)
            return ()

    # --- routes ------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        async def index(request: Request) -> Response:
            return HTMLResponse(self._page("overview.html", request), headers=NO_CACHE)

        async def part(request: Request) -> Response:
            return HTMLResponse(self._page("sessions.html", request), headers=NO_CACHE)

        async def as_json(_: Request) -> Response:
            return JSONResponse(self._snapshot.as_json(), headers=NO_CACHE)

        async def metrics(request: Request) -> Response:
            if SCRAPE_HEADER in request.headers:
                self._metrics.scrapes.scraped()
            return Response(self._metrics.exposition(), media_type=CONTENT_TYPE)

        async def healthz(_: Request) -> Response:
            seconds = time.monotonic() - self._shown_at
            is_ok = seconds < SILENT_SECONDS
            body = {"ok": is_ok, "seconds_since": round(seconds, 1)}
            return JSONResponse(body, status_code=200 if is_ok else 503)

        async def targets(request: Request) -> Response:
            asked = host_name(request.headers.get("host", ""))
            return JSONResponse(self._targets(asked), headers=NO_CACHE)

        async def report(request: Request) -> Response:
            state = self._states.get(request.path_params["name"])
            html = (
                None
                if state is None
                else await self._reports.call(_report, state, request.path_params["name"])
            )
            if html is None:
                return not_found("There is no closing report.")
            return HTMLResponse(html, headers=NO_CACHE | REPORT_POLICY)

        app = Starlette(
            routes=[
                Route("/", index),
                Route("/sessions", part),
                Route("/sessions.json", as_json),
                Route("/metrics", metrics),
                Route("/healthz", healthz),
                Route("/targets", targets),
                Route("/reports/{name}", report),
                *static_routes(OVERVIEW_FILES),
            ]
        )
        app.router.redirect_slashes = False
        return app

    def _page(self, template: str, request: Request) -> str:
        snapshot = self._snapshot
        link = self._linker(request)
        return render_template(
            template,
            snapshot=snapshot,
            rows=[(view, link(view)) for view in snapshot.sessions],
            instruments=self._instrument.overview.instruments,
            now=snapshot.at,
            zone=zone(snapshot.at),
        )

    def _linker(self, request: Request) -> Callable[[SessionView], str]:
        """Return a function that returns the URL of a session's page, as this browser sees it."""
        external = self._instrument.sessions.external_url

        def link(view: SessionView) -> str:
            if view.port is None or not view.has_page:
                return ""
            if external is not None:
                return external.replace("{port}", str(view.port))
            # Behind a proxy, the ports of the sessions are not reached by the proxy's name.
            return "" if self._instrument.web.external_url else other_port(request, view.port)

        return link

    def _targets(self, asked: str) -> list[dict[str, object]]:
        """Return the sessions that should run, in the format of Prometheus's ``http_sd_configs``.

        One that is over or waits is none of them; one that crashes again and again is, so that the
        alert for a service that does not respond fires. Their host is the one by which Prometheus
        asked: it reaches that, and a certificate that it accepts there has its name.
        """
        web = self._instrument.web
        # A proxy does not have the other ports.
        host = web.host if asked in ("", web.external_host) else asked
        if host in ("0.0.0.0", "::"):  # noqa: S104 - every address of this machine, so its name
            host = socket.gethostname()
        host = f"[{host}]" if ":" in host else host
        return [
            {
                "targets": [f"{host}:{view.port}"],
                "labels": {"instrument": self._snapshot.instrument},
            }
            for view in self._snapshot.sessions
            if view.port is not None
        ]


def _report(state: Path, name: str) -> bytes | None:
    end = end_of(state, name)
    if end is None or end.report is None:
        return None
    try:
        return read_bounded(end.report, limit_bytes=MOST_REPORT_BYTES)
    except OSError:
        return None

"""Web application: the page, the metrics and the health check, read-only on one port.

Only GET and HEAD are served: to control livepick, edit its config or run its commands on the host.
File names come from other programs and are escaped; nothing is loaded from other hosts. Micrographs
are addressed by their number in the ledger, never by a path. The whole page is readable without
JavaScript; the script keeps it up to date, and lets the reader try a threshold.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Final, get_args

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.job import ImageKind
from livepick.errors import LedgerError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.models.registry import MODELS
from livepick.monitoring.headline import Headline
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.metrics.instruments import CONTENT_TYPE
from livepick.web.client import HEADLINE
from livepick.web.live_updates import Live
from livepick.web.micrograph_view import candidates_json, tile_of
from livepick.web.page import NEWEST, SECTIONS, Sections, Sources
from livepick.web.server import Guard
from livepick.web.thumbnails import NoPictureError, Submit, Thumbnails
from livepick.web.training_view import CLASSES

__all__ = ["App", "create_app"]

FILES: Final = {
    "style.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
"""Files in the templates folder that the page loads, apart from pictures, with media types."""

RETRY_SECONDS = "3"

MOST_SHOWN = 200
"""Maximum number of characters of a requested path in the log."""

_log = logging.getLogger(__name__)

IMMUTABLE = {"cache-control": "private, max-age=86400, immutable"}
"""Headers for responses that are addressed by their content."""

NO_CACHE = {"cache-control": "no-cache"}


@dataclass(frozen=True, slots=True)
class App:
    """The ASGI application, and the live updates to close at the end."""

    asgi: ASGIApp
    live: Live


def create_app(
    metrics: Metrics,
    sources: Sources,
    submit: Submit,
    *,
    loopback: bool = True,
    unexpected: UnexpectedErrors | None = None,
) -> App:
    """Return the application.

    Parameters
    ----------
    metrics
        Metrics of the service.
    sources
        Data sources, read again for each request.
    submit
        Function that submits a job to the workers.
    loopback
        True to accept only loopback host names.
    unexpected
        Counts the unexpected errors that are passed over.
    """
    counter = unexpected or UnexpectedErrors()
    sections = Sections(sources)
    live = Live(sections)

    async def failed(request: Request, error: Exception) -> Response:
        counter.passed_over("page", request.url.path[:MOST_SHOWN], error)
        return PlainTextResponse("This part of the page cannot be shown; see the log.\n", 500)

    routes = [
        *_for_programs(metrics, sources, sections),
        *_page(sections, live),
        *_micrographs(sections, sources),
        *_pictures(sources, Thumbnails(sources.ledger, sources.config, submit)),
    ]
    app = Starlette(routes=routes, exception_handlers={LedgerError: _unreadable, Exception: failed})
    return App(Guard(app, loopback=loopback), live)


# These are coroutines although they read a database: one thread serves all requests, and a read
# takes milliseconds.


def _for_programs(metrics: Metrics, sources: Sources, sections: Sections) -> list[Route]:
    """Return the routes for programs: metrics, health check and headline."""

    async def metrics_text(_: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    async def healthz(_: Request) -> Response:
        state = sources.health()
        body = {"ok": state.ok, "seconds_since": state.seconds_since}
        return JSONResponse(body, status_code=200 if state.ok else 503)

    async def headline(_: Request) -> Response:
        try:
            top, status_code = sections.headline(), 200
        except LedgerError as error:
            sentence = f"The ledger cannot be read: {error.what}."
            top = Headline("bad", sentence, error.remedy, "", (), kind="ledger_not_readable")
            status_code = 503
        return Response(top.as_json(), status_code, NO_CACHE, media_type="application/json")

    return [
        Route("/metrics", metrics_text),
        Route("/healthz", healthz),
        Route(HEADLINE, headline),
    ]


def _page(sections: Sections, live: Live) -> list[Route]:
    """Return the routes of the page, its parts, its search and its change events."""

    async def index(_: Request) -> Response:
        return HTMLResponse(sections.page(), headers=NO_CACHE)

    async def section(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in SECTIONS:
            return _not_found()
        return HTMLResponse(sections.parts()[name], headers=NO_CACHE)

    async def events(_: Request) -> Response:
        sections.parts()  # an error here refuses the stream, so the page does not look live
        # Counted here: of many simultaneous requests, none has begun to listen yet.
        if not live.enter():
            return _busy("Too many browsers have this page open.")
        return _Events(live)

    async def search(request: Request) -> Response:
        text = request.query_params.get("name", "").strip()
        whole = "part" not in request.query_params
        return HTMLResponse(sections.found(text, whole=whole), headers=NO_CACHE)

    return [
        Route("/", index),
        Route("/sections/{name}", section),
        Route("/events", events),
        Route("/search", search),
        *(Route(f"/{name}", _file(name, kind)) for name, kind in FILES.items()),
    ]


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("livepick.web").joinpath("templates", name).read_bytes()

    async def file(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=NO_CACHE)

    return file


def _micrographs(sections: Sections, sources: Sources) -> list[Route]:
    """Return the routes of a micrograph's full view."""

    async def micrograph(request: Request) -> Response:
        whole = "part" not in request.query_params
        html = sections.micrograph(request.path_params["id"], whole=whole)
        return _not_found() if html is None else HTMLResponse(html, headers=NO_CACHE)

    async def candidates(request: Request) -> Response:
        ledger, diameter_angstrom = sources.ledger, sources.config().particle.diameter_angstrom
        row = ledger.get(request.path_params["id"])
        tile = None if row is None else tile_of(row, ledger, diameter_angstrom)
        if tile is None:
            return _not_found()
        newest = ledger.latest(NEWEST, picked=True)
        return JSONResponse(candidates_json(tile, ledger, newest), headers=NO_CACHE)

    return [
        Route("/micrographs/{id:int}", micrograph),
        Route("/micrographs/{id:int}/candidates", candidates),
    ]


def _pictures(sources: Sources, thumbnails: Thumbnails) -> list[Route]:
    """Return the routes of pictures, by the number of a micrograph or of a model."""

    async def picture(request: Request) -> Response:
        kind: ImageKind = request.path_params["kind"]
        if kind not in get_args(ImageKind):
            return _not_found()
        try:
            png = await thumbnails.get(request.path_params["id"], kind)
        except NoPictureError as error:
            return _busy(str(error)) if error.passing else _not_found(str(error))
        return Response(png, media_type="image/png", headers=IMMUTABLE)

    async def why_not(request: Request) -> Response:
        kind: ImageKind = request.path_params["kind"]
        if kind not in get_args(ImageKind):
            return _not_found()
        why = thumbnails.why_not(request.path_params["id"], kind)
        return PlainTextResponse(why, headers=NO_CACHE)

    async def classes(request: Request) -> Response:
        bundle = bundle_name(request.path_params["version"])
        path = sources.config().state.directory / MODELS / bundle / CLASSES
        return FileResponse(path, headers=IMMUTABLE) if path.is_file() else _not_found()

    return [
        Route("/micrographs/{id:int}/{kind}.png", picture),
        Route("/micrographs/{id:int}/{kind}.txt", why_not),
        Route("/models/{version:int}/classes.png", classes),
    ]


class _Events(StreamingResponse):
    """Event stream of one listener, which is counted until the response ends, however it ends."""

    def __init__(self, live: Live) -> None:
        super().__init__(live.events(), media_type="text/event-stream", headers=NO_CACHE)
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._live.leave()


async def _unreadable(_: Request, error: Exception) -> Response:
    _log.warning("page: the ledger cannot be read: %s", error)
    return _busy(f"The ledger cannot be read: {error}")


def _not_found(sentence: str = "Not found.") -> Response:
    return PlainTextResponse(f"{sentence}\n", 404)


def _busy(sentence: str) -> Response:
    headers = {"retry-after": RETRY_SECONDS}
    return PlainTextResponse(f"{sentence} Try again.\n", 503, headers=headers)

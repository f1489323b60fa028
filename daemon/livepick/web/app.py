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
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import (
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
from livepick.web.embedded_pictures import read_picture
from livepick.web.guard import Guard
from livepick.web.live_updates import Live
from livepick.web.micrograph_view import candidates_json, tile_of
from livepick.web.page import NEWEST, SECTIONS, Sections, Sources
from livepick.web.page_thread import PageThread
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

MOST_SEARCHED = 500
"""Maximum length of a text to search for; a file name has at most 255 bytes."""

MOST_DIGITS = 18
"""Maximum number of digits of a number in a path, so that it fits into 64 bits."""

_log = logging.getLogger(__name__)

IMMUTABLE = {"cache-control": "private, max-age=86400, immutable"}
"""Headers for responses that are addressed by their content."""

NO_CACHE = {"cache-control": "no-cache"}

EVENT_STREAM = "text/event-stream"


class _Number(Convertor[int]):
    """A number in a path. Starlette's own takes any number of digits, and fails beyond 4300."""

    regex = f"[0-9]{{1,{MOST_DIGITS}}}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())


@dataclass(frozen=True, slots=True)
class App:
    """The ASGI application, and the parts to close at the end."""

    asgi: ASGIApp
    local: ASGIApp
    """The same for this machine's own programs: any name, and no password."""
    live: Live
    page_thread: PageThread

    def close(self) -> None:
        """End all event streams, and the thread that renders the page."""
        self.live.close()
        self.page_thread.stop()


def create_app(
    metrics: Metrics,
    sources: Sources,
    submit: Submit,
    *,
    guard: Callable[[ASGIApp], ASGIApp] = Guard,
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
    guard
        Middleware that every request passes first.
    unexpected
        Counts the unexpected errors that are passed over.
    """
    counter = unexpected or UnexpectedErrors()
    sections = Sections(sources)
    page_thread = PageThread()
    live = Live(sections, page_thread, counted=metrics.web.event_streams)

    async def failed(request: Request, error: Exception) -> Response:
        counter.passed_over("page", request.url.path[:MOST_SHOWN], error)
        return PlainTextResponse("This part of the page cannot be shown; see the log.\n", 500)

    routes = [
        *_for_programs(metrics, sources, sections, page_thread),
        *_page(sections, live, page_thread),
        *_micrographs(sections, sources, page_thread),
        *_pictures(sources, Thumbnails(sources.ledger, sources.config, submit), page_thread),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={LedgerError: _unreadable, TimeoutError: _late, Exception: failed},
    )
    app.router.redirect_slashes = False  # a redirect names the host, which a proxy has replaced
    return App(guard(app), Guard(app, accepts_host=None), live, page_thread)


# What reads the ledger or a disk runs in the page's thread; metrics and health check do not.


def _for_programs(
    metrics: Metrics, sources: Sources, sections: Sections, page_thread: PageThread
) -> list[Route]:
    """Return the routes for programs: metrics, health check and headline."""

    async def metrics_text(_: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    async def healthz(_: Request) -> Response:
        state = sources.health()
        body = {"ok": state.ok, "seconds_since": state.seconds_since}
        return JSONResponse(body, status_code=200 if state.ok else 503)

    async def headline(_: Request) -> Response:
        try:
            top, status_code = await page_thread.call(sections.headline, urgent=True), 200
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


def _page(sections: Sections, live: Live, page_thread: PageThread) -> list[Route]:
    """Return the routes of the page, its parts, its search and its change events."""

    async def index(_: Request) -> Response:
        return HTMLResponse(await page_thread.call(sections.page), headers=NO_CACHE)

    async def section(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in SECTIONS:
            return _not_found()
        parts = await page_thread.call(sections.parts)
        return HTMLResponse(parts[name], headers=NO_CACHE)

    async def events(request: Request) -> Response:
        # An error here refuses the stream, so that the page does not look live.
        await page_thread.call(sections.parts)
        if request.method == "HEAD":
            return Response(media_type=EVENT_STREAM, headers=NO_CACHE)
        # Counted here: of many simultaneous requests, none has begun to listen yet.
        if not live.enter():
            return _busy("Too many browsers have this page open.")
        return _Events(live)

    async def search(request: Request) -> Response:
        text = request.query_params.get("name", "").strip()
        if len(text) > MOST_SEARCHED:
            return PlainTextResponse(f"Search for at most {MOST_SEARCHED} characters.\n", 414)
        whole = "part" not in request.query_params
        html = await page_thread.call(lambda: sections.found(text, whole=whole))
        return HTMLResponse(html, headers=NO_CACHE)

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


def _micrographs(sections: Sections, sources: Sources, page_thread: PageThread) -> list[Route]:
    """Return the routes of a micrograph's full view."""

    async def micrograph(request: Request) -> Response:
        whole = "part" not in request.query_params
        number: int = request.path_params["id"]
        html = await page_thread.call(lambda: sections.micrograph(number, whole=whole))
        return _not_found() if html is None else HTMLResponse(html, headers=NO_CACHE)

    def candidates_of(number: int) -> dict[str, object] | None:
        ledger, diameter_angstrom = sources.ledger, sources.config().particle.diameter_angstrom
        row = ledger.get(number)
        tile = None if row is None else tile_of(row, ledger, diameter_angstrom)
        if tile is None:
            return None
        return candidates_json(tile, ledger, ledger.latest(NEWEST, picked=True))

    async def candidates(request: Request) -> Response:
        found = await page_thread.call(candidates_of, request.path_params["id"])
        return _not_found() if found is None else JSONResponse(found, headers=NO_CACHE)

    return [
        Route("/micrographs/{id:number}", micrograph),
        Route("/micrographs/{id:number}/candidates", candidates),
    ]


def _pictures(sources: Sources, thumbnails: Thumbnails, page_thread: PageThread) -> list[Route]:
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
        why = await page_thread.call(thumbnails.why_not, request.path_params["id"], kind)
        return PlainTextResponse(why, headers=NO_CACHE)

    def classes_picture(version: int) -> bytes:
        folder = sources.config().state.directory / MODELS / bundle_name(version)
        return read_picture(folder / CLASSES)

    async def classes(request: Request) -> Response:
        png = await page_thread.call(classes_picture, request.path_params["version"])
        return Response(png, media_type="image/png", headers=IMMUTABLE) if png else _not_found()

    return [
        Route("/micrographs/{id:number}/{kind}.png", picture),
        Route("/micrographs/{id:number}/{kind}.txt", why_not),
        Route("/models/{version:number}/classes.png", classes),
    ]


class _Events(StreamingResponse):
    """Event stream of one listener, which is counted until the response ends, however it ends."""

    def __init__(self, live: Live) -> None:
        super().__init__(live.events(), media_type=EVENT_STREAM, headers=NO_CACHE)
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._live.leave()


async def _unreadable(_: Request, error: Exception) -> Response:
    _log.warning("page: the ledger cannot be read: %s", error)
    return _busy(f"The ledger cannot be read: {error}")


async def _late(_: Request, __: Exception) -> Response:
    return _busy("The ledger does not answer; a disk may hang.")


def _not_found(sentence: str = "Not found.") -> Response:
    return PlainTextResponse(f"{sentence}\n", 404)


def _busy(sentence: str) -> Response:
    headers = {"retry-after": RETRY_SECONDS}
    return PlainTextResponse(f"{sentence} Try again.\n", 503, headers=headers)

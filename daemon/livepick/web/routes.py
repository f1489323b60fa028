"""Routes of the web application, and what each of them answers.

What reads the ledger or a disk runs in the page's thread; metrics and health check do not.
"""

import contextlib
import functools
from typing import Final, get_args

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
from starlette.types import Receive, Scope, Send

from livepick.classes.class_folders import picture_of
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.class_averages import CLASSES as CLASS_AVERAGES
from livepick.core.contracts.job import ImageKind
from livepick.errors import LedgerError
from livepick.host.foreign_files import read_bounded
from livepick.models.registry import MODELS
from livepick.monitoring.headline import Headline
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.metrics.instruments import CONTENT_TYPE
from livepick.monitoring.metrics.scrapes import SCRAPE_HEADER
from livepick.web.client import HEADLINE
from livepick.web.embedded_pictures import read_picture
from livepick.web.filter_query import MOST_SEARCHED, FilterQuery, not_a_time, unix_seconds
from livepick.web.host_header import other_port
from livepick.web.live_updates import Live
from livepick.web.micrograph_pages import MicrographPages
from livepick.web.micrograph_view import candidates_json, tile_of
from livepick.web.page import NEWEST, SECTIONS, WHOLE, Sections, Sources, Span
from livepick.web.page_thread import PageThread
from livepick.web.responses import IMMUTABLE, NO_CACHE, busy, not_found
from livepick.web.static_files import PAGE_FILES, static_routes
from livepick.web.thumbnails import NoPictureError, Thumbnails
from livepick.web.training_view import CLASSES

__all__ = [
    "for_micrographs",
    "for_page",
    "for_pictures",
    "for_programs",
    "for_report",
    "for_timeline",
]

MOST_DIGITS = 18
"""Maximum number of digits of a number in a path, so that it fits into 64 bits."""

EVENT_STREAM = "text/event-stream"

MOST_REPORT_BYTES = 100 << 20
"""Maximum size of a closing report; one has some megabytes."""

REPORT_HEADERS: Final = NO_CACHE | {
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; img-src data:;"
    " style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
}
"""Headers of the report, whose own policy restricts it further. Others may be able to write to its
folder, so the sandbox keeps it apart from the page."""


class _Number(Convertor[int]):
    """A number in a path. Starlette's own takes any number of digits, and fails beyond 4300."""

    regex = f"[0-9]{{1,{MOST_DIGITS}}}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())


def for_programs(
    metrics: Metrics, sources: Sources, sections: Sections, page_thread: PageThread
) -> list[Route]:
    """Return the routes for programs: metrics, health check and headline."""

    async def metrics_text(request: Request) -> Response:
        text = metrics.exposition()
        if SCRAPE_HEADER in request.headers:
            metrics.scrapes.scraped()
        return Response(text, media_type=CONTENT_TYPE)

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


def for_page(sections: Sections, live: Live, page_thread: PageThread) -> list[Route]:
    """Return the routes of the page, its parts, its search and its change events."""

    async def index(request: Request) -> Response:
        html = await page_thread.call(sections.page, functools.partial(other_port, request))
        return HTMLResponse(html, headers=NO_CACHE)

    async def section(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in SECTIONS:
            return not_found()
        parts = await page_thread.call(sections.parts)
        return HTMLResponse(parts[name], headers=NO_CACHE)

    async def events(request: Request) -> Response:
        # An error here refuses the stream, so that the page does not look live.
        await page_thread.call(sections.parts)
        if request.method == "HEAD":
            return Response(media_type=EVENT_STREAM, headers=NO_CACHE)
        # Counted here: of many simultaneous requests, none has begun to listen yet.
        if not live.enter():
            return busy("Too many browsers have this page open.")
        return _Events(live)

    return [
        Route("/", index),
        Route("/sections/{name}", section),
        Route("/events", events),
        *static_routes(PAGE_FILES),
    ]


def for_report(sources: Sources, page_thread: PageThread) -> list[Route]:
    """Return the route of the closing report of a session that is over."""

    def read() -> bytes | None:
        end = sources.status().end
        if end is None or end.report is None:
            return None
        with contextlib.suppress(OSError):
            return read_bounded(end.report, limit_bytes=MOST_REPORT_BYTES)
        return None

    async def report(_: Request) -> Response:
        html = await page_thread.call(read)
        if html is None:
            return not_found("There is no closing report: the session goes on, or it was moved.")
        return HTMLResponse(html, headers=REPORT_HEADERS)

    return [Route("/report", report)]


def for_timeline(sections: Sections, page_thread: PageThread) -> list[Route]:
    """Return the route of the plots over time."""

    async def timeline(request: Request) -> Response:
        span = _span(request)
        if isinstance(span, Response):
            return span
        data = await page_thread.call(sections.timeline, span)
        return Response(data, headers=NO_CACHE, media_type="application/json")

    return [Route("/timeline.json", timeline)]


def _span(request: Request) -> Span | Response:
    """Return the span of time in a query, or the answer to one that has none."""
    ends = list(WHOLE)
    for n, name in enumerate(("from", "until")):
        text = request.query_params.get(name, "").strip()
        try:
            if text:
                ends[n] = unix_seconds(text)
        except ValueError:
            return PlainTextResponse(f"{not_a_time(name)}.\n", 400)
    return ends[0], ends[1]


def for_micrographs(
    pages: MicrographPages, sources: Sources, page_thread: PageThread
) -> list[Route]:
    """Return the routes of a micrograph's full view, the search, and the list of a span."""

    async def search(request: Request) -> Response:
        text = request.query_params.get("name", "").strip()
        if len(text) > MOST_SEARCHED:
            return PlainTextResponse(f"Search for at most {MOST_SEARCHED} characters.\n", 414)
        whole = "part" not in request.query_params
        html = await page_thread.call(lambda: pages.found(text, whole=whole))
        return HTMLResponse(html, headers=NO_CACHE)

    async def between(request: Request) -> Response:
        span = _span(request)
        if isinstance(span, Response):
            return span
        whole = "part" not in request.query_params
        html = await page_thread.call(lambda: pages.between(span, whole=whole))
        return HTMLResponse(html, headers=NO_CACHE)

    async def micrograph(request: Request) -> Response:
        whole = "part" not in request.query_params
        number: int = request.path_params["id"]
        query = FilterQuery.of(request.query_params)
        html = await page_thread.call(lambda: pages.micrograph(number, query, whole=whole))
        return not_found() if html is None else HTMLResponse(html, headers=NO_CACHE)

    def candidates_of(number: int) -> dict[str, object] | None:
        ledger, diameter_angstrom = sources.ledger, sources.config().particle.diameter_angstrom
        row = ledger.get(number)
        tile = None if row is None else tile_of(row, ledger, diameter_angstrom)
        if tile is None:
            return None
        return candidates_json(tile, ledger, ledger.latest(NEWEST, picked=True))

    async def candidates(request: Request) -> Response:
        found = await page_thread.call(candidates_of, request.path_params["id"])
        return not_found() if found is None else JSONResponse(found, headers=NO_CACHE)

    return [
        Route("/search", search),
        Route("/between", between),
        Route("/micrographs/{id:number}", micrograph),
        Route("/micrographs/{id:number}/candidates", candidates),
    ]


def for_pictures(sources: Sources, thumbnails: Thumbnails, page_thread: PageThread) -> list[Route]:
    """Return the routes of pictures, by the number of a micrograph or of a model."""

    async def picture(request: Request) -> Response:
        kind: ImageKind = request.path_params["kind"]
        if kind not in get_args(ImageKind):
            return not_found()
        try:
            png = await thumbnails.get(request.path_params["id"], kind)
        except NoPictureError as error:
            return busy(str(error)) if error.passing else not_found(str(error))
        return Response(png, media_type="image/png", headers=IMMUTABLE)

    async def why_not(request: Request) -> Response:
        kind: ImageKind = request.path_params["kind"]
        if kind not in get_args(ImageKind):
            return not_found()
        why = await page_thread.call(thumbnails.why_not, request.path_params["id"], kind)
        return PlainTextResponse(why, headers=NO_CACHE)

    def classes_picture(version: int) -> bytes:
        folder = sources.config().state.directory / MODELS / bundle_name(version)
        return read_picture(folder / CLASSES)

    async def classes(request: Request) -> Response:
        png = await page_thread.call(classes_picture, request.path_params["version"])
        return Response(png, media_type="image/png", headers=IMMUTABLE) if png else not_found()

    def averages_picture(number: int) -> bytes:
        return read_picture(picture_of(sources.config().state.directory / CLASS_AVERAGES, number))

    async def averages(request: Request) -> Response:
        png = await page_thread.call(averages_picture, request.path_params["number"])
        return Response(png, media_type="image/png", headers=IMMUTABLE) if png else not_found()

    return [
        Route("/classes/{number:number}.png", averages),
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

"""Routes of the list of micrographs, and of what can be downloaded from it.

Files of the output folder are sent as they are. The others are made from the ledger piece by piece,
in a thread of their own: a large download delays neither the page nor a scrape.
"""

import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from email.utils import formatdate
from pathlib import PurePath
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from livepick.errors import MicrographError
from livepick.ledger.micrograph_filter import MicrographFilter
from livepick.picking.downloads import PICK_FORMATS, Downloads
from livepick.picking.micrograph_table import CSV
from livepick.web.attachment import attachment
from livepick.web.filter_query import FilterQuery
from livepick.web.micrograph_list import list_html
from livepick.web.page import Sources
from livepick.web.page_thread import PageThread
from livepick.web.responses import NO_CACHE, busy, not_found
from livepick.web.session_files import OpenedFile, open_file, session_files
from livepick.web.session_report import collect, to_html

__all__ = ["for_downloads", "for_list"]

MOST_DOWNLOADS = 4
"""Maximum number of downloads at a time."""

_MEDIA_TYPES: Final = {
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".star": "text/plain; charset=utf-8",
    ".zip": "application/zip",
}

REPORT = "report.html"


def for_list(
    sources: Sources, page_thread: PageThread, *, has_actions: bool = False
) -> list[Route]:
    """Return the routes of the list of micrographs that pass a filter."""
    filtered = sources.queries.filtered

    async def micrographs(request: Request) -> Response:
        query = FilterQuery.of(request.query_params)

        def html() -> str:
            return list_html(
                query,
                filtered,
                session=sources.config().session.name,
                total=filtered.totals(MicrographFilter()).micrographs,
                now=time.time(),
                has_actions=has_actions,
            )

        status = 400 if query.faults else 200
        return HTMLResponse(await page_thread.call(html), status, NO_CACHE)

    async def numbers(request: Request) -> Response:
        query = FilterQuery.of(request.query_params)
        if query.faults:
            return _fault(query)
        ranges = await page_thread.call(filtered.ranges, query.chosen)
        words = (f"{first}-{last}" if last > first else str(first) for first, last in ranges)
        return PlainTextResponse(",".join(words), headers=NO_CACHE)

    return [Route("/micrographs", micrographs), Route("/micrographs/numbers", numbers)]


def for_downloads(
    sources: Sources, thread: PageThread, downloads: Callable[[], Downloads]
) -> list[Route]:
    """Return the routes of downloads.

    Parameters
    ----------
    sources
        Data sources of the page.
    thread
        Thread that makes the downloads.
    downloads
        Function that returns their source; called in that thread.
    """
    routes = _Routes(sources, thread, downloads)
    return [
        Route("/download", routes.download),
        Route("/files/{name:path}", routes.file),
        Route(f"/{REPORT}", routes.report),
        Route("/micrographs/{id:number}/picks", routes.picks),
    ]


class _Routes:
    """The answers to requests for downloads."""

    def __init__(
        self, sources: Sources, thread: PageThread, downloads: Callable[[], Downloads]
    ) -> None:
        self._sources = sources
        self._thread = thread
        self._downloads = downloads
        self._limit = _Limit()

    async def download(self, request: Request) -> Response:
        """Send a file about the micrographs that pass a filter, or that are selected."""
        query, kind = FilterQuery.of(request.query_params), request.query_params.get("as", "")
        if query.faults:
            return _fault(query)
        if kind not in _KINDS and kind not in PICK_FORMATS:
            return _unknown((*_KINDS, *PICK_FORMATS))
        chosen = _chosen(query, request.query_params.get("which", ""))
        if chosen is None:
            return PlainTextResponse("No micrograph is selected.\n", 400)
        name = _name(kind, is_whole=chosen.is_empty)
        return await self._stream(
            request, lambda: _source(self._downloads(), chosen, kind), self._headers(name), name
        )

    async def picks(self, request: Request) -> Response:
        """Send the coordinates file of one micrograph."""
        kind, number = request.query_params.get("as", ""), request.path_params["id"]
        if kind not in PICK_FORMATS:
            return _unknown(PICK_FORMATS)
        try:
            found = await self._thread.call(lambda: self._downloads().picks(number, kind))
        except MicrographError as error:
            return PlainTextResponse(f"{error}\n", 409)
        if found is None:
            return not_found("The micrograph has no picks.")
        name, content = found
        return Response(content, 200, self._headers(name), _media_type(name))

    async def file(self, request: Request) -> Response:
        """Send a file of the output folder as it is, with the time at which it was written."""
        name = request.path_params["name"]
        if name == CSV:  # the file may be a minute older than the ledger, and has the same bytes
            return await self._stream(
                request,
                lambda: self._downloads().table(MicrographFilter()),
                self._headers(name),
                name,
            )
        if self._limit.is_reached:
            return self._limit.answer()

        def opening() -> OpenedFile | None:
            return open_file(session_files(self._sources.config(), self._downloads()), name)

        opened = await self._thread.call(opening)
        if opened is None:
            return not_found("There is no such file in the output folder.")
        headers = self._headers(PurePath(name).name) | {
            "etag": opened.tag,
            "last-modified": formatdate(opened.written_at, usegmt=True),
        }
        if request.headers.get("if-none-match") == opened.tag:
            opened.close()
            return Response(None, 304, headers)
        headers["content-length"] = str(opened.size_bytes)
        if request.method == "HEAD":
            opened.close()
        return await self._stream(request, opened.pieces, headers, name)

    async def report(self, request: Request) -> Response:
        """Send a session report as of now; without pictures of micrographs, which take long."""

        def pieces() -> Iterator[bytes]:
            config, text = self._sources.config(), self._sources.settings_text()
            yield to_html(collect(config, text, pictures=False))

        name = "session_report.html"
        return await self._stream(request, pieces, self._headers(name), name)

    def _headers(self, name: str) -> dict[str, str]:
        return NO_CACHE | attachment(self._sources.config().session.name, name)

    async def _stream(
        self,
        request: Request,
        source: Callable[[], Iterator[bytes]],
        headers: dict[str, str],
        name: str,
    ) -> Response:
        """Return an answer with the bytes of a source, which is called in the thread."""
        media_type = _media_type(name)
        if request.method == "HEAD":
            return Response(None, 200, headers, media_type)
        if self._limit.is_reached:
            return self._limit.answer()
        pieces = await self._thread.call(source)
        # The first piece before the answer begins, so that a fault gets its own answer.
        first = await self._thread.call(next, pieces, b"")
        return _Stream(self._rest(first, pieces), headers, media_type, self._limit)

    async def _rest(self, first: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        try:
            piece = first
            while piece:
                yield piece
                piece = await self._thread.call(next, pieces, b"")
        finally:
            self._thread.soon(getattr(pieces, "close", lambda: None))


class _Limit:
    """Limit of the downloads at a time."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def is_reached(self) -> bool:
        """True if another download would be too many."""
        return self.count >= MOST_DOWNLOADS

    def answer(self) -> Response:
        """Return the answer to another one."""
        return busy("Too many downloads at a time.")


class _Stream(StreamingResponse):
    """A download, which is counted until it ends, however it ends."""

    def __init__(
        self, pieces: AsyncIterator[bytes], headers: dict[str, str], media_type: str, limit: _Limit
    ) -> None:
        super().__init__(pieces, 200, headers, media_type)
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._limit.count += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._limit.count -= 1


_KINDS: Final = {
    "micrographs": "micrographs.csv",
    "particles": "particles.star",
    "good_particles": "good_particles.star",
}
"""Files with all of the micrographs, by their name in an address."""


def _source(downloads: Downloads, chosen: MicrographFilter, kind: str) -> Iterator[bytes]:
    if kind == "micrographs":
        return downloads.table(chosen)
    if kind == "particles":
        return downloads.particles(chosen)
    if kind == "good_particles":
        return downloads.particles(_only_good(chosen))
    return downloads.archive(chosen, kind)


def _only_good(chosen: MicrographFilter) -> MicrographFilter:
    """Return the filter that only good micrographs pass, of those that pass another one."""
    if chosen.verdicts and "good" not in chosen.verdicts:
        return dataclasses.replace(chosen, ids=())
    return dataclasses.replace(chosen, verdicts=("good",))


def _chosen(query: FilterQuery, which: str) -> MicrographFilter | None:
    """Return the filter of a download; None if the selection is empty."""
    chosen = query.chosen
    if which == "selected":
        return MicrographFilter(ids=chosen.ids) if chosen.ids else None
    return chosen if which == "" else dataclasses.replace(chosen, ids=None)


def _name(kind: str, *, is_whole: bool) -> str:
    if kind in _KINDS:
        stem, _, suffix = _KINDS[kind].rpartition(".")
        return f"{stem}{'' if is_whole else '_of_some'}.{suffix}"
    return f"picks_{kind}{'' if is_whole else '_of_some'}.zip"


def _media_type(name: str) -> str:
    return _MEDIA_TYPES.get(PurePath(name).suffix, "application/octet-stream")


def _fault(query: FilterQuery) -> Response:
    return PlainTextResponse("".join(f"{fault}\n" for fault in query.faults), 400)


def _unknown(known: Collection[str]) -> Response:
    return PlainTextResponse(f"as must be one of {', '.join(known)}.\n", 400)

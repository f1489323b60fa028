"""Web application: the page, the metrics and the health check on one port.

It is read-only unless ``web.actions`` lets people who have signed in change settings: otherwise
only GET and HEAD are served, and to control livepick one edits its config or runs its commands.
File names come from other programs and are escaped; nothing is loaded from other hosts. Micrographs
are addressed by their number in the ledger, never by a path. The whole page is readable without
JavaScript; the script keeps it up to date, and lets the reader try a threshold.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    PlainTextResponse,
    Response,
)
from starlette.types import ASGIApp

from livepick.errors import LedgerError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.monitoring.metrics.exporter import Metrics
from livepick.picking.promote_by_person import TRY_SECONDS
from livepick.web.action_pages import ActionPages
from livepick.web.action_routes import ActionRoutes
from livepick.web.config_actions import actions_on_config
from livepick.web.download_routes import for_downloads, for_list
from livepick.web.guard import Guard
from livepick.web.live_updates import Live
from livepick.web.micrograph_pages import MicrographPages
from livepick.web.model_actions import ChooseModel
from livepick.web.page import Sections, Sources
from livepick.web.page_thread import WAIT_SECONDS, PageThread
from livepick.web.proposal import Action
from livepick.web.responses import busy
from livepick.web.routes import (
    for_micrographs,
    for_page,
    for_pictures,
    for_programs,
    for_report,
    for_timeline,
)
from livepick.web.session_figures import for_overview
from livepick.web.sign_in import SignIns
from livepick.web.sign_in_routes import SignInRoutes
from livepick.web.static_files import ACTION_FILES, static_routes
from livepick.web.thumbnails import Submit, Thumbnails
from livepick.web.verdict_action import JudgeMicrograph

__all__ = ["ActionSources", "App", "create_app"]

MOST_SHOWN = 200
"""Maximum number of characters of a requested path in the log."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class App:
    """The ASGI application, and the parts to close at the end."""

    asgi: ASGIApp
    local: ASGIApp
    """The same for this machine's own programs: any name, and no password."""
    live: Live
    page_thread: PageThread
    download_thread: PageThread
    action_thread: PageThread

    def close(self) -> None:
        """End all event streams, and the threads that make the page and the downloads."""
        self.live.close()
        self.page_thread.stop()
        self.download_thread.stop()
        self.action_thread.stop()


@dataclass(frozen=True, slots=True)
class ActionSources:
    """Objects that changes on the page need."""

    config_file: Path
    sign_ins: SignIns

    def actions(self, sources: Sources) -> dict[str, Action]:
        """Return all actions by their names."""
        return {
            **actions_on_config(self.config_file, sources),
            "model": ChooseModel(sources),
            "micrograph": JudgeMicrograph(sources),
        }


def create_app(
    metrics: Metrics,
    sources: Sources,
    submit: Submit,
    *,
    guard: Callable[[ASGIApp], ASGIApp] = Guard,
    unexpected: UnexpectedErrors | None = None,
    acting: ActionSources | None = None,
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
    acting
        Sources of what people may change; None: the page is read-only.
    """
    sections = Sections(sources, has_actions=acting is not None)
    page_thread, download_thread = PageThread(), PageThread("downloads")
    # A model is tested before it is promoted, which may take this long.
    action_thread = PageThread("actions", TRY_SECONDS + WAIT_SECONDS)
    page_thread.soon(sections.prepare)
    live = Live(sections, page_thread, counted=metrics.web.event_streams)
    routes = [
        *for_programs(metrics, sources, sections, page_thread),
        *for_page(sections, live, page_thread),
        *for_report(sources, page_thread),
        *for_timeline(sections, page_thread),
        *for_overview(sections, sources, page_thread),
        *for_list(sources, page_thread, has_actions=acting is not None),
        *for_downloads(sources, download_thread, sections.downloads),
        *for_micrographs(
            MicrographPages(sources, has_actions=acting is not None), sources, page_thread
        ),
        *for_pictures(sources, Thumbnails(sources.ledger, sources.config, submit), page_thread),
    ]
    if acting is not None:
        actions = acting.actions(sources)
        pages = ActionPages(sources.config().web, acting.sign_ins, sources)
        routes += [
            *static_routes(ACTION_FILES),
            *SignInRoutes(pages, actions).routes(),
            *ActionRoutes(pages, actions, sources, action_thread).routes(),
        ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            LedgerError: _unreadable,
            TimeoutError: _late,
            Exception: _counted_by(unexpected or UnexpectedErrors()),
        },
    )
    app.router.redirect_slashes = False  # a redirect names the host, which a proxy has replaced
    return App(
        guard(app), Guard(app, accepts_host=None), live, page_thread, download_thread, action_thread
    )


async def _unreadable(_: Request, error: Exception) -> Response:
    _log.warning("page: the ledger cannot be read: %s", error)
    return busy(f"The ledger cannot be read: {error}")


async def _late(_: Request, __: Exception) -> Response:
    return busy("The ledger does not answer; a disk may hang.")


def _counted_by(
    unexpected: UnexpectedErrors,
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def failed(request: Request, error: Exception) -> Response:
        unexpected.passed_over("page", request.url.path[:MOST_SHOWN], error)
        return PlainTextResponse("This part of the page cannot be shown; see the log.\n", 500)

    return failed

"""Routes for people who change something: signing in, forms, the change to confirm, the history.

A change takes two requests. The first one (``propose``) changes nothing and shows the change; the
second one (``confirm``) makes it if what it changes is still the same. All of these pages work
without JavaScript.
"""

import hmac
import logging
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from livepick.config.edit_history import read_edits
from livepick.config.web_section import Web
from livepick.core.formats.header import printable
from livepick.errors import LivepickError
from livepick.web.forms import Form, FormRefusedError, comes_from, read_form
from livepick.web.jinja import render_template
from livepick.web.page import Sources
from livepick.web.page_thread import PageThread
from livepick.web.proposal import Action, ActionError, ConflictError, Proposal, one
from livepick.web.responses import not_found
from livepick.web.session_cookie import SessionCookie
from livepick.web.sign_in import MOST_NAME, Refusal, SignIns, Visit

__all__ = ["ACTION_HEADERS", "ActionRoutes"]

SHOWN_EDITS = 20
"""Number of latest edits in the history."""

ACTION_HEADERS: Mapping[str, str] = {"cache-control": "no-store"}
"""Headers of answers that have the text of a form for one person."""

CHANGED_SINCE = (
    "This was changed by somebody else since you saw it. Nothing was changed now; below is the"
    " change to what is there now."
)

NEEDS_CONSENT = "A training is in progress. Say that it may end, or leave this change."

REFUSALS: Mapping[Refusal, tuple[HTTPStatus, str]] = {
    "wrong": (HTTPStatus.FORBIDDEN, "This is not the token."),
    "too many": (
        HTTPStatus.TOO_MANY_REQUESTS,
        "There were too many wrong tokens. Try again in a minute.",
    ),
    "no token": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Nobody can sign in: the file with the token cannot be used; see the log of the service.",
    ),
}

_log = logging.getLogger(__name__)

Handler = Callable[[Request, Visit], Awaitable[Response]]


class ActionRoutes:
    """The pages of actions.

    Parameters
    ----------
    web
        Settings of the page.
    actions
        Actions by the name in their address.
    sign_ins
        People who are signed in.
    sources
        Data sources of the page.
    page_thread
        Thread that reads and writes files, one request after another.
    """

    def __init__(
        self,
        web: Web,
        actions: Mapping[str, Action],
        sign_ins: SignIns,
        sources: Sources,
        page_thread: PageThread,
    ) -> None:
        self._web = web
        self._actions = actions
        self._sign_ins = sign_ins
        self._sources = sources
        self._thread = page_thread
        self._cookie = SessionCookie(web, sources.config().state.directory)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/actions", self._overview),
            Route("/actions/sign-in", self._form_of(self._sign_in), methods=["POST"]),
            Route("/actions/sign-out", self._for_visitors(self._sign_out), methods=["POST"]),
            Route("/actions/{name}", self._form),
            Route("/actions/{name}/propose", self._for_visitors(self._propose), methods=["POST"]),
            Route("/actions/{name}/confirm", self._for_visitors(self._confirm), methods=["POST"]),
        ]

    # --- signing in and out ------------------------------------------------------------------

    def _visit(self, request: Request) -> Visit | None:
        return self._sign_ins.visit(self._cookie.read(request))

    async def _sign_in(self, request: Request, form: Form) -> Response:
        name = " ".join(printable(one(form, "name")).split())
        back = one(form, "back")
        address = request.client.host if request.client is not None else ""
        if not name or len(name) > MOST_NAME:
            sentence = f"Give your name, at most {MOST_NAME} characters: the history shows it."
            return self._signed_out(request, HTTPStatus.BAD_REQUEST, sentence, back=back)
        found = self._sign_ins.sign_in(one(form, "token"), name, address)
        if not isinstance(found, tuple):
            status, sentence = REFUSALS[found]
            _log.warning("page: sign-in refused (%s) from %s", found, printable(address))
            answer = self._signed_out(request, status, sentence, name=name, back=back)
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                answer.headers["retry-after"] = "60"
            return answer
        cookie, _ = found
        _log.info("page: %s signed in from %s", name, printable(address))
        action, _, query = back.partition("?")
        place = f"/{action}" if action in self._actions else ""
        if place and query:
            place += f"?{urllib.parse.urlencode(urllib.parse.parse_qsl(query))}"
        answer = _to(f"../actions{place}")
        self._cookie.set(answer, cookie, request)
        return answer

    async def _sign_out(self, request: Request, form: Form, visit: Visit) -> Response:  # noqa: ARG002
        self._sign_ins.sign_out(visit)
        _log.info("page: %s signed out", visit.name)
        answer = _to("../actions")
        self._cookie.remove(answer, request)
        return answer

    def _signed_out(
        self,
        request: Request,
        status: HTTPStatus = HTTPStatus.OK,
        sentence: str = "",
        *,
        name: str = "",
        back: str = "",
    ) -> Response:
        return self._page(
            request, "actions_sign_in.html", None, status, sentence=sentence, name=name, back=back
        )

    # --- forms -------------------------------------------------------------------------------

    async def _overview(self, request: Request) -> Response:
        visit = self._visit(request)
        if visit is None:
            return self._signed_out(request)
        edits = await self._thread.call(self._edits)
        return self._page(
            request,
            "actions.html",
            visit,
            done=request.query_params.get("done", "")[:20],
            edits=edits,
            undone={edit.undoes for edit in edits},
        )

    def _edits(self) -> list[Any]:
        return read_edits(self._sources.config().state.directory)[: -SHOWN_EDITS - 1 : -1]

    async def _form(self, request: Request) -> Response:
        name = request.path_params["name"]
        action = self._actions.get(name)
        if action is None:
            return not_found()
        visit = self._visit(request)
        if visit is None:
            return self._signed_out(request, back=f"{name}?{request.url.query}")
        given: Form = {}
        for key, value in request.query_params.multi_items():
            given.setdefault(key, []).append(value)
        if given:  # a link of the page with a value, which the person has chosen there
            return await self._proposed(request, name, given, visit)
        if not action.template:
            return _to("../actions")
        return await self._form_page(request, name, given, visit)

    async def _form_page(
        self,
        request: Request,
        name: str,
        given: Form,
        visit: Visit,
        error: LivepickError | None = None,
    ) -> Response:
        action = self._actions[name]
        status = HTTPStatus.OK
        if error is not None:
            is_conflict = isinstance(error, ConflictError)
            status = HTTPStatus.CONFLICT if is_conflict else HTTPStatus.BAD_REQUEST
        values: dict[str, object] = {}
        template = action.template
        try:
            if template:
                values = await self._thread.call(action.form, given)
        except LivepickError as fault:  # the config has a fault, for example
            error, template, status = error or fault, "", HTTPStatus.CONFLICT
        return self._page(
            request,
            template or "actions_error.html",
            visit,
            status,
            error=error,
            action=name,
            **values,
        )

    async def _propose(self, request: Request, form: Form, visit: Visit) -> Response:
        name = request.path_params["name"]
        return await self._proposed(request, name, form, visit)

    async def _proposed(
        self,
        request: Request,
        name: str,
        given: Form,
        visit: Visit,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        warning: str = "",
        proposal: Proposal | None = None,
    ) -> Response:
        action = self._actions.get(name)
        if action is None:
            return not_found()
        if proposal is None:
            try:
                proposal = await self._thread.call(action.propose, given, visit.name)
            except LivepickError as error:
                return await self._form_page(request, name, given, visit, error)
        fields = [(key, value) for key in given if key not in OWN_FIELDS for value in given[key]]
        return self._page(
            request,
            "actions_proposal.html",
            visit,
            status,
            proposal=proposal,
            fields=fields,
            action=name,
            has_form=bool(action.template),
            warning=warning,
        )

    async def _confirm(self, request: Request, form: Form, visit: Visit) -> Response:
        name = request.path_params["name"]
        action = self._actions.get(name)
        if action is None:
            return not_found()
        digest, end_run = one(form, "digest"), one(form, "end_run")

        def make() -> tuple[Proposal, str | None, str]:
            proposal = action.propose(form, visit.name)
            if proposal.digest != digest:
                return proposal, CHANGED_SINCE, ""
            if proposal.ends_run is not None and end_run != str(proposal.ends_run):
                return proposal, NEEDS_CONSENT, ""
            return proposal, None, proposal.make()

        try:
            proposal, warning, done = await self._thread.call(make)
        except LivepickError as error:
            return await self._form_page(request, name, form, visit, error)
        if warning is None:
            return self._page(
                request, "actions_done.html", visit, title=proposal.title, sentence=done
            )
        return await self._proposed(
            request,
            name,
            form,
            visit,
            status=HTTPStatus.CONFLICT,
            warning=warning,
            proposal=proposal,
        )

    # --- what all of them share --------------------------------------------------------------

    def _for_visitors(
        self, handler: Callable[[Request, Form, Visit], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a handler of forms that only people who are signed in can send."""

        async def handle(request: Request, form: Form) -> Response:
            visit = self._visit(request)
            if visit is None:
                return self._signed_out(
                    request,
                    HTTPStatus.UNAUTHORIZED,
                    "You are not signed in any more, so nothing was changed. Sign in, go back in"
                    " your browser, and send the form again.",
                )
            if not _is_same(one(form, "form_token"), visit.form_token):
                raise FormRefusedError(
                    HTTPStatus.FORBIDDEN, "This form is of an earlier sign-in; load its page again"
                )
            return await handler(request, form, visit)

        return self._form_of(handle)

    def _form_of(
        self, handler: Callable[[Request, Form], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a handler of forms that this page itself has sent."""

        async def handle(request: Request) -> Response:
            try:
                if not comes_from(request, self._web):
                    raise FormRefusedError(  # noqa: TRY301 - answered with the others
                        HTTPStatus.FORBIDDEN, "This form was sent by another page"
                    )
                return await handler(request, await read_form(request))
            except (FormRefusedError, ActionError) as error:
                status = getattr(error, "status", HTTPStatus.BAD_REQUEST)
                sentence = error.sentence if isinstance(error, FormRefusedError) else error.what
                return self._page(
                    request,
                    "actions_error.html",
                    None,
                    status,
                    error=ActionError(sentence, "Nothing was changed."),
                    action="",
                )

        return handle

    def _page(
        self,
        request: Request,
        template: str,
        visit: Visit | None,
        status: HTTPStatus = HTTPStatus.OK,
        **values: object,
    ) -> HTMLResponse:
        depth = request.url.path.count("/") - 1
        html = render_template(
            template,
            root="../" * depth,
            session=self._sources.config().session.name,
            visit=visit,
            **values,
        )
        return HTMLResponse(html, status, ACTION_HEADERS)


OWN_FIELDS = frozenset({"form_token", "digest", "end_run"})
"""Fields of the second request, which are not part of what a person asks for."""


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _to(address: str) -> Response:
    """Return a redirect to a page, relative to the present one: a proxy may have moved both."""
    return Response(
        status_code=HTTPStatus.SEE_OTHER, headers={"location": address, **ACTION_HEADERS}
    )

"""Routes for people who change something: forms, the change to confirm, and the history.

A change takes two requests. The first one (``propose``) changes nothing and shows the change; the
second one (``confirm``) makes it if what it changes is still the same. All of these pages work
without JavaScript.
"""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livepick.config.edit_history import RecordedEdit, read_edits
from livepick.errors import LivepickError
from livepick.web.action_pages import ActionPages, redirect_to
from livepick.web.forms import Form
from livepick.web.page import Sources
from livepick.web.page_thread import PageThread
from livepick.web.proposal import Action, ConflictError, Proposal, one
from livepick.web.responses import not_found
from livepick.web.sign_in import Visit

__all__ = ["ActionRoutes"]

SHOWN_EDITS = 20
"""Number of latest edits in the history."""

OWN_FIELDS = frozenset({"form_token", "digest", "end_run"})
"""Fields of the second request, which are not part of what a person asks for."""

CHANGED_SINCE = (
    "This was changed by somebody else since you saw it. Nothing was changed now; below is the"
    " change to what is there now."
)

NEEDS_CONSENT = "A training is in progress. Say that it may end, or leave this change."


class ActionRoutes:
    """The pages of actions.

    Parameters
    ----------
    pages
        The pages of actions.
    actions
        Actions by the name in their address.
    sources
        Data sources of the page.
    page_thread
        Thread that reads and writes files, one request after another.
    """

    def __init__(
        self,
        pages: ActionPages,
        actions: Mapping[str, Action],
        sources: Sources,
        page_thread: PageThread,
    ) -> None:
        self._pages = pages
        self._actions = actions
        self._sources = sources
        self._thread = page_thread

    def routes(self) -> list[Route]:
        """Return the routes."""
        for_visitors = self._pages.for_visitors
        return [
            Route("/actions", self._overview),
            Route("/actions/{name}", self._form),
            Route("/actions/{name}/propose", for_visitors(self._propose), methods=["POST"]),
            Route("/actions/{name}/confirm", for_visitors(self._confirm), methods=["POST"]),
        ]

    async def _overview(self, request: Request) -> Response:
        visit = self._pages.visit(request)
        if visit is None:
            return self._pages.signed_out(request)
        edits = await self._thread.call(self._edits)
        return self._pages.page(
            request,
            "actions.html",
            visit,
            done=request.query_params.get("done", "")[:20],
            edits=edits,
            undone={edit.undoes for edit in edits},
        )

    def _edits(self) -> list[RecordedEdit]:
        return read_edits(self._sources.config().state.directory)[: -SHOWN_EDITS - 1 : -1]

    async def _form(self, request: Request) -> Response:
        name = request.path_params["name"]
        action = self._actions.get(name)
        if action is None:
            return not_found()
        visit = self._pages.visit(request)
        if visit is None:
            return self._pages.signed_out(request, back=f"{name}?{request.url.query}")
        given: Form = {}
        for key, value in request.query_params.multi_items():
            given.setdefault(key, []).append(value)
        if given:  # a link of the page with a value, which the person has chosen there
            return await self._proposed(request, name, given, visit)
        if not action.template:
            return redirect_to("../actions")
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
        return self._pages.page(
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
        return self._pages.page(
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
            return self._pages.page(
                request,
                "actions_done.html",
                visit,
                title=proposal.title,
                sentence=done,
                back=proposal.back,
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

"""Routes on which people sign in and out."""

import logging
import urllib.parse
from collections.abc import Container, Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livepick.core.formats.header import printable
from livepick.web.action_pages import ActionPages, redirect_to
from livepick.web.forms import Form
from livepick.web.proposal import one
from livepick.web.sign_in import MOST_NAME, Refusal, Visit

__all__ = ["SignInRoutes"]

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


class SignInRoutes:
    """The forms with which people sign in and out.

    Parameters
    ----------
    pages
        The pages of actions.
    actions
        Names of the actions, to which a person may return.
    """

    def __init__(self, pages: ActionPages, actions: Container[str]) -> None:
        self._pages = pages
        self._actions = actions

    def routes(self) -> list[Route]:
        """Return the routes."""
        pages = self._pages
        return [
            Route("/actions/sign-in", pages.form_of(self._sign_in), methods=["POST"]),
            Route("/actions/sign-out", pages.for_visitors(self._sign_out), methods=["POST"]),
        ]

    async def _sign_in(self, request: Request, form: Form) -> Response:
        name = " ".join(printable(one(form, "name")).split())
        back = one(form, "back")
        address = request.client.host if request.client is not None else ""
        if not name or len(name) > MOST_NAME:
            sentence = f"Give your name, at most {MOST_NAME} characters: the history shows it."
            return self._pages.signed_out(request, HTTPStatus.BAD_REQUEST, sentence, back=back)
        found = self._pages.sign_ins.sign_in(one(form, "token"), name, address)
        if not isinstance(found, tuple):
            status, sentence = REFUSALS[found]
            _log.warning("page: sign-in refused (%s) from %s", found, printable(address))
            answer = self._pages.signed_out(request, status, sentence, name=name, back=back)
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                answer.headers["retry-after"] = "60"
            return answer
        cookie, _ = found
        _log.info("page: %s signed in from %s", name, printable(address))
        action, _, query = back.partition("?")
        place = f"/{action}" if action in self._actions else ""
        if place and query:
            place += f"?{urllib.parse.urlencode(urllib.parse.parse_qsl(query))}"
        answer = redirect_to(f"../actions{place}")
        self._pages.cookie.set(answer, cookie, request)
        return answer

    async def _sign_out(self, request: Request, form: Form, visit: Visit) -> Response:  # noqa: ARG002
        self._pages.sign_ins.sign_out(visit)
        _log.info("page: %s signed out", visit.name)
        answer = redirect_to("../actions")
        self._pages.cookie.remove(answer, request)
        return answer

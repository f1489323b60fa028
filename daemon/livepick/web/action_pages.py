"""Base of the pages of actions: sign-in, the check of forms, and the layout."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from livepick.config.web_section import Web
from livepick.web.forms import Form, FormRefusedError, comes_from, read_form
from livepick.web.jinja import render_template
from livepick.web.page import Sources
from livepick.web.proposal import ActionError, one
from livepick.web.session_cookie import SessionCookie
from livepick.web.sign_in import SignIns, Visit

__all__ = ["ActionPages", "FormHandler", "VisitorHandler", "redirect_to"]

ACTION_HEADERS: Mapping[str, str] = {"cache-control": "no-store"}
"""Headers of answers that have the text of a form for one person."""

FormHandler = Callable[[Request, Form], Awaitable[Response]]
VisitorHandler = Callable[[Request, Form, Visit], Awaitable[Response]]


class ActionPages:
    """Renders the pages of actions, and checks who sends their forms.

    Parameters
    ----------
    web
        Settings of the page.
    sign_ins
        People who are signed in.
    sources
        Data sources of the page.
    """

    def __init__(self, web: Web, sign_ins: SignIns, sources: Sources) -> None:
        self._web = web
        self._sources = sources
        self.sign_ins = sign_ins
        self.cookie = SessionCookie(web, sources.config().state.directory)

    def visit(self, request: Request) -> Visit | None:
        """Return the visit of the person who sends a request; None: nobody is signed in."""
        return self.sign_ins.visit(self.cookie.read(request))

    def signed_out(
        self,
        request: Request,
        status: HTTPStatus = HTTPStatus.OK,
        sentence: str = "",
        *,
        name: str = "",
        back: str = "",
    ) -> Response:
        """Return the page on which a person signs in.

        Parameters
        ----------
        request
            The request.
        status, sentence
            Status of the answer, and why the person is not signed in.
        name
            Name that the person has given.
        back
            Action and query that the person comes from.
        """
        return self.page(
            request, "actions_sign_in.html", None, status, sentence=sentence, name=name, back=back
        )

    def for_visitors(self, handler: VisitorHandler) -> Callable[[Request], Awaitable[Response]]:
        """Return a handler of forms that only people who are signed in can send."""

        async def handle(request: Request, form: Form) -> Response:
            visit = self.visit(request)
            if visit is None:
                return self.signed_out(
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

        return self.form_of(handle)

    def form_of(self, handler: FormHandler) -> Callable[[Request], Awaitable[Response]]:
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
                return self.page(
                    request,
                    "actions_error.html",
                    None,
                    status,
                    error=ActionError(sentence, "Nothing was changed."),
                    action="",
                )

        return handle

    def page(
        self,
        request: Request,
        template: str,
        visit: Visit | None,
        status: HTTPStatus = HTTPStatus.OK,
        **values: object,
    ) -> HTMLResponse:
        """Return a page, for the person who is signed in."""
        depth = request.url.path.count("/") - 1
        html = render_template(
            template,
            root="../" * depth,
            session=self._sources.config().session.name,
            visit=visit,
            **values,
        )
        return HTMLResponse(html, status, ACTION_HEADERS)


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def redirect_to(address: str) -> Response:
    """Return a redirect to a page, relative to the present one: a proxy may have moved both."""
    return Response(
        status_code=HTTPStatus.SEE_OTHER, headers={"location": address, **ACTION_HEADERS}
    )

"""Reading of forms that change something: their origin, their size, and their fields."""

import asyncio
import urllib.parse
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request

from livepick.config.web_section import Web

__all__ = ["MOST_FIELDS", "MOST_FORM_BYTES", "Form", "FormRefusedError", "comes_from", "read_form"]

MOST_FORM_BYTES = 32 << 10
"""Maximum size of a form."""

MOST_FIELDS = 600
"""Maximum number of its fields: a decision for each of a few hundred classes."""

FORM_SECONDS = 10.0
"""Time for a form to arrive."""

FORM_TYPE: Final = "application/x-www-form-urlencoded"

Form = dict[str, list[str]]
"""Values of a form by the names of its fields."""


class FormRefusedError(Exception):
    """A request is not a form that is accepted."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence


async def read_form(request: Request) -> Form:
    """Return the fields of a form.

    Raises
    ------
    FormRefusedError
        It is too large, too slow, or not a form.
    """
    kinds = request.headers.getlist("content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != FORM_TYPE:
        raise FormRefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send a form as {FORM_TYPE}")
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_FORM_BYTES:
                    raise FormRefusedError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too large"
                    )
    except TimeoutError as error:
        raise FormRefusedError(HTTPStatus.REQUEST_TIMEOUT, "The form came too slowly") from error
    except ClientDisconnect as error:
        raise FormRefusedError(HTTPStatus.BAD_REQUEST, "The form is not complete") from error
    try:
        pairs = urllib.parse.parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError as error:  # also of the encoding
        raise FormRefusedError(HTTPStatus.BAD_REQUEST, "The form cannot be read") from error
    form: Form = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def comes_from(request: Request, web: Web) -> bool:
    """Return True if a form was sent by this page, and not by a page of another origin.

    Browsers say so in ``Origin``, which includes the port, and most of them in ``Sec-Fetch-Site``
    too. At least one of the two is needed, and none may name another origin.
    """
    sites = request.headers.getlist("sec-fetch-site")
    origins = request.headers.getlist("origin")
    if not sites and not origins:
        return False
    if any(site != "same-origin" for site in sites):
        return False
    return len(origins) <= 1 and all(_is_own(origin, request, web) for origin in origins)


def _is_own(origin: str, request: Request, web: Web) -> bool:
    own = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
    if _origin(origin) == _origin(own) is not None:
        return True
    return web.external_url is not None and _origin(origin) == _origin(web.external_url)


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of a URL; None if it is not one."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme]

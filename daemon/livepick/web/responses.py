"""Answers and headers that the routes of the page share."""

from typing import Final

from starlette.responses import PlainTextResponse, Response

__all__ = ["IMMUTABLE", "NO_CACHE", "RETRY_SECONDS", "busy", "not_found"]

RETRY_SECONDS: Final = "3"
"""Pause after which a client that was turned away may try again."""

IMMUTABLE: Final = {"cache-control": "private, max-age=86400, immutable"}
"""Headers for responses that are addressed by their content."""

NO_CACHE: Final = {"cache-control": "no-cache"}


def not_found(sentence: str = "Not found.") -> Response:
    """Return the answer for what does not exist."""
    return PlainTextResponse(f"{sentence}\n", 404)


def busy(sentence: str) -> Response:
    """Return the answer for what may succeed a little later."""
    headers = {"retry-after": RETRY_SECONDS}
    return PlainTextResponse(f"{sentence} Try again.\n", 503, headers=headers)

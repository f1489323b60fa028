"""Answers and headers that the routes of the page share."""

from typing import Final

from starlette.responses import PlainTextResponse, Response

__all__ = ["IMMUTABLE", "NO_CACHE", "busy", "not_found"]

RETRY_SECONDS: Final = "3"
"""Pause after which a client that was turned away may try again."""

IMMUTABLE: Final = {"cache-control": "private, max-age=86400, immutable"}
"""Headers for responses that are addressed by their content."""

NO_CACHE: Final = {"cache-control": "no-cache"}


def not_found(sentence: str = "Not found.") -> Response:
    """Return the answer for what does not exist."""
    return PlainTextResponse(f"{sentence}\n", 404)


def busy(sentence: str, *, closing: bool = False) -> Response:
    """Return the answer for what may succeed a little later.

    Parameters
    ----------
    sentence
        Reason, as a sentence.
    closing
        True to end the connection: requests that wait on it would come too soon.
    """
    headers = {"retry-after": RETRY_SECONDS} | ({"connection": "close"} if closing else {})
    return PlainTextResponse(f"{sentence} Try again.\n", 503, headers=headers)

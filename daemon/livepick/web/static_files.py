"""Files that the pages load and that are the same for every session: styles, scripts, the icon."""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livepick.web.responses import NO_CACHE

__all__ = ["ACTION_FILES", "OVERVIEW_FILES", "PAGE_FILES", "static_routes"]

PAGE_FILES: Final = (
    "style.css",
    "plots.js",
    "curves.js",
    "over_time.js",
    "times.js",
    "page.js",
    "micrograph_list.css",
    "micrograph_list.js",
    "copy.js",
    "zoom.js",
    "zoom.css",
    "icon.svg",
    "uplot.min.js",
    "uplot.min.css",
)
"""Files of the page of a session."""

ACTION_FILES: Final = ("actions.css", "actions.js")
"""Files of the same page if people may change something."""

OVERVIEW_FILES: Final = ("style.css", "overview.css", "times.js", "overview.js", "icon.svg")
"""Files of the overview of sessions."""

_MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def static_routes(names: Iterable[str]) -> list[Route]:
    """Return a route for each of some files."""
    return [_route(name) for name in names]


def _route(name: str) -> Route:
    folder = "uplot" if name.startswith("uplot") else "templates"
    content = resources.files("livepick.web").joinpath(folder, name).read_bytes()
    media_type = _MEDIA_TYPES[Path(name).suffix]

    async def file(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=NO_CACHE)

    return Route(f"/{name}", file)

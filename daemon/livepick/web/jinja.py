"""HTML from the templates folder; the only module that imports jinja2."""

import time
from typing import Any

import jinja2

from livepick.monitoring.human_units import clock, size, span

__all__ = ["render_template"]


def render_template(template: str, **values: Any) -> str:
    """Return a template filled with values; names of files are escaped."""
    return _TEMPLATES.get_template(template).render(**values)


def _date(at: float) -> str:
    """Return a time with its date and UTC offset, since a report may be read in another place."""
    return time.strftime("%d %b %Y %H:%M %z", time.localtime(at))


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("livepick.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(clock=clock, date=_date, size=size, span=span, thousands="{:,}".format)

"""The full view of a micrograph, and the short lists of micrographs that a search finds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from livepick.ledger.rows import MicrographRow
from livepick.monitoring.human_units import clock
from livepick.picking.downloads import PICK_FORMATS
from livepick.web.filter_query import FilterQuery
from livepick.web.jinja import render_template
from livepick.web.micrograph_view import tile_of
from livepick.web.page import Sources, Span

__all__ = ["MicrographPages"]

FOUND = 60
"""Maximum number of micrographs that a search shows."""


@dataclass(frozen=True, slots=True)
class _Beside:
    """Links of a full view to the micrographs before and after it."""

    before: int | None
    after: int | None
    words: tuple[str, str] = ("newer", "older")
    query: str = ""
    """Query of the list that the person comes from, with its ``?``; empty: from none."""
    place: str = ""
    """Place in that list, in words."""


class MicrographPages:
    """Makes the HTML of single micrographs and of short lists of them.

    Parameters
    ----------
    sources
        Data sources of the page.
    has_actions
        True if people may change something.
    """

    def __init__(self, sources: Sources, *, has_actions: bool) -> None:
        self._sources = sources
        self._has_actions = has_actions

    def micrograph(self, micrograph_id: int, query: FilterQuery, *, whole: bool) -> str | None:
        """Return the full view of a micrograph as HTML; None if there is no view.

        Parameters
        ----------
        micrograph_id
            Number of the micrograph in the ledger.
        query
            Filter and order of the list that the person comes from; its links stay within it.
        whole
            True for a complete page, False for a fragment.
        """
        ledger, config = self._sources.ledger, self._sources.config()
        row = ledger.get(micrograph_id)
        tile = None if row is None else tile_of(row, ledger, config.particle.diameter_angstrom)
        if tile is None:
            return None
        return render_template(
            "micrograph_page.html" if whole else "micrograph.html",
            tile=tile,
            beside=self._beside(micrograph_id, query),
            root="../" if whole else "",
            has_actions=self._has_actions,
            formats=PICK_FORMATS,
        )

    def _beside(self, micrograph_id: int, query: FilterQuery) -> _Beside:
        queries = self._sources.queries
        if not query.fields:
            return _Beside(*queries.neighbours(micrograph_id))
        found = queries.filtered.neighbours(
            query.chosen, micrograph_id, sort=query.sort, descending=query.is_descending
        )
        place = f"{found.place:,} of {found.length:,} found" if found.place else "not in the list"
        address = "?" + query.query(ids=True, page=query.page if query.page > 1 else None)
        return _Beside(found.before, found.after, ("previous", "next"), address, place)

    def found(self, text: str, *, whole: bool) -> str:
        """Return the HTML for the micrographs with this text in their name."""
        rows = self._sources.queries.search(text, FOUND + 1) if text else []
        more = "+" if len(rows) > FOUND else ""
        count = f"{min(len(rows), FOUND)}{more} micrograph{'' if len(rows) == 1 else 's'}"
        title = f"{count} found for “{text}”" if text else ""
        return _listed(title, rows, whole=whole, search=text, query=urlencode({"name": text}))

    def between(self, span: Span, *, whole: bool) -> str:
        """Return the HTML for the micrographs that landed in a span of time."""
        rows, count = self._sources.queries.between(*span, FOUND + 1)
        title = f"{count:,} micrograph{'' if count == 1 else 's'}"
        for word, at in zip(("from", "until"), span, strict=True):
            title += f" {word} {clock(at)}" if math.isfinite(at) else ""
        ends = {
            word: datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
            for word, at in zip(("from", "until"), span, strict=True)
            if math.isfinite(at)
        }
        return _listed(title, rows, whole=whole, query=urlencode(ends))


def _listed(
    title: str, rows: Sequence[MicrographRow], *, whole: bool, query: str, search: str = ""
) -> str:
    """Return the HTML of a list of micrographs; without a title, there is no list.

    ``query``: that of the address which lists all of them.
    """
    return render_template(
        "found_page.html" if whole else "found.html",
        title=title,
        search=search,
        rows=rows[:FOUND],
        more=len(rows) > FOUND,
        query=query,
    )

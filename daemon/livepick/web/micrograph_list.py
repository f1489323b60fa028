"""List of the micrographs that pass a filter, in pages, with what can be done with them."""

from dataclasses import dataclass
from typing import Final

from livepick.ledger.micrograph_filter import FilteredMicrographs, FilterTotals
from livepick.ledger.rows import MicrographRow
from livepick.monitoring.human_units import zone
from livepick.picking.downloads import PICK_FORMATS
from livepick.web.filter_query import FilterQuery
from livepick.web.jinja import render_template

__all__ = ["ROWS", "ListView", "list_html"]

ROWS: Final = 100
"""Maximum number of micrographs on a page."""

_STATE_WORDS: Final = {
    "picked": "has picks",
    "waiting": "waiting to be picked",
    "failed": "failed",
    "not_again": "could not be picked again",
}

_COLUMNS: Final = (
    ("name", "micrograph"),
    ("arrived", "arrived"),
    ("picks", "picks"),
    ("score", "score"),
    ("defocus", "defocus, µm"),
    ("resolution", "fit, Å"),
)
"""Columns that the list can be sorted by, with their headings."""


@dataclass(frozen=True, slots=True)
class ListView:
    """One page of the list."""

    query: FilterQuery
    rows: list[MicrographRow]
    totals: FilterTotals
    total: int
    """Number of all micrographs of the session."""
    page: int
    pages: int
    failures: list[tuple[str, int]]
    """Reasons of failures, with their numbers."""

    @property
    def first(self) -> int:
        """Place of the first micrograph of the page, counted from 1."""
        return (self.page - 1) * ROWS + 1


def list_html(
    query: FilterQuery,
    filtered: FilteredMicrographs,
    *,
    session: str,
    total: int,
    now: float,
    has_actions: bool = False,
) -> str:
    """Return the page of the list.

    Parameters
    ----------
    query
        Filter, order and page.
    filtered
        Source of the micrographs.
    session
        Name of the session.
    total
        Number of all its micrographs.
    now
        Time, in unix seconds.
    has_actions
        True if people may change something.
    """
    totals = filtered.totals(query.chosen)
    pages = max(1, -(-totals.micrographs // ROWS))
    page = min(query.page, pages)
    view = ListView(
        query=query,
        rows=filtered.page(
            query.chosen,
            limit=ROWS,
            offset=(page - 1) * ROWS,
            sort=query.sort,
            descending=query.is_descending,
        ),
        totals=totals,
        total=total,
        page=page,
        pages=pages,
        failures=filtered.failures(),
    )
    return render_template(
        "micrograph_list.html",
        view=view,
        query=query,
        session=session,
        columns=_COLUMNS,
        states=_STATE_WORDS,
        formats=PICK_FORMATS,
        zone=zone(now),
        has_actions=has_actions,
    )

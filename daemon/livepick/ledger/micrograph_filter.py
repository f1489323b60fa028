"""Filter of micrographs, as on the page, and what passes it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from livepick.core.imaging.quality_limits import QualityVerdict
from livepick.ledger.columns import CTF_FIGURES, Columns
from livepick.ledger.database import AT_ONCE, Database
from livepick.ledger.output_rows import Measured, Visible
from livepick.ledger.rows import MicrographRow

__all__ = ["SORTS", "STATES", "FilterTotals", "FilteredMicrographs", "MicrographFilter", "Range"]

FilterState = Literal["picked", "waiting", "failed", "not_again"]
STATES: Final[tuple[FilterState, ...]] = get_args(FilterState)

Range = tuple[float | None, float | None]
"""Smallest and largest value; None: no limit."""

ANY: Final[Range] = (None, None)

DEFOCUS: Final = "((defocus_u_angstrom + defocus_v_angstrom) / 2e4)"
"""Mean defocus in micrometres."""

SORTS: Final = {
    "arrived": "landed_at",
    "name": "relative",
    "picks": "pick_count",
    "score": "median_score",
    "defocus": DEFOCUS,
    "resolution": "ctf_resolution_angstrom",
}
"""Orders of the micrographs, with their expressions."""

_STATES: Final[dict[FilterState, str]] = {
    "picked": "picked_content is not null",
    "waiting": "state in ('queued', 'picking')",
    "failed": "state = 'failed'",
    "not_again": "(state = 'picked' and reason is not null)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrographFilter:
    """Conditions that micrographs pass; an empty one is passed by all."""

    name: str = ""
    """Text in the path below the watched folder, ignoring case."""
    verdicts: tuple[QualityVerdict, ...] = ()
    states: tuple[FilterState, ...] = ()
    quality_reason: str = ""
    """Text in the reasons of the verdict."""
    failure: str = ""
    """Reason of a failure, a word such as ``header``."""
    has_note: bool = False
    """True for those that were read with a note only."""
    is_by_person: bool = False
    """True for those that a person has excluded or included only."""
    landed_at: Range = ANY
    """Unix seconds."""
    picks: Range = ANY
    defocus_micrometre: Range = ANY
    """Mean of both defocus values."""
    resolution_angstrom: Range = ANY
    """Resolution to which the CTF was fitted."""
    ids: tuple[tuple[int, int], ...] | None = None
    """Numbers in the ledger, as ranges with both ends; None: any."""

    @property
    def is_empty(self) -> bool:
        """True if all micrographs pass."""
        return self == MicrographFilter()

    def conditions(self, last_id: int) -> tuple[str, list[object]]:
        """Return an SQL expression and its values.

        ``last_id``: the largest id in the ledger.
        """
        found: list[tuple[str, list[object]]] = [("1", []), *self._words(), *self._numbers()]
        if self.ids is not None:
            numbers = json.dumps(_numbers(self.ids, last_id))
            found.append(("id in (select value from json_each(?))", [numbers]))
        clauses = " and ".join(clause for clause, _ in found)
        return clauses, [value for _, values in found for value in values]

    def _words(self) -> Iterator[tuple[str, list[object]]]:
        if self.name:
            yield "relative like ? escape '\\'", [_containing(self.name)]
        if self.verdicts:
            clause = "quality_verdict in (select value from json_each(?))"
            yield clause, [json.dumps(self.verdicts)]
        if self.states:
            yield f"({' or '.join(_STATES[state] for state in self.states)})", []
        if self.quality_reason:
            yield "quality_reason like ? escape '\\'", [_containing(self.quality_reason)]
        if self.failure:
            yield "reason = ?", [self.failure]
        if self.has_note:
            yield "note_kinds is not null", []
        if self.is_by_person:
            yield "person_verdict is not null", []

    def _numbers(self) -> Iterator[tuple[str, list[object]]]:
        for column, ends in (
            ("landed_at", self.landed_at),
            ("pick_count", self.picks),
            (DEFOCUS, self.defocus_micrometre),
            ("ctf_resolution_angstrom", self.resolution_angstrom),
        ):
            for sign, end in zip((">=", "<="), ends, strict=True):
                if end is not None:
                    yield f"{column} {sign} ?", [end]


class FilterTotals(NamedTuple):
    """Numbers of the micrographs that pass a filter."""

    micrographs: int
    with_picks: int
    """Those that have picks, also if these are to be replaced."""
    picks: int


class Neighbours(NamedTuple):
    """Micrographs beside one in a list, of those that have picks."""

    before: int | None
    """Number in the ledger; None: it is the first."""
    after: int | None
    place: int | None
    """Place in the list, from 1; None: the micrograph itself is not in it."""
    length: int
    """Length of the list."""


class FilteredMicrographs:
    """Micrographs of the ledger that pass a filter. Thread-safe.

    Raises
    ------
    LedgerError
        From every method: the file is damaged or cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._rows = database.rows

    def totals(self, chosen: MicrographFilter) -> FilterTotals:
        """Return the numbers of micrographs and picks."""
        where, values = self._where(chosen)
        row = self._rows(
            "select count(*), count(picked_content), coalesce(sum(pick_count), 0)"  # noqa: S608
            f" from micrograph where {where}",
            *values,
        )[0]
        return FilterTotals(*row)

    def page(
        self,
        chosen: MicrographFilter,
        *,
        limit: int,
        offset: int = 0,
        sort: str = "arrived",
        descending: bool = True,
    ) -> list[MicrographRow]:
        """Return a page of the micrographs. ``sort``: a key of ``SORTS``; unknown values last."""
        where, values = self._where(chosen)
        order = _order(sort, descending=descending)
        # The ids are sorted first: a row is wide.
        rows = self._rows(
            "select * from micrograph join (select id as chosen, row_number() over"  # noqa: S608
            f" (order by {order}) as place from micrograph"
            f" where {where} order by place limit ? offset ?) on id = chosen order by place",
            *values,
            limit,
            offset,
        )
        return [MicrographRow.of(row) for row in rows]

    def neighbours(
        self,
        chosen: MicrographFilter,
        micrograph_id: int,
        *,
        sort: str = "arrived",
        descending: bool = True,
    ) -> Neighbours:
        """Return the micrographs beside one in the list that ``page`` returns.

        One that does not pass the filter (any more) has the neighbours of the place where it would
        be: a person goes on from there after a change of its verdict.
        """
        where, values = self._where(chosen)
        picked = "picked_content is not null"
        count, is_in = self._rows(
            f"select count(*), coalesce(sum(id = ?), 0) from micrograph where {picked} and {where}",  # noqa: S608
            micrograph_id,
            *values,
        )[0]
        rows = self._rows(
            "with listed as materialized (select id, row_number() over"  # noqa: S608
            f" (order by {_order(sort, descending=descending)}) as place from micrograph"
            f" where {picked} and (({where}) or id = ?)),"
            " own as (select place from listed where id = ?)"
            " select listed.id, listed.place - own.place as step, own.place"
            " from own join listed on listed.place between own.place - 1 and own.place + 1",
            *values,
            micrograph_id,
            micrograph_id,
        )
        beside = {step: number for number, step, _ in rows}
        place = rows[0][2] if rows and is_in else None
        return Neighbours(beside.get(-1), beside.get(1), place, count)

    def ranges(self, chosen: MicrographFilter) -> list[tuple[int, int]]:
        """Return the numbers of the micrographs, as ranges with both ends."""
        where, values = self._where(chosen)
        found: list[tuple[int, int]] = []
        for (number,) in self._rows(
            f"select id from micrograph where {where} order by id",  # noqa: S608
            *values,
        ):
            if found and found[-1][1] == number - 1:
                found[-1] = (found[-1][0], number)
            else:
                found.append((number, number))
        return found

    def visible(self, chosen: MicrographFilter) -> Iterator[Visible]:
        """Yield the micrographs that have picks, in the order they landed."""
        return map(Visible.of, self._in_pages(chosen, "picked_content is not null"))

    def measured(self, chosen: MicrographFilter) -> Iterator[Measured]:
        """Yield the figures of the micrographs that have picks, in the order they landed."""
        return map(
            Measured.of,
            self._in_pages(chosen, "picked_content is not null and quality_verdict is not null"),
        )

    def pixel_sizes_angstrom(self) -> list[float]:
        """Return each pixel size of the session once, in the order in which they came."""
        rows = self._rows(
            "select pixel_size_angstrom, min(id) as first from micrograph where picked_content"
            " is not null and quality_verdict is not null"
            " group by pixel_size_angstrom order by first"
        )
        return [row[0] for row in rows]

    def some_have_ctf(self, chosen: MicrographFilter) -> bool:
        """Return True if a CTF figure of one of the micrographs is known."""
        where, values = self._where(chosen)
        known = " or ".join(f"{name} is not null" for name in CTF_FIGURES)
        rows = self._rows(
            f"select 1 from micrograph where {where} and picked_content is not null"  # noqa: S608
            f" and quality_verdict is not null and ({known}) limit 1",
            *values,
        )
        return bool(rows)

    def failures(self) -> list[tuple[str, int]]:
        """Return the reasons of failures with their numbers, the most frequent first."""
        rows = self._rows(
            "select reason, count(*) as n from micrograph where state = 'failed'"
            " group by reason order by n desc, reason"
        )
        return [(row["reason"], row["n"]) for row in rows]

    def _in_pages(self, chosen: MicrographFilter, also: str) -> Iterator[Columns]:
        where, values = self._where(chosen)
        last = -1
        while rows := self._rows(
            f"select * from micrograph not indexed where {where} and {also} and id > ?"  # noqa: S608
            " order by id limit ?",
            *values,
            last,
            AT_ONCE,
        ):
            yield from rows
            last = rows[-1]["id"]

    def _where(self, chosen: MicrographFilter) -> tuple[str, list[object]]:
        last_id = 0
        if chosen.ids is not None:
            last_id = int(self._rows("select coalesce(max(id), 0) from micrograph")[0][0])
        return chosen.conditions(last_id)


def _order(sort: str, *, descending: bool) -> str:
    """Return the terms to order by: unknown values last, and equal ones by their number."""
    way = "desc" if descending else "asc"
    return f"{SORTS[sort]} {way} nulls last, id {way}"


def _containing(text: str) -> str:
    """Return the pattern for ``like`` of values that contain a text."""
    literal = re.sub(r"([\\%_])", r"\\\1", text)
    return f"%{literal}%"


def _numbers(ranges: tuple[tuple[int, int], ...], last_id: int) -> list[int]:
    found: set[int] = set()
    for first, last in ranges:
        found.update(range(first, min(last, last_id) + 1))
    return sorted(found)

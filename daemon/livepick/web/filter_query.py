"""Filter of micrographs as the query of an address: what the form of the page sends."""

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from livepick.core.imaging.quality_limits import CTF_LIMITS, LIMITS, VERDICTS
from livepick.ledger.micrograph_filter import SORTS, STATES, MicrographFilter, Range

__all__ = ["MOST_SEARCHED", "FilterQuery", "not_a_time", "unix_seconds"]

MOST_SEARCHED: Final = 500
"""Maximum length of a text to search for; a file name has at most 255 bytes."""

MOST_RANGES = 2000
"""Maximum number of ranges of a selection."""

FAILED = "failed:"
"""Start of a reason that is that of a failure."""

NOTE = "note"
"""Reason of the micrographs that were read with a note."""

PERSON = "person"
"""Reason of the micrographs that a person has judged."""

_MEANINGS: Final = {limit.figure: limit.meaning for limit in (*LIMITS, *CTF_LIMITS)}
"""Reasons of a verdict in words, by the name of the figure."""

Word = TypeVar("Word", bound=str)

_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")


def unix_seconds(text: str) -> float:
    """Return the time that a text says, in unix seconds; without an offset, in the local zone.

    Raises
    ------
    ValueError
        It is not a time.
    """
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (OverflowError, OSError) as error:
        raise ValueError("beyond what can be reckoned") from error


def not_a_time(name: str) -> str:
    """Return the sentence, without its full stop, about a field that is not a time."""
    return (
        f"{name} is not a time: write it as 2026-11-30T14:05:09, in the time zone of the service,"
        " or with an offset, as 2026-11-30T14:05:09+01:00"
    )


@dataclass(frozen=True, slots=True)
class FilterQuery:
    """A filter, an order and a page of the list, as in an address."""

    chosen: MicrographFilter
    sort: str = "arrived"
    is_descending: bool = True
    page: int = 1
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the address says, without what is empty or unknown: for the form, and for links."""
    faults: tuple[str, ...] = ()
    """Sentences about fields that cannot be read; they are left out of the filter."""

    @classmethod
    def of(cls, query: QueryParams) -> "FilterQuery":
        """Return what a query asks for."""
        return _Reader(query).read()

    def value(self, name: str) -> str:
        """Return the text of a field; empty if it is not given."""
        return next(iter(self.fields.get(name, ())), "")

    def query(self, *, ids: bool = False, **changes: object) -> str:
        """Return the query of an address with the same fields, except for some.

        Parameters
        ----------
        ids
            True to keep the numbers of micrographs.
        changes
            Other values of fields; None: without it.
        """
        fields = {name: list(values) for name, values in self.fields.items()}
        fields.pop("page", None)
        if not ids:
            fields.pop("ids", None)
        for name, value in changes.items():
            fields.pop(name, None)
            if value is not None:
                fields[name] = [str(value)]
        return urlencode(fields, doseq=True)

    @property
    def reasons(self) -> Mapping[str, str]:
        """Reasons of a verdict that can be chosen, with their words."""
        return _MEANINGS


class _Reader:
    """Reads the fields of one query."""

    def __init__(self, query: QueryParams) -> None:
        self._query = query
        self._fields: dict[str, tuple[str, ...]] = {}
        self._faults: list[str] = []

    def read(self) -> FilterQuery:
        reason = self._text("reason")
        chosen = MicrographFilter(
            name=self._text("name"),
            verdicts=self._of("verdict", VERDICTS),
            states=self._of("state", STATES),
            quality_reason=_MEANINGS.get(reason, ""),
            failure=reason.removeprefix(FAILED) if reason.startswith(FAILED) else "",
            has_note=reason == NOTE,
            is_by_person=reason == PERSON,
            landed_at=(self._time("from"), self._time("until")),
            picks=self._range("picks", "picks"),
            defocus_micrometre=self._range("defocus", "defocus"),
            resolution_angstrom=self._range("resolution", "fit resolution"),
            ids=self._ids(),
        )
        sort, page, order = self._text("sort"), self._text("page"), self._text("order")
        return FilterQuery(
            chosen,
            sort if sort in SORTS else "arrived",
            order != "up",
            max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 10 else 1,
            self._fields,
            tuple(self._faults),
        )

    def _text(self, name: str) -> str:
        text = self._query.get(name, "").strip()[:MOST_SEARCHED]
        if text:
            self._fields[name] = (text,)
        return text

    def _of(self, name: str, known: tuple[Word, ...]) -> tuple[Word, ...]:
        given = self._query.getlist(name)
        found = tuple(word for word in known if word in given)
        if found:
            self._fields[name] = found
        return found

    def _range(self, name: str, words: str) -> Range:
        ends = [self._number(f"{name}_{end}", f"{words} {end}") for end in ("min", "max")]
        return ends[0], ends[1]

    def _number(self, name: str, words: str) -> float | None:
        return self._read(name, float, f"{words} is not a number")

    def _time(self, name: str) -> float | None:
        at = self._read(name, unix_seconds, not_a_time(name))
        if at is not None:  # as the field of the form has it: without an offset
            self._fields[name] = (time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at)),)
        return at

    def _read(self, name: str, value: Callable[[str], float], fault: str) -> float | None:
        text = self._text(name)
        if not text:
            return None
        try:
            number = value(text)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        self._faults.append(f"{fault}.")
        return None

    def _ids(self) -> tuple[tuple[int, int], ...] | None:
        """Return the numbers in ``ids``, as ``1-40,45``, and in each ``micrograph``."""
        words = [
            w
            for w in (*self._query.get("ids", "").split(","), *self._query.getlist("micrograph"))
            if w
        ]
        if not words:
            return None
        found = [_RANGE.fullmatch(word.strip()) for word in words]
        if len(words) > MOST_RANGES or not all(found):
            self._faults.append(
                f"ids is not a list of at most {MOST_RANGES} numbers or ranges such as 1-40,45."
            )
            return ()
        self._fields["ids"] = (",".join(words),)
        return tuple((int(f[1]), int(f[2] or f[1])) for f in found if f is not None)

"""The action that excludes a micrograph from the good ones, or includes it whatever its figures."""

import logging
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from livepick.config.proposed_edit import EditedKey
from livepick.core.formats.header import printable
from livepick.ledger.person_verdicts import JudgedFile, Word, decide, read_person_verdicts
from livepick.ledger.rows import MicrographRow
from livepick.web.filter_query import FilterQuery
from livepick.web.forms import Form
from livepick.web.page import Sources
from livepick.web.proposal import ActionError, Proposal, one, whole_number
from livepick.web.recorded_change import record_change

__all__ = ["JudgeMicrograph"]

TITLES: Final = {"excluded": "exclude", "included": "include", "measured": "judge by its figures"}
WORDS: Final[dict[str, Word | None]] = {
    "excluded": "excluded",
    "included": "included",
    "measured": None,
}
EFFECTS: Final = {
    "excluded": "It leaves the lists of good micrographs and good particles, and no model is"
    " trained on it from now on. Its picks stay in the other lists.",
    "included": "It is in the lists of good micrographs and good particles, whatever its figures.",
    "measured": "Its figures decide whether it is in the lists of good micrographs.",
}

APPLY_SECONDS = 5.0
"""Longest wait for the service to apply a verdict, which it looks for every second."""

_log = logging.getLogger(__name__)


class JudgeMicrograph:
    """Records the verdict of a person on a micrograph.

    Parameters
    ----------
    sources
        Data sources of the page.
    """

    template = ""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def form(self, given: Form) -> dict[str, object]:  # noqa: ARG002 - as in Action
        """Return nothing: the full view of the micrograph has the form."""
        return {}

    def propose(self, given: Form, by: str) -> Proposal:
        """Return the verdict that the fields of a form ask for."""
        wanted = one(given, "verdict")
        if wanted not in WORDS:
            raise ActionError(f"{wanted[:40]!r} is not a verdict", "Go back and choose one.")
        row = self._row(given)
        state = self._sources.config().state.directory
        file = JudgedFile(str(row.root), str(row.relative), row.version.mtime_ns)
        before = read_person_verdicts(state).of(file)
        if (None if before is None else before.verdict) == WORDS[wanted]:
            raise ActionError(
                f"{row.relative} is {before.reason if before else 'judged by its figures'} already",
                "There is nothing to change.",
            )
        was = "measured" if before is None else before.verdict
        title = f"{TITLES[wanted]}: {printable(row.relative)}"

        def make() -> str:
            decide(state, [file], WORDS[wanted], by=by)
            _log.info("page: %s: %s, before: %s", printable(by), title, was)
            key = EditedKey(f"verdict on {printable(row.path)}", was, wanted)
            # By its path: another ledger, built after a loss, has other numbers.
            undo = urlencode({"path": printable(row.path), "verdict": was})
            record_change(state, by, title, key, undo_with=f"micrograph?{undo}")
            return self._applied(row.id, WORDS[wanted])

        now = f"Now it is {before.reason}." if before else ""
        measured = f"Verdict now: {row.quality_verdict or 'none yet'}"
        reason = f", {row.quality_reason}" if row.quality_reason and not before else ""
        return Proposal(
            title=title,
            digest=f"{was}-{before.at if before else 0}",
            make=make,
            effects=tuple(filter(None, (now or f"{measured}{reason}.", EFFECTS[wanted]))),
            back=_back(row.id, one(given, "list")),
        )

    def _applied(self, number: int, word: Word | None) -> str:
        """Wait until the service has applied a verdict; return what follows, as a sentence."""
        give_up = time.monotonic() + APPLY_SECONDS
        while time.monotonic() < give_up:
            row = self._sources.ledger.get(number)
            if row is not None and row.person_verdict == word:
                return "It holds now; the lists in the output folder follow within seconds."
            time.sleep(0.1)
        return "The service applies it as soon as it can, and then writes the lists again."

    def _row(self, given: Form) -> MicrographRow:
        number, path = one(given, "id"), one(given, "path")
        if number:
            row = self._sources.ledger.get(whole_number(number, "a micrograph"))
        else:
            row = self._sources.queries.at(Path(path)) if path else None
        if row is None:
            raise ActionError(
                f"there is no micrograph {(number or path)[:200]!r}",
                "Open the micrograph on the page.",
            )
        return row


def _back(number: int, listed: str) -> str:
    """Return the address of the full view, in the list that the person comes from."""
    query = FilterQuery.of(QueryParams(listed.removeprefix("?")))
    page = query.page if query.page > 1 else None
    words = query.query(ids=True, page=page) if query.fields else ""
    return f"micrographs/{number}{'?' if words else ''}{words}"

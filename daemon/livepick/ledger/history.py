"""History of a session: what happened to it as a whole, and who did it."""

from dataclasses import dataclass

from livepick.core.formats.header import printable
from livepick.ledger.database import Database

__all__ = ["SESSION_ENDED", "SESSION_REOPENED", "Event", "History"]

SESSION_ENDED = "session_ended"
SESSION_REOPENED = "session_reopened"
"""Kinds of events that begin and end the time in which a session is over."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event in the history of a session."""

    at: float
    """Unix seconds."""
    kind: str
    """One word, such as ``session_ended``. Programs decide by the kind, never by the sentence."""
    sentence: str
    who: str = ""
    """Name of the person who did it; empty: livepick, or unknown."""


class History:
    """Reads the history, and adds to it. Only the writer of the ledger may add.

    Parameters
    ----------
    database
        The ledger; a read-only one to read only.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, event: Event, *, key: str | None = None) -> None:
        """Add an event; one whose key is there already is not added again.

        Raises
        ------
        LedgerWriteError
            Writing to the ledger failed.
        """
        with self._database.transaction():
            self._database.change(
                "insert into history (at, kind, who, sentence, key) values (?, ?, ?, ?, ?)"
                " on conflict do nothing",
                event.at,
                event.kind,
                printable(event.who),
                printable(event.sentence),
                key,
            )

    def latest(self, limit: int) -> list[Event]:
        """Return the latest events, the latest first."""
        return self._read("order by id desc limit ?", limit)

    def last_of(self, *kinds: str) -> Event | None:
        """Return the latest event of these kinds; None if there is none."""
        marks = ", ".join("?" * len(kinds))
        found = self._read(f"where kind in ({marks}) order by id desc limit 1", *kinds)
        return found[0] if found else None

    def _read(self, clauses: str, *values: object) -> list[Event]:
        rows = self._database.rows(
            f"select at, kind, sentence, who from history {clauses}",  # noqa: S608 - constants
            *values,
        )
        return [Event(row["at"], row["kind"], row["sentence"], row["who"]) for row in rows]

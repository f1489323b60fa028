"""Queries about the end of a session: what is left to pick, and what has landed since."""

from livepick.ledger.database import Database
from livepick.ledger.history import SESSION_REOPENED, History

__all__ = ["SessionEndQueries"]


class SessionEndQueries:
    """Queries about the end of a session. Thread-safe.

    Raises
    ------
    LedgerError
        From every method: the file is damaged or cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._rows = database.rows
        self._history = History(database)

    def waiting(self) -> int:
        """Return the number of micrographs that are to be picked, or picked again."""
        rows = self._rows("select count(*) from micrograph where state in ('queued', 'picking')")
        return int(rows[0][0])

    def picked(self) -> int:
        """Return the number of micrographs that have been picked."""
        return int(self._rows("select count(*) from micrograph where state = 'picked'")[0][0])

    def last_event_at(self) -> float | None:
        """Return when the last micrograph landed or the session was reopened; None: never.

        In unix seconds.
        """
        landed = self._rows("select max(landed_at) from micrograph")[0][0]
        if landed is None:
            return None
        reopened = self._history.last_of(SESSION_REOPENED)
        return float(landed) if reopened is None else max(float(landed), reopened.at)

    def has_landed_since(self, at: float) -> bool:
        """Return True if a micrograph without picks of its content has landed since a time.

        One that is only tried again after a failure does not count.
        """
        rows = self._rows(
            "select 1 from micrograph indexed by micrograph_by_landing where landed_at > ?"
            " and state = 'queued' and (attempt = 0 or content > 1)"
            " and picked_content is not content limit 1",
            at,
        )
        return bool(rows)

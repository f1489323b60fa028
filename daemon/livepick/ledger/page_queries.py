"""Queries for the web page and the session report."""

import re

from livepick.ledger.database import Database
from livepick.ledger.rows import Hourly, MicrographRow
from livepick.ledger.timeline import Timeline, TimelineReader

__all__ = ["PageQueries"]


class PageQueries:
    """Queries that only the web page and the session report use. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._rows = database.rows
        self._timeline = TimelineReader(database.rows)

    def change_counter(self) -> int:
        """Return a number that changes whenever another connection writes to the ledger."""
        return int(self._rows("pragma data_version")[0][0])

    def neighbours(self, micrograph_id: int) -> tuple[int | None, int | None]:
        """Return the ids of the next newer and the next older micrograph with picks."""
        row = self._rows(
            "select (select min(id) from micrograph not indexed where id > ?1"
            "  and picked_content is not null),"
            " (select max(id) from micrograph not indexed where id < ?1"
            "  and picked_content is not null)",
            micrograph_id,
        )[0]
        return row[0], row[1]

    def search(self, text: str, limit: int) -> list[MicrographRow]:
        """Return micrographs whose path contains this text, ignoring case; the latest first."""
        literal = re.sub(r"([\\%_])", r"\\\1", text)
        rows = self._rows(
            "select * from micrograph not indexed where relative like ? escape '\\'"
            " order by id desc limit ?",
            f"%{literal}%",
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def hourly(self, now: float) -> Hourly:
        """Return the totals for the hour before ``now`` (unix seconds)."""
        row = self._rows(
            "select (select count(*) from micrograph where landed_at > ?1), count(*),"
            " coalesce(sum(pick_count), 0) from micrograph where picked_at > ?1",
            now - 3600,
        )[0]
        return Hourly(*row)

    def timeline(self) -> Timeline:
        """Return the landing time and the pick figures of each micrograph with picks."""
        return self._timeline.read()

    def last_landings(self, limit: int) -> list[float]:
        """Return the landing times of the last micrographs, in unix seconds, oldest first."""
        sql = "select landed_at from micrograph order by landed_at desc limit ?"
        return [row["landed_at"] for row in reversed(self._rows(sql, limit))]

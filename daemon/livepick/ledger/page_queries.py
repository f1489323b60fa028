"""Queries for the web page and the session report."""

import re
from pathlib import Path

from livepick.core.formats.image_names import without_compression
from livepick.ledger.database import Database
from livepick.ledger.micrograph_filter import FilteredMicrographs
from livepick.ledger.rows import Hourly, MicrographRow
from livepick.ledger.timeline import Timeline, TimelineReader

__all__ = ["PageQueries"]


class PageQueries:
    """Queries that only the web page and the session report use. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._rows = database.rows
        self._timeline = TimelineReader(database.rows)
        self.filtered = FilteredMicrographs(database)

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

    def between(
        self, from_at: float, until_at: float, limit: int
    ) -> tuple[list[MicrographRow], int]:
        """Return micrographs that landed in a span (unix seconds), and how many there are.

        The latest come first; at most ``limit`` are returned.
        """
        where = "where landed_at between ? and ?"
        rows = self._rows(
            f"select * from micrograph {where} order by landed_at desc, id desc limit ?",  # noqa: S608
            from_at,
            until_at,
            limit,
        )
        count = self._rows(f"select count(*) from micrograph {where}", from_at, until_at)[0][0]  # noqa: S608
        return [MicrographRow.of(row) for row in rows], int(count)

    def at(self, path: Path) -> MicrographRow | None:
        """Return the micrograph with this path; None if the ledger does not have it.

        One that was compressed or decompressed in place since is found as well.
        """
        for folder in path.parents:
            name = str(path.relative_to(folder))
            plain = without_compression(name)
            rows = self._rows(
                "select * from micrograph where root = ? and relative >= ? and relative < ?",
                str(folder),
                plain,
                plain + "/",  # the character after the dot
            )
            same = [row for row in rows if without_compression(row["relative"]) == plain]
            if same:
                return MicrographRow.of(max(same, key=lambda row: row["relative"] == name))
        return None

    def hourly(self, now: float) -> Hourly:
        """Return the totals for the hour before ``now`` (unix seconds)."""
        row = self._rows(
            "select (select count(*) from micrograph where landed_at > ?1), count(*),"
            " coalesce(sum(pick_count), 0) from micrograph where picked_at > ?1",
            now - 3600,
        )[0]
        return Hourly(*row)

    def not_fitted(self) -> dict[str, int]:
        """Return why micrographs have no CTF fit, such as too large pixels, and their numbers."""
        rows = self._rows(
            "select ctf_reason, count(*) as number from micrograph"
            " where ctf_outcome = 'not_fitted' and ctf_source is not 'program'"
            " group by ctf_reason order by number desc"
        )
        return {row["ctf_reason"] or "": row["number"] for row in rows}

    def timeline(self) -> Timeline:
        """Return the landing time and the pick figures of each micrograph with picks."""
        return self._timeline.read()

    def last_landings(self, limit: int) -> list[float]:
        """Return the landing times of the last micrographs, in unix seconds, oldest first."""
        sql = "select landed_at from micrograph order by landed_at desc limit ?"
        return [row["landed_at"] for row in reversed(self._rows(sql, limit))]

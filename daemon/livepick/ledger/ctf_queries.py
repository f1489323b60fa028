"""Queries about livepick's own fits of the CTF."""

import json
from collections.abc import Collection
from pathlib import Path

from livepick.ledger.database import Database
from livepick.ledger.reader import MOST_ROWS
from livepick.ledger.rows import CTF_OUTCOMES, CtfOutcome, MicrographRow

__all__ = ["CtfQueries"]


class CtfQueries:
    """Micrographs by the state of their CTF fit. Thread-safe.

    Raises
    ------
    LedgerError
        From every method: the file is damaged or cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._rows = database.rows

    def due(
        self, limit: int, *, without: Collection[Path] = (), but: Collection[int] = ()
    ) -> list[MicrographRow]:
        """Return the latest micrographs with picks whose CTF is to be fitted.

        Parameters
        ----------
        limit
            Maximum number of micrographs.
        without
            Watched folders that are unavailable.
        but
            Ids of micrographs that are not due.
        """
        rows = self._rows(
            "select * from micrograph indexed by micrograph_without_fit"
            " where picked_content is not null and ctf_source is not 'program'"
            " and ctf_outcome is null and picked_content is content"
            " and root not in (select value from json_each(?))"
            " and id not in (select value from json_each(?))"
            " order by id desc limit ?",
            json.dumps([str(root) for root in without]),
            json.dumps(list(but)),
            limit,
        )
        return [MicrographRow.of(row) for row in rows]

    def outcomes(self, latest: int = MOST_ROWS) -> dict[CtfOutcome, int]:
        """Return the number of CTF fits by outcome, of the latest picked micrographs.

        A micrograph whose CTF another program has measured does not count.
        """
        rows = self._rows(
            "select ctf_outcome, count(*) as number from (select ctf_outcome from micrograph"
            " not indexed where picked_content is content and ctf_source is not 'program'"
            " and ctf_outcome is not null order by id desc limit ?) group by ctf_outcome",
            latest,
        )
        counts = {row["ctf_outcome"]: row["number"] for row in rows}
        return {outcome: counts.get(outcome, 0) for outcome in CTF_OUTCOMES}

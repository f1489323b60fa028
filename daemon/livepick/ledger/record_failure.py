"""Recording of a failure, which never takes away picks that are still right.

Picks belong to a content of a file. If picking the same content again fails, for whatever reason,
the micrograph stays picked: its picks, candidates and coordinates are those of the older model, and
the failure is recorded beside them. If a file has new content, its old picks are of another image:
they are deleted once the new content has been read and is not an image that can be picked. Until
then (the new file is gone, cannot be read, or stops its worker), the micrograph is failed, and the
old picks stay because nothing better is known.
"""

from livepick.ledger.columns import JUDGES_CONTENT, NO_RESULT
from livepick.ledger.database import Database
from livepick.ledger.rows import Failure

__all__ = ["record_failure"]


def record_failure(database: Database, micrograph_id: int, failure: Failure, now: float) -> bool:
    """Record that a micrograph could not be picked; call it inside a transaction.

    Parameters
    ----------
    database
        The ledger.
    micrograph_id
        Id of the micrograph, whose state is checked by the caller.
    failure
        The reason, what happened and the remedy.
    now
        Unix seconds.

    Returns
    -------
    bool
        True if it stays picked.
    """
    (row,) = database.rows(
        "select content, picked_content from micrograph where id = ?", micrograph_id
    )
    is_repick = bool(row["picked_content"] == row["content"])
    database.change(
        "update micrograph set state = ?, changed_at = ?, not_before = 0,"
        " reason = ?, error = ?, remedy = ? where id = ?",
        "picked" if is_repick else "failed",
        now,
        *failure.printable(),
        micrograph_id,
    )
    if not is_repick and failure.reason in JUDGES_CONTENT:
        _drop_result(database, micrograph_id)
    return is_repick


def _drop_result(database: Database, micrograph_id: int) -> None:
    """Delete the picks of a micrograph and all figures measured with them."""
    database.change("delete from picks where micrograph_id = ?", micrograph_id)
    database.change(
        f"update micrograph set {NO_RESULT} where id = ?",  # noqa: S608 - constants
        micrograph_id,
    )

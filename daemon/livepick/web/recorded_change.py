"""Entry in the history for a change that is not an edit of the config."""

import logging
from pathlib import Path

from livepick.config.edit_history import record_edit
from livepick.config.proposed_edit import EditedKey
from livepick.errors import LedgerWriteError

__all__ = ["record_change"]

_log = logging.getLogger(__name__)


def record_change(state: Path, by: str, title: str, key: EditedKey, *, undo_with: str = "") -> None:
    """Add a change to the history. If that fails, the log says so: the change has been made.

    Parameters
    ----------
    state
        The state folder.
    by, title
        Name of the person, and description of the change.
    key
        What was changed, with its values before and after.
    undo_with
        Address of the page that undoes it, below ``actions/``.
    """
    try:
        record_edit(state, by=by, title=title, keys=[key], undo_with=undo_with)
    except LedgerWriteError as error:
        _log.error("page: %s", error)

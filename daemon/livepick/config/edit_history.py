"""History of the edits that people made through the page or a command: ``STATE/decisions``.

The config file is the source of truth; the history says who changed it and how to undo that. It is
replaced as a whole by one rename, and locked meanwhile, because the service and commands write it.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from livepick.config.proposed_edit import EditedKey
from livepick.errors import LedgerWriteError
from livepick.host.atomic_files import make_folder, write_atomically
from livepick.host.foreign_files import parse_json, read_bounded
from livepick.host.lock import lock_folder

__all__ = ["DECISIONS", "EDITS_FILE", "RecordedEdit", "RecordedKey", "read_edits", "record_edit"]

DECISIONS = "decisions"
"""Folder in the state folder for what people have decided. It is locked while a file in it is
written; the state folder itself is locked by the service."""

EDITS_FILE = "edits.json"
"""Name of the file in it."""

FORMAT = 1
"""Format number of the file; raised when its meaning changes."""

MOST_KEPT = 200
"""Maximum number of edits in the history; older ones are dropped."""

MOST_BYTES = 4 << 20
"""Largest file that is read."""

_log = logging.getLogger(__name__)


class RecordedKey(BaseModel):
    """A setting before and after an edit."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    key: str
    """The setting, as ``picking.threshold``."""
    before: Any
    """Value that was in force, as in JSON."""
    after: Any
    """Its new value."""


class RecordedEdit(BaseModel):
    """An edit that was made."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    number: int
    """Number of the edit, from 1."""
    at: float
    """Unix seconds."""
    by: str
    """Name of the person."""
    title: str
    """Description, as a clause that begins with a verb."""
    keys: tuple[RecordedKey, ...]
    undoes: int | None = None
    """Number of the edit that this one undid; None: it undid none."""
    undo_with: str = ""
    """Address of the page that undoes a change which was no edit of the config; empty: it was."""


_edits = TypeAdapter(list[RecordedEdit])


def read_edits(state: Path) -> list[RecordedEdit]:
    """Return the history of a state folder, the latest last; empty if there is none to read."""
    path = state / DECISIONS / EDITS_FILE
    try:
        found: dict[str, Any] = parse_json(read_bounded(path, limit_bytes=MOST_BYTES))
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}")  # noqa: TRY301 - reported with the others
        return _edits.validate_python(found["edits"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        _log.warning("%s: cannot be read, the history starts again: %s", path, type(error).__name__)
        return []


def record_edit(
    state: Path,
    *,
    by: str,
    title: str,
    keys: Sequence[EditedKey],
    undoes: int | None = None,
    undo_with: str = "",
    clock: Callable[[], float] = time.time,
) -> RecordedEdit:
    """Add an edit to the history.

    Raises
    ------
    LedgerWriteError
        The state folder cannot be written to. The edit itself has been made.
    """
    folder = state / DECISIONS
    try:
        make_folder(folder)
        with lock_folder(folder, wait=True):
            edits = read_edits(state)
            edit = RecordedEdit(
                number=edits[-1].number + 1 if edits else 1,
                at=clock(),
                by=by,
                title=title,
                keys=tuple(
                    RecordedKey(key=each.key, before=each.before, after=each.after) for each in keys
                ),
                undoes=undoes,
                undo_with=undo_with,
            )
            kept = _edits.dump_python([*edits, edit][-MOST_KEPT:], mode="json")
            text = json.dumps({"format": FORMAT, "edits": kept}, indent=1) + "\n"
            write_atomically(folder / EDITS_FILE, text.encode())
    except OSError as error:
        raise LedgerWriteError(
            f"{folder / EDITS_FILE} could not be written: {error.strerror}",
            "The edit was made, and is missing in the history. Check the disk and the permissions"
            " of the state folder.",
        ) from error
    return edit

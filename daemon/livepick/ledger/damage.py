"""Ledgers that cannot be used any more: set aside, never deleted, so that a new one can begin.

A ledger counts as lost if its file is damaged, empty, unreadable or not a file, or if it is missing
although the state folder is that of a session. A ledger of another version of livepick is not lost.

Damage may show only after hours, when a damaged page is read. The service then marks the ledger,
ends its parts and starts them again; the ledger is checked as a whole before it is set aside.
"""

import contextlib
import dataclasses
import json
import logging
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from livepick.config.last_known_good import CONFIG_COPY
from livepick.errors import LedgerError, LedgerWriteError
from livepick.host.atomic_files import write_atomically

__all__ = [
    "Lost",
    "fault_of_file",
    "forget_loss",
    "keep_loss",
    "kept_loss",
    "mark_damaged",
    "marked_fault",
    "put_back",
    "saved_copy",
    "set_aside",
]

MARK = ".fault"
"""End of the name of the file that says why a ledger may be damaged."""

LOST = ".lost"
"""End of the name of the file that says that a new ledger is still empty because another was lost.
It is there until the new ledger says so itself."""

SAVED = ".saved"
"""End of the name of a copy that was saved after the ledger had been removed or replaced."""

_PARTS = ("", "-wal", "-shm")
"""Files of a ledger, by the end of their names."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lost:
    """Loss of a ledger that was replaced by a new one."""

    why: str
    """Fault of the ledger, as a clause."""
    at: float
    """Unix seconds."""
    aside: Path | None = None
    """Place of its file now. None: there was no file."""


def fault_of_file(ledger: Path) -> str | None:
    """Return why the file of a ledger cannot be one, without reading it; None if it may be."""
    try:
        status = ledger.stat()
    except FileNotFoundError:
        is_of_session = (ledger.parent / CONFIG_COPY).exists()
        return f"{ledger} was removed" if is_of_session else None
    except OSError as error:
        return f"{ledger} cannot be opened: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a file"
        return f"{ledger} is {what}"
    if status.st_size == 0 and (ledger.parent / CONFIG_COPY).exists():
        return f"{ledger} is empty"
    if not os.access(ledger, os.R_OK):
        return f"{ledger} cannot be read: permission denied"
    return None


def mark_damaged(ledger: Path, fault: str) -> None:
    """Note that a ledger seems to be damaged: the next start checks all of it."""
    with contextlib.suppress(OSError):  # without the mark, the fault will be met again
        _beside(ledger, MARK).write_text(fault)


def marked_fault(ledger: Path) -> str | None:
    """Return the fault that ``mark_damaged`` noted, and remove the mark; None if there is none."""
    mark = _beside(ledger, MARK)
    try:
        fault = mark.read_text(errors="replace")
        mark.unlink()
    except OSError:
        return None
    return fault


def put_back(ledger: Path) -> None:
    """Put the copy of a ledger that was removed or replaced in its place, if there is one.

    Raises
    ------
    LedgerError
        A file cannot be renamed.
    """
    saved = _beside(ledger, SAVED)
    if not saved.is_file():
        return
    if os.path.lexists(ledger):
        set_aside(ledger, f"{ledger} was replaced by another file while livepick was running")
    try:
        for part in _PARTS[1:]:  # they belong to the file that was removed
            _beside(ledger, part).unlink(missing_ok=True)
        saved.rename(ledger)
    except OSError as error:
        raise _not_renamed(saved, error) from error
    _log.warning("%s: removed or replaced while livepick was running; put back whole", ledger)


def keep_loss(ledger: Path, lost: Lost) -> None:
    """Note that a ledger was lost, in case that this start ends before its successor says so.

    Raises
    ------
    LedgerError
        The note cannot be written.
    """
    note = _beside(ledger, LOST)
    try:
        write_atomically(note, json.dumps(dataclasses.asdict(lost), default=str).encode())
    except OSError as error:
        raise LedgerWriteError(
            f"{note} cannot be written: {error.strerror}",
            "Free space on the disk of the state directory. livepick tries again.",
        ) from error


def kept_loss(ledger: Path) -> Lost | None:
    """Return the loss that ``keep_loss`` noted; None if there is none."""
    try:
        found = json.loads(_beside(ledger, LOST).read_bytes())
        aside = found["aside"]
        return Lost(str(found["why"]), float(found["at"]), None if aside is None else Path(aside))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError):
        return Lost(f"{ledger} was lost", time.time())


def forget_loss(ledger: Path) -> None:
    """Remove the note of ``keep_loss``: the new ledger says that another was lost."""
    with contextlib.suppress(OSError):  # the next start reads the output folder again
        _beside(ledger, LOST).unlink(missing_ok=True)


def saved_copy(ledger: Path) -> Path:
    """Return where a copy is saved for ``put_back``."""
    return _beside(ledger, SAVED)


def set_aside(ledger: Path, why: str) -> Lost:
    """Rename the files of a ledger, if there are any, so that a new one can begin.

    Raises
    ------
    LedgerError
        A file cannot be renamed.
    """
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    end, number = f".damaged-{stamp}", 1
    while os.path.lexists(_beside(ledger, end)):
        number += 1
        end = f".damaged-{stamp}-{number}"
    aside = _beside(ledger, end)
    had_file = os.path.lexists(ledger)
    try:
        for part in _PARTS:
            if os.path.lexists(_beside(ledger, part)):
                _beside(ledger, part).rename(_beside(ledger, f"{end}{part}"))
    except OSError as error:
        raise _not_renamed(ledger, error) from error
    if had_file:
        _log.error("ledger: %s; it is kept as %s", why, aside.name)
    else:
        _log.error("ledger: %s", why)
    return Lost(why, now, aside if had_file else None)


def _not_renamed(path: Path, error: OSError) -> LedgerError:
    return LedgerError(
        f"{path} is not usable, and cannot be renamed: {error.strerror}",
        "Give the service's user write access to the state directory, or move the file aside.",
    )


def _beside(ledger: Path, end: str) -> Path:
    return ledger.with_name(ledger.name + end)

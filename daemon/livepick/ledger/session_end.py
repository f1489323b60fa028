"""The file ``session_end.json`` in the state folder: that a session is over, since when, and why.

The file is the source of truth, so that other programs can read it. It is complete or absent.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from livepick.errors import LedgerError, LedgerWriteError
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import parse_json

__all__ = [
    "SESSION_END",
    "EndReason",
    "SessionEnd",
    "read_session_end",
    "remove_session_end",
    "waits_for_reopening",
    "write_session_end",
]

SESSION_END = "session_end.json"
"""Name of the file in the state folder."""

EndReason = Literal["person", "idle"]
"""``person``: somebody said so. ``idle``: no micrograph for ``session.end_after_hours``."""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The end of a session."""

    session: str
    """Name of the session."""
    at: float
    """Unix seconds."""
    reason: EndReason
    by: str | None = None
    """Who ended it; None if it is not known, or nobody did."""
    report: Path | None = None
    """The closing report; None if it could not be written."""
    report_fault: str = ""
    """Why it could not be written, in words."""
    left: int = 0
    """Number of micrographs that had landed and could not be picked."""

    def as_json(self) -> dict[str, Any]:
        """Return the end as JSON-serializable values. Other programs rely on this format."""
        return {
            "session": self.session,
            "at": datetime.fromtimestamp(self.at, UTC).astimezone().isoformat(),
            "reason": self.reason,
            "by": self.by,
            "report": None if self.report is None else str(self.report),
            "report_fault": self.report_fault,
            "left": self.left,
        }

    @classmethod
    def of_json(cls, text: bytes) -> Self:
        """Return the end from JSON as ``as_json`` returns it.

        Raises
        ------
        ValueError
            The text is not such JSON.
        """
        try:
            values = parse_json(text)
            end = cls(
                session=str(values["session"]),
                at=datetime.fromisoformat(values["at"]).timestamp(),
                reason=values["reason"],
                by=None if values["by"] is None else str(values["by"]),
                report=None if values["report"] is None else Path(values["report"]),
                report_fault=str(values.get("report_fault", "")),
                left=int(values.get("left", 0)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the end of a session: {error}") from error
        if end.reason not in get_args(EndReason):
            raise ValueError(f"{end.reason} is not a reason")
        return end


def read_session_end(state: Path, session: str) -> SessionEnd | None:
    """Return the end of a session; None if it is not over.

    A file that is damaged, or about an earlier session in the same state folder, does not count.

    Parameters
    ----------
    state
        The state folder.
    session
        Name of the session.

    Raises
    ------
    LedgerError
        The file is there and cannot be read.
    """
    try:
        end = SessionEnd.of_json((state / SESSION_END).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LedgerError(
            f"{state / SESSION_END} cannot be read: {error.strerror}",
            "Check the disk of the state folder and the permissions of this file.",
        ) from error
    except ValueError:
        return None
    return end if end.session == session else None


def waits_for_reopening(state: Path, session: str) -> str:
    """Return the sentence that a change waits until an ended session is reopened, or an empty text.

    Parameters and errors as in ``read_session_end``.
    """
    if read_session_end(state, session) is None:
        return ""
    return "The session is over: this waits until it is reopened (livepick end --undo CONFIG)."


def write_session_end(state: Path, end: SessionEnd) -> None:
    """Record that a session is over.

    Raises
    ------
    LedgerWriteError
        The state folder cannot be written to.
    """
    text = json.dumps(end.as_json(), indent=2) + "\n"
    try:
        write_atomically(state / SESSION_END, text.encode())
    except OSError as error:
        raise _not_written(state, error) from error


def remove_session_end(state: Path) -> None:
    """Record that the session is not over, or not any more.

    Raises
    ------
    LedgerWriteError
        The state folder cannot be written to.
    """
    try:
        (state / SESSION_END).unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(state, error) from error


def _not_written(state: Path, error: OSError) -> LedgerWriteError:
    return LedgerWriteError(
        f"{state / SESSION_END} cannot be written: {error.strerror}",
        "Free space on the disk of the state folder, or run this as a user who may write to it.",
    )

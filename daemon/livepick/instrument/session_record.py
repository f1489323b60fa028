"""All that the supervisor knows of one session, and its state in a word and a sentence."""

import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from livepick.config.reload import FileStamp
from livepick.config.schema import WrittenConfig
from livepick.config.session_config_file import SESSION_CONFIG
from livepick.errors import PortsTakenError, SessionStateError
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import parse_json, read_bounded
from livepick.instrument.session_folders import FolderState
from livepick.instrument.session_process import SessionProcess
from livepick.instrument.session_search import Sighting
from livepick.instrument.turns import Candidate

__all__ = [
    "CAUSES",
    "STATES",
    "SUMMARY",
    "Cause",
    "SessionRecord",
    "SessionState",
    "read_summary",
    "save_summary",
]

SUMMARY = "session_summary.json"
"""Name of the file in a state folder with the last figures of a session, for the overview."""

MOST_SUMMARY_BYTES = 64 << 10

SessionState = Literal[
    "picking",
    "starting",
    "stopping",
    "not_responding",
    "waiting",
    "crashed",
    "config_fault",
    "over",
    "old",
    "incomplete",
    "gone",
    "unreadable",
    "same",
]
STATES: tuple[SessionState, ...] = get_args(SessionState)
"""States of a session. ``waiting``: others pick now. ``old``: found with old files only, and not
picked. ``incomplete``: the folder of the micrographs is not there yet. ``gone``: the folder was
removed or renamed. ``same``: a link to the folder of another session."""

Cause = Literal["config", "crashes", "folder", "ports", "state"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
"""Reasons for which a session is not picked until somebody acts. ``config``: a fault of its config.
``crashes``: it ends unexpectedly again and again. ``folder``: its folder cannot be read any more.
``ports``: no port is left for its page. ``state``: its state folder cannot be used."""

MANY_CRASHES = 3
"""Number of unexpected ends in a row from which a session does not recover by itself."""

_FOLDER_STATES: dict[FolderState, SessionState] = {
    "incomplete": "incomplete",
    "denied": "unreadable",
    "unreadable_name": "unreadable",
    "same": "same",
}

STARTING_SECONDS = 60.0
"""A session that does not answer this long after it is ready is said to be not responding."""

SILENT_SECONDS = 15.0
"""A session that answered before and has not for this long is said to be not responding."""

_log = logging.getLogger(__name__)


@dataclass
class SessionRecord:
    """One session of an instrument, as the supervisor keeps it."""

    sighting: Sighting
    found_at: float
    """Time when it began, in unix seconds."""
    process: SessionProcess | None = None
    config_used: WrittenConfig | None = None
    """Config with which the process was started."""
    crashes: int = 0
    """Number of unexpected ends in a row."""
    reason: str = ""
    """Reason of the last unexpected end."""
    remedy: str = ""
    """Remedy of that reason, as the process has printed it; empty if it has not."""
    start_after: float = 0.0
    """Earliest time of the next start, on the monotonic clock."""
    refused: FileStamp = None
    """State of the config file that the process refused; it is not started until that changes."""
    is_refused: bool = False
    summary: dict[str, Any] = field(default_factory=dict)
    """Last figures that it has sent, as ``/status.json`` of its page; empty before the first."""
    summary_at: float = 0.0
    """Time of these figures, in unix seconds."""
    over_checked_at: float = 0.0
    """Start of the last process that found the session over, in unix seconds: files that came
    before are no micrographs that would reopen it."""
    answered_at: float | None = None
    """Time of the last answer of this process, on the monotonic clock; None: none yet."""

    @property
    def name(self) -> str:
        """Name of the session."""
        return self.sighting.name

    @property
    def config_path(self) -> Path:
        """Its config file."""
        return self.sighting.place.state / SESSION_CONFIG

    @property
    def is_over(self) -> bool:
        """True if the session has ended, and nothing reopens it."""
        end = self.sighting.end
        if end is None:
            return False
        config = self.sighting.config
        if config is None or config.session.ended:
            return True
        if end.reason == "person":
            return False  # whoever ended it has reopened it
        newest_at = self.newest_at
        return newest_at is None or newest_at <= max(end.at, self.over_checked_at)

    @property
    def newest_at(self) -> float | None:
        """Time when the last file came into its folder, in unix seconds."""
        found = self.sighting.found
        return None if found is None else found.newest_at

    @property
    def can_run(self) -> bool:
        """True if it may be started, now or after a pause."""
        if self.is_over:
            return False
        if self.process is not None:
            return True  # it says itself if its config has a fault, or if its folder has gone
        seen = self.sighting
        is_there = seen.found is not None and seen.found.state == "ready"
        return is_there and seen.is_known and seen.config is not None and not self.is_refused

    def candidate(self, now: float, end_after_hours: float | None) -> Candidate:
        """Return what decides on its turn, at a time in unix seconds."""
        newest_at = self.newest_at
        is_closing = self._is_closing(now, end_after_hours)
        return Candidate(
            self.name,
            self.found_at,
            newest_at,
            is_closing or self._has_work(),
            self.process is not None,
            is_closing=is_closing,
            may_train=self.summary.get("training") == "collecting",
        )

    def _is_closing(self, now: float, end_after_hours: float | None) -> bool:
        """Return True if it is to be ended, and has nothing else to do."""
        config, newest_at, summary = self.sighting.config, self.newest_at, self.summary
        if config is not None and config.session.ended:
            return True
        is_due = (
            end_after_hours is not None
            and newest_at is not None
            and now - newest_at > end_after_hours * 3600
        )
        return is_due and bool(summary.get("picked")) and not self._has_work()

    def _has_work(self) -> bool:
        """Return True if it has micrographs to pick, or trains."""
        newest_at, summary = self.newest_at, self.summary
        if newest_at is None:
            return False
        if not summary or newest_at > self.summary_at:
            return True
        waits = summary.get("waiting") or summary.get("stale")
        return bool(waits) or summary.get("training") == "training"

    def not_picked(self, *, is_paused: bool = False) -> Cause | None:
        """Return why the session is not picked until somebody acts; None: it is, or need not be.

        ``is_paused``: as in ``state``.
        """
        match self.state(is_paused=is_paused):
            case "over":
                return None
            case "config_fault":
                fault = self.sighting.config_fault or self.sighting.override_fault
                if isinstance(fault, PortsTakenError):
                    return "ports"
                return "state" if isinstance(fault, SessionStateError) else "config"
            case "unreadable" if self.sighting.is_known:
                return "folder"
        return "crashes" if self.crashes >= MANY_CRASHES else None

    def state(self, *, is_paused: bool = False) -> SessionState:
        """Return its state. ``is_paused``: True while the pause after a crash lasts."""
        if self.process is not None:
            return self._process_state(self.process)
        if self.is_over:
            return "over"
        seen = self.sighting
        if seen.found is None or seen.found.state != "ready":
            return "gone" if seen.found is None else _FOLDER_STATES[seen.found.state]
        if not seen.is_known:
            return "old"
        if seen.config_fault is not None or self.is_refused:
            return "config_fault"
        return "crashed" if is_paused else "waiting"

    def _process_state(self, process: SessionProcess) -> SessionState:
        now = time.monotonic()
        if process.stop_at is not None:
            return "stopping"
        if not process.notify.is_ready:
            return "starting"
        if self.answered_at is None:
            late = now - process.started_at > STARTING_SECONDS
            return "not_responding" if late else "starting"
        return "picking" if now - self.answered_at < SILENT_SECONDS else "not_responding"


def read_summary(state: Path) -> tuple[dict[str, Any], float, float | None]:
    """Return the figures last saved, their time, and when the session began; empty if none."""
    try:
        values = parse_json(read_bounded(state / SUMMARY, limit_bytes=MOST_SUMMARY_BYTES))
        summary, at, found_at = values["summary"], float(values["at"]), float(values["found_at"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}, 0.0, None
    return (summary if isinstance(summary, dict) else {}), at, found_at


def save_summary(record: SessionRecord) -> None:
    """Save the figures of a session, so that the overview has them after the session's end."""
    values = {
        "summary": record.summary, "at": record.summary_at, "found_at": record.found_at,
    }  # fmt: skip
    try:
        write_atomically(record.sighting.place.state / SUMMARY, json.dumps(values).encode())
    except OSError as error:
        _log.warning("%s: its figures were not saved: %s", record.name, error.strerror)

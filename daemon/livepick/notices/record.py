"""Record of the notices that were sent, in the state folder, so that a restart repeats none."""

import contextlib
import json
import logging
from pathlib import Path

from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import parse_json

__all__ = ["NOTICES", "NoticeRecord"]

NOTICES = "notices.json"
"""Name of the file in the state folder."""

_log = logging.getLogger(__name__)


class NoticeRecord:
    """Notices of a session, by what they are about and where they go; and tries that failed.

    A record that is damaged, or of another session in the state folder, counts as empty.

    Parameters
    ----------
    state
        The state folder.
    session
        Name of the session.
    """

    def __init__(self, state: Path, session: str) -> None:
        self._path = state / NOTICES
        self._session = session
        self._sent: set[str] = set()
        self._failures: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            values = parse_json(self._path.read_bytes())
            if values["session"] == session:
                self._sent = set(map(str, values["sent"]))
                self._failures = {str(k): int(v) for k, v in values["failures"].items()}

    def is_sent(self, key: str, target: str) -> bool:
        """Return True if a notice has been sent to an address."""
        return _name(key, target) in self._sent

    def failures(self, key: str, target: str) -> int:
        """Return how often a notice could not be sent."""
        return self._failures.get(_name(key, target), 0)

    def sent(self, key: str, target: str) -> None:
        """Record that a notice was sent."""
        self._sent.add(_name(key, target))
        self._failures.pop(_name(key, target), None)
        self._save()

    def failed(self, key: str, target: str) -> None:
        """Record that a notice could not be sent."""
        self._failures[_name(key, target)] = self.failures(key, target) + 1
        self._save()

    def _save(self) -> None:
        values = {
            "session": self._session,
            "sent": sorted(self._sent),
            "failures": self._failures,
        }
        try:
            write_atomically(self._path, (json.dumps(values, indent=1) + "\n").encode())
        except OSError as error:  # a full disk: known until the next restart
            _log.warning("%s cannot be written: %s", self._path, error.strerror)


def _name(key: str, target: str) -> str:
    return f"{key} > {target}"

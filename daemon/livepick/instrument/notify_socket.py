"""The service manager's side of the notifications that a session's process sends.

The supervisor is to its sessions what systemd is to the supervisor: it is told when one is ready
and what it does, and hears its watchdog, so that a session that hangs is found and started again.
"""

import logging
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

__all__ = ["NotifySocket", "NotifySockets"]

MOST_BYTES = 8192

START_SECONDS = 300.0
"""Time for a start, as TimeoutStartSec in deploy/livepick@.service."""

_log = logging.getLogger(__name__)


class NotifySocket:
    """Socket to which one process sends its state.

    Parameters
    ----------
    path
        The socket, in a folder that only this user can open. The kernel allows 107 bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        self._socket.settimeout(0)
        self.is_ready = False
        """True once the process has said so."""
        self.sentence = ""
        """Current activity of the process, in its own words."""
        self.heard_at = time.monotonic()
        """Time of the last sign of life, on the monotonic clock."""
        self.ready_by = self.heard_at + START_SECONDS
        """Time by which it is to be ready, on the monotonic clock. A start that waits moves it."""

    def read(self) -> None:
        """Read all messages that have come."""
        while True:
            try:
                message = self._socket.recv(MOST_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                _log.warning("sessions: a notification was not read: %s", error.strerror)
                return
            for line in message.decode(errors="replace").splitlines():
                self._take(line)

    def _take(self, line: str) -> None:
        key, _, value = line.partition("=")
        if key in ("READY", "WATCHDOG", "RELOADING", "EXTEND_TIMEOUT_USEC"):
            self.heard_at = time.monotonic()
        if key == "READY":
            self.is_ready = True
        elif key == "EXTEND_TIMEOUT_USEC" and value.isdigit():
            self.ready_by = max(self.ready_by, self.heard_at + int(value) / 1e6)
        elif key == "STATUS":
            self.sentence = value

    def close(self) -> None:
        """Remove the socket."""
        self._socket.close()
        self.path.unlink(missing_ok=True)


class NotifySockets:
    """Makes the sockets of all processes, in a folder that only this user can open."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="livepick-"))
        self._count = 0

    def make(self) -> NotifySocket:
        """Return a new socket."""
        self._count += 1
        return NotifySocket(self._folder / str(self._count))

    @staticmethod
    def environment(of: NotifySocket, watchdog_seconds: float) -> dict[str, str]:
        """Return the variables that tell a process to use a socket."""
        return {
            "NOTIFY_SOCKET": os.fspath(of.path),
            "WATCHDOG_USEC": str(int(watchdog_seconds * 1e6)),
        }

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

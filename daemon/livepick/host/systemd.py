"""Notifications to systemd: READY, RELOADING, STATUS, WATCHDOG, over its datagram socket.

The protocol takes fifteen lines and is not worth a dependency. Without ``NOTIFY_SOCKET`` (a
terminal, a test, a container) every message is a no-op.
"""

import logging
import os
import socket
import subprocess
import time

__all__ = ["Systemd", "machine_is_stopping", "under_journal"]

_log = logging.getLogger(__name__)


class Systemd:
    """Notification socket of the service manager; without one, all methods do nothing.

    Parameters
    ----------
    environment
        Environment with ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``; in the service, the process's
        own. Both are for this process alone, so they are removed from the environment: a trainer
        or worker that inherited them could send messages for the service.
    """

    def __init__(self, environment: dict[str, str] | os._Environ[str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        watchdog_usec = environment.pop("WATCHDOG_USEC", "")
        owner = environment.pop("WATCHDOG_PID", "")
        ours = not owner or owner == str(os.getpid())
        self.watchdog_seconds = (
            int(watchdog_usec) / 1e6 if watchdog_usec.isdigit() and ours else None
        )
        """systemd kills the service if WATCHDOG=1 comes less often than this; None: no watchdog."""

    @property
    def is_present(self) -> bool:
        """True if a service manager has started this process."""
        return bool(self._address)

    def ready(self) -> None:
        """Report that the service is ready (at the start, and at the end of a reload)."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Report that a reload begins; Type=notify-reload waits for the time stamp."""
        self._send(
            f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        )

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def status(self, sentence: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send(f"STATUS={sentence.replace(chr(10), ' ')}")

    def alive(self) -> None:
        """Feed the watchdog; call it only while work progresses."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Request this much more time to start or stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ means the abstract namespace, whose names begin with a NUL byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.connect(address)
                channel.sendall(message.encode())
        except OSError as error:
            _log.warning("systemd: %s not sent: %s", message.partition("=")[0], error)


def machine_is_stopping() -> bool:
    """Return True if the machine is being shut down or restarted, as far as systemd says."""
    try:
        said = subprocess.run(
            ["systemctl", "is-system-running"],  # noqa: S607 - from the path, as in a terminal
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return said.stdout.strip() == "stopping"


def under_journal() -> bool:
    """Return True if stderr goes to the journal, which adds time and unit itself."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stderr = os.fstat(2)
    except OSError:  # no stderr at all
        return False
    return (device, inode) == (str(stderr.st_dev), str(stderr.st_ino))

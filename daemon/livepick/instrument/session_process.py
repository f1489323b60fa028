"""The process that picks one session: its start, its log, its heartbeat and its end."""

import contextlib
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from livepick.host.run_with_parent import with_parent
from livepick.host.systemd import under_journal
from livepick.instrument.notify_socket import NotifySocket, NotifySockets

__all__ = ["WATCHDOG_SECONDS", "SessionProcess"]

WATCHDOG_SECONDS = 120.0
"""A session that is ready and sends no sign of life for this long is killed and started again, as
systemd does with a service (WatchdogSec in deploy/livepick@.service)."""

STOP_SECONDS = 55.0
"""Time for a session to stop before it is killed. systemd gives the whole service 60 seconds."""

LAST_LINES = 20
"""Number of lines of the log that are kept to say why a session has ended."""

MOST_LINE_BYTES = 16 << 10

_LINE = re.compile(r"[-\d]+ [\d:]+ [-+]\d{4} (DEBUG|INFO|WARNING|ERROR|CRITICAL) +(.*)", re.DOTALL)
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

_log = logging.getLogger(__name__)


class SessionProcess:
    """A running ``livepick run`` of one session.

    It ends with the thread that makes this object, however that ends.

    Parameters
    ----------
    name
        Name of the session, which begins each line of its log.
    config
        Config file of the session.
    notify
        Socket for its notifications.
    program
        Command before ``run``.
    """

    def __init__(
        self,
        name: str,
        config: Path,
        notify: NotifySocket,
        program: tuple[str, ...] = (sys.executable, "-m", "livepick"),
    ) -> None:
        self.name = name
        self.notify = notify
        self.started_at = time.monotonic()
        self.stop_at: float | None = None
        """Time at which it was told to stop, on the monotonic clock; None: it was not."""
        self.is_hung = False
        """True if it was killed because it sent no sign of life."""
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        command = [*program, "run", "--exit-when-ended", str(config)]
        environment = os.environ | NotifySockets.environment(notify, WATCHDOG_SECONDS)
        # In a group of its own: Ctrl-C is for the supervisor, which tells the sessions to stop.
        self._process = subprocess.Popen(
            with_parent(command),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read_log, name=f"log of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ended(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Tell it to stop, once."""
        if self.stop_at is None:
            self.stop_at = time.monotonic()
            self._send(signal.SIGTERM)

    def reload(self) -> None:
        """Tell it to read its config again; it ends a session that has not yet a handler."""
        if self.notify.is_ready:
            self._send(signal.SIGHUP)

    def watch(self) -> None:
        """Read its notifications, and kill it if it hangs. Call it every second or so."""
        self.notify.read()
        now = time.monotonic()
        if self.stop_at is not None:
            if now - self.stop_at > STOP_SECONDS:
                self._send(signal.SIGKILL)
        elif self._hangs(now):
            _log.error("%s: no sign of life; it is killed", self.name)
            self.is_hung = True
            self._send(signal.SIGKILL)

    def _hangs(self, now: float) -> bool:
        if not self.notify.is_ready:
            return now > self.notify.ready_by
        return now - self.notify.heard_at > WATCHDOG_SECONDS

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    def reason(self) -> str:
        """Return why it has ended, in words."""
        status = self._process.poll()
        self._reader.join(1.0)
        if self.is_hung:
            return "it hung, and was killed"
        if status is not None and status < 0:
            return f"it was killed by {signal.Signals(-status).name}"
        what, _ = self._error()
        last = [what] if what else [line.strip() for line in self._last if line.strip()][-1:]
        return last[0] if last else f"exit status {status}"

    def remedy(self) -> str:
        """Return what to do about the reason, in its own words; empty if it has not said so."""
        self._reader.join(1.0)
        return self._error()[1]

    def _error(self) -> tuple[str, str]:
        """Return the last error that it has printed and its remedy, as ``cli.main`` prints them."""
        lines = list(self._last)
        begun = [n for n, line in enumerate(lines) if line.startswith("livepick: ")]
        if not begun:
            return "", ""
        first, *rest = lines[begun[-1] :]
        more = list(itertools.takewhile(lambda line: line.startswith("  "), rest))
        what = " ".join([first.removeprefix("livepick: ").strip(), *map(str.strip, more[:-1])])
        return what, more[-1].strip() if more else ""

    def close(self) -> None:
        """Release what belongs to it, after its end."""
        self._process.wait()
        self._reader.join(1.0)
        self.notify.close()

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _read_log(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        with stream:
            while line := stream.readline(MOST_LINE_BYTES):
                text = line.decode(errors="replace").rstrip("\n")
                self._last.append(text)
                self._show(text)

    def _show(self, text: str) -> None:
        found = _LINE.fullmatch(text)
        level, words = (found[1], found[2]) if found else ("", text)
        if under_journal():
            _log.log(_LEVELS.get(level, logging.INFO), "%s: %s", self.name, words)
            return
        begin = text[: found.start(2)] if found else ""
        with contextlib.suppress(OSError, ValueError):  # nobody reads the log
            sys.stderr.write(f"{begin}{self.name}: {words}\n")

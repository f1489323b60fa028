"""Conditions of the machine that a start waits for, instead of ending.

A full or read-only disk, a mount that is missing, a busy port or a process that is killed pass,
often without anybody doing something about livepick. systemd gives up after a few starts; a service
that waits continues by itself. While it waits, the log and ``systemctl status`` say what for.

Started by hand, the service does not wait for another livepick on the same state folder, or for
a GPU: a person is there to decide.
"""

import errno
import logging
import time
from collections.abc import Callable

from livepick.errors import (
    BusyError,
    ConfigError,
    DamagedLedgerError,
    EngineError,
    LedgerError,
    LivepickError,
    ProviderError,
)
from livepick.host.systemd import Systemd

__all__ = ["StartWaits", "passes"]

PAUSE_SECONDS = 5.0
"""Time between two tries."""

EXTENSION_SECONDS = 60.0
"""Time that systemd is asked for at each try: a try may take long on a slow disk."""

LOG_SECONDS = 600.0
"""Interval at which the log repeats what a start waits for."""

_log = logging.getLogger(__name__)


class StartWaits:
    """Repeats a start until the machine is ready for it.

    Parameters
    ----------
    systemd
        Service manager to report to.
    is_edited
        Called before each try; if it returns True, the config has been edited, and the start ends.
    """

    def __init__(self, systemd: Systemd, is_edited: Callable[[], bool]) -> None:
        self._systemd = systemd
        self._is_edited = is_edited
        self._reason = ""
        self._logged_at = float("-inf")

    def run(self, start: Callable[[], None]) -> bool:
        """Call ``start`` until it raises no error that may pass.

        Returns
        -------
        bool
            False if the config has been edited meanwhile, so that another start is needed.

        Raises
        ------
        LivepickError, OSError
            An error that does not pass by itself.
        """
        while True:
            try:
                start()
            except (LivepickError, OSError) as error:
                if not passes(error, is_managed=self._systemd.is_present):
                    raise
                self._report(error)
            else:
                return True
            time.sleep(PAUSE_SECONDS)
            if self._is_edited():
                _log.info("start: the config was edited, and is read again")
                return False

    def _report(self, error: LivepickError | OSError) -> None:
        reason = str(error)
        self._systemd.status(f"waiting to start: {reason}")
        self._systemd.extend_timeout(PAUSE_SECONDS + EXTENSION_SECONDS)
        self._systemd.alive()  # READY was sent before, if the state folder has gone since
        now = time.monotonic()
        if reason != self._reason or now - self._logged_at >= LOG_SECONDS:
            self._reason, self._logged_at = reason, now
            _log.error("start waits, and continues by itself: %s", reason)


def passes(error: BaseException, *, is_managed: bool) -> bool:
    """Return True if a start shall wait because an error may pass.

    Parameters
    ----------
    error
        Error of the start.
    is_managed
        True if a service manager has started the service.
    """
    if isinstance(error, BusyError | ProviderError):
        return is_managed
    if isinstance(error, DamagedLedgerError):
        return False  # a new ledger is begun
    cause = _system_error(error)
    if isinstance(error, ConfigError):
        return cause is not None and cause.errno == errno.EADDRINUSE
    if isinstance(error, EngineError) or cause is not None:
        return True
    # An error of SQLite; one of the ledger's version has no cause.
    return isinstance(error, LedgerError) and (error.retryable or error.__cause__ is not None)


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the system's error that an error was raised from, or None."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error

"""Conditions that a start waits for, and errors that end it."""

import errno
import os
import socket
import sqlite3

import pytest

from livepick.errors import (
    BusyError,
    ConfigError,
    DamagedLedgerError,
    EngineError,
    LedgerError,
    LedgerWriteError,
    LivepickError,
    ModelError,
    ProviderError,
)
from livepick.host.systemd import Systemd
from livepick.ledger.database import LEDGER, Database
from livepick.monitoring import start_waits
from livepick.monitoring.start_waits import StartWaits, passes


def caused(kind, cause):
    error = kind("what", "remedy")
    error.__cause__ = cause
    return error


def system_error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "by_hand", "managed"),
    [
        (caused(LedgerError, system_error(errno.ENOSPC)), True, True),
        (caused(LedgerError, system_error(errno.EROFS)), True, True),
        (caused(ModelError, system_error(errno.EDQUOT)), True, True),
        (caused(LedgerError, sqlite3.OperationalError("unable to open")), True, True),
        (LedgerWriteError("database is locked", "Close the other program."), True, True),
        (system_error(errno.ESTALE), True, True),
        (EngineError("a worker was killed", "Look in the system log."), True, True),
        (caused(ConfigError, system_error(errno.EADDRINUSE)), True, True),
        (caused(ConfigError, system_error(errno.EADDRNOTAVAIL)), False, False),
        (ConfigError("web.listen is wrong", "Fix it."), False, False),
        (caused(DamagedLedgerError, sqlite3.DatabaseError("malformed")), False, False),
        (LedgerError("the ledger has version 9", "Use the newer livepick."), False, False),
        (ModelError("the graph is damaged", "Roll back."), False, False),
        (BusyError("another livepick works here", "Stop it."), False, True),
        (ProviderError("there is no GPU", "Look at nvidia-smi."), False, True),
    ],
)
def test_a_start_waits_for_what_passes(error, by_hand, managed):
    """Under systemd it also waits for another service to end, and for the GPU's driver."""
    assert passes(error, is_managed=False) is by_hand
    assert passes(error, is_managed=True) is managed


def test_a_state_folder_that_cannot_be_made_is_waited_for(tmp_path):
    (tmp_path / "state").write_text("a file, or what is below a mount that is missing")
    with pytest.raises(LivepickError) as caught:
        Database.writable(tmp_path / "state" / LEDGER)
    assert passes(caught.value, is_managed=False)


def test_a_start_that_waits_says_so(monkeypatch, tmp_path, caplog):
    """To systemd, which is asked for more time at each try, and once in the log."""
    monkeypatch.setattr(start_waits, "PAUSE_SECONDS", 0.01)
    errors = [system_error(errno.ENOSPC)] * 3

    def start():
        if errors:
            raise errors.pop()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert StartWaits(systemd, lambda: False).run(start)
        heard = [manager.recv(1000).decode() for _ in range(9)]
    assert heard[::3] == ["STATUS=waiting to start: [Errno 28] No space left on device"] * 3
    assert all(each.startswith("EXTEND_TIMEOUT_USEC=60") for each in heard[1::3])
    assert heard[2::3] == ["WATCHDOG=1"] * 3, "a service that ran before is watched"
    assert caplog.text.count("start waits, and continues by itself") == 1


def test_an_edit_of_the_config_ends_the_waiting(monkeypatch):
    """The new settings may be what the start needs."""
    monkeypatch.setattr(start_waits, "PAUSE_SECONDS", 0.01)
    edits = iter([False, True])

    def start():
        raise EngineError("no worker", "")

    assert not StartWaits(Systemd({}), lambda: next(edits)).run(start)


def test_an_error_that_does_not_pass_ends_the_start():
    def start():
        raise ConfigError("web.listen is wrong", "Fix it.")

    with pytest.raises(ConfigError):
        StartWaits(Systemd({}), lambda: False).run(start)

"""The notification socket, and the unit files."""

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from livepick.host.systemd import Systemd

DEPLOY = Path(__file__).parents[3] / "deploy"
UNITS = ["livepick.service", "livepick@.service"]
CLUSTER_UNITS = ["dask/livepick-scheduler.service", "dask/livepick-worker.service"]

ANALYZE = shutil.which("systemd-analyze")


@pytest.fixture
def manager(tmp_path):
    """Return the service manager's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(1)
        yield channel


def test_messages_are_what_sd_notify_sends(manager):
    """Each is one datagram; a reload has the monotonic time that notify-reload needs."""
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()})

    systemd.reloading()
    systemd.ready()
    systemd.status("picked 8/9,\n96 particles")

    first, second = manager.recv(200).decode().splitlines()
    assert first == "RELOADING=1"
    assert second.removeprefix("MONOTONIC_USEC=").isdigit()
    assert manager.recv(200) == b"READY=1"
    assert manager.recv(200) == b"STATUS=picked 8/9, 96 particles"


def test_children_do_not_inherit_the_socket(manager):
    """A worker that sent WATCHDOG=1 would keep a hung service alive."""
    environment = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "120000000",
        "PATH": "/bin",
    }

    systemd = Systemd(environment)

    assert environment == {"PATH": "/bin"}
    assert systemd.watchdog_seconds == 120


def test_without_a_manager_nothing_is_sent_and_nothing_fails():
    """On a terminal the calls do nothing; if the manager is gone, they log a warning."""
    Systemd({}).ready()
    Systemd({"NOTIFY_SOCKET": "/nonexistent/socket"}).ready()


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", [*UNITS, *CLUSTER_UNITS])
def test_units_are_valid_and_hardened(name, tmp_path):
    """Systemd knows every line (by default it only warns), and rates the exposure as OK."""
    unit = tmp_path / Path(name).name
    # verify fails if the program does not exist
    text = (DEPLOY / name).read_text()
    unit.write_text(re.sub(r"/opt/livepick/bin/(livepick|dask)", "/bin/true", text))
    commands = (
        ["verify", "--recursive-errors=no", "--man=no"],
        ["security", "--offline=true", "--threshold=40"],
    )
    for command in commands:
        ran = subprocess.run(
            [ANALYZE, *command, str(unit)], capture_output=True, text=True, check=False
        )

        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stderr == ""


def test_the_template_differs_by_its_names_only():
    """Type, watchdog, restarts and hardening are the same in both units."""
    one, many = (
        [line for line in (DEPLOY / name).read_text().splitlines() if not line.startswith("#")]
        for name in UNITS
    )

    differing = [a.partition("=")[0] for a, b in zip(one, many, strict=True) if a != b]

    assert differing == ["Description", "ExecStart", "StateDirectory"]

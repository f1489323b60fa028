"""Faults of an instrument, watched by a real Prometheus: each alert fires, and ends when mended."""

import shutil
import signal
import socket

import pytest
import yaml
from monitoring import Prometheus
from session import livepick

from day import Day, Plan

PROMETHEUS = shutil.which("prometheus")
SCALE = 100
"""A minute is 0.6 s."""

pytestmark = [
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is missing (Debian's prometheus)"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


def two_ports():
    """Return the first of two neighbouring ports that nobody listens on."""
    for port in range(20301, 20900, 2):
        try:
            for each in (port, port + 1):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port
    raise AssertionError("no two ports are free")


@pytest.fixture
def day(tmp_path):
    """Return an instrument with two ports, one of whose sessions picks at a time."""
    made = Day(tmp_path, Plan(idle_seconds=36000))
    settings = yaml.safe_load(made.config.read_text())
    first = two_ports()
    settings["sessions"]["ports"] = f"{first}-{first + 1}"
    settings["sessions"]["quiet_minutes"] = 60
    settings["sessions"]["output"] = str(tmp_path / "picks" / "{session}")
    made.config.write_text(yaml.safe_dump(settings))
    yield made
    made.end()


def test_faults_of_an_instrument_are_told_and_fall_silent(day, tmp_path):
    """No port, a session that waits, a faulty livepick.yaml, and a folder that is away."""
    day.start()
    target = f"127.0.0.1:{day.port}"
    prometheus = Prometheus(PROMETHEUS, tmp_path / "prometheus", target=target, scale=SCALE)
    try:
        for name in ("s1", "s2", "s3"):
            day.collect(name, 0, 1)
        prometheus.until(fire=["LivepickSessionWaitsForTurn", "LivepickSessionNotPicked"])
        without = next(each for each in day.overview().values() if each["not_picked"])
        assert (without["not_picked"], without["state"]) == ("ports", "config_fault")
        assert "all ports of sessions.ports" in without["sentence"]
        open_ones = [name for name in ("s1", "s2", "s3") if name != without["name"]]

        override = day.data / open_ones[0] / "livepick.yaml"
        override.write_text("output: {formats: [csv]}")
        prometheus.until(fire=["LivepickSessionSettingsRefused"])
        override.unlink()
        prometheus.until(silent=["LivepickSessionSettingsRefused"])

        assert livepick("end", day.config, "--session", open_ones[0]).returncode == 0
        settings = yaml.safe_load(day.config.read_text())
        settings["sessions"]["at_once"] = 3
        day.config.write_text(yaml.safe_dump(settings))
        day.service.send_signal(signal.SIGHUP)
        prometheus.until(silent=["LivepickSessionNotPicked", "LivepickSessionWaitsForTurn"])
        day.until(lambda: day.counts(without["name"]).picked == 1, "the third is picked")

        day.data.rename(day.data.with_name("away"))
        prometheus.until(fire=["LivepickSessionsFolderGone"])
        day.data.with_name("away").rename(day.data)
        prometheus.until(silent=["LivepickSessionsFolderGone"])
    finally:
        prometheus.close()

"""``livepick status --watch``."""

import json

import pytest
import yaml

from livepick import cli
from livepick.commands import status as command


@pytest.fixture
def config_file(tmp_path):
    """Return the config file of a session that has not begun."""
    path = tmp_path / "session.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "session": {"name": "krios2"},
                "watch": {"directories": [str(tmp_path / "in")]},
                "particle": {"diameter_angstrom": 150},
                "output": {"directory": str(tmp_path / "out")},
                "state": {"directory": str(tmp_path / "state")},
            }
        )
    )
    return path


@pytest.fixture
def ctrl_c_after(monkeypatch):
    """Return a function that lets Ctrl-C be pressed in the n-th pause; pauses are written down."""

    def after(count):
        pauses = []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == count:
                raise KeyboardInterrupt

        monkeypatch.setattr(command.time, "sleep", sleep)
        return pauses

    return after


def test_piped_one_report_follows_the_other_until_ctrl_c(config_file, ctrl_c_after, capsys):
    """Ctrl-C is how it ends, so it is no failure."""
    pauses = ctrl_c_after(3)

    assert cli.main(["status", str(config_file), "--watch", "7"]) == 0
    assert pauses == [7, 7, 7]
    assert capsys.readouterr().out.count("krios2: not begun") == 3


def test_json_is_a_line_each_time(config_file, ctrl_c_after, capsys):
    ctrl_c_after(2)

    assert cli.main(["status", "--watch", "--json", str(config_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["session"] for line in lines] == ["krios2", "krios2"]


def test_on_a_terminal_it_is_drawn_in_place(config_file, ctrl_c_after, capsys, monkeypatch):
    """The cursor goes up and the line is cleared before the next report."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    ctrl_c_after(3)

    assert cli.main(["status", str(config_file), "--watch"]) == 0
    assert "\x1b[2K" in capsys.readouterr().out


def test_a_faulty_edit_does_not_end_it(config_file, ctrl_c_after, capsys, monkeypatch):
    """As in the service, the former settings stay."""
    ctrl_c_after(2)
    looked = command.read_status

    def edit_badly(config):
        config_file.write_text("session: [")
        return looked(config)

    monkeypatch.setattr(command, "read_status", edit_badly)

    assert cli.main(["status", str(config_file), "--watch"]) == 0
    assert capsys.readouterr().out.count("not begun") == 2


def test_seconds_are_for_watch_only(config_file, capsys):
    assert cli.main(["status", str(config_file), "5"]) == 2
    assert "--watch" in capsys.readouterr().err

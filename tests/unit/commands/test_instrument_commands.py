"""``livepick new``, ``list`` and ``end`` for an instrument, without its service."""

import json
import os
from pathlib import Path

import pytest

from livepick.cli import main
from livepick.config.yaml_loader import load_config

TEXT = """\
sessions:
  pattern: {root}/data/{{session}}/MotionCorr
  state: {root}/state/{{session}}
  output: {root}/data/{{session}}/livepick
  ports: 20901-20999
particle: {{diameter_angstrom: 160}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "krios1.yaml"
    path.write_text(TEXT.format(root=tmp_path))
    for name in ("old one", "s2"):
        folder = tmp_path / "data" / name / "MotionCorr"
        folder.mkdir(parents=True)
        (folder / "a.mrc").touch()
    os.utime(tmp_path / "data" / "old one" / "MotionCorr", (1e9, 1e9))
    return path


def sessions(config: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["list", str(config), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    return {each["name"]: each for each in values["sessions"]}


def test_list_changes_nothing_and_shows_each_session(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sessions(config, capsys)
    assert {name[:7]: each["state"] for name, each in found.items()} == {
        "old-one": "old",
        "s2": "waiting",
    }
    assert not (config.parent / "state").exists()
    assert main(["list", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "The service is not running" in shown
    assert "s2" in shown


def test_new_begins_an_old_session_with_settings_of_its_own(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", str(config), "old one", "--set", "particle.diameter_angstrom=210"]) == 0
    (name,) = [each for each in sessions(config, capsys) if each.startswith("old-one")]
    assert sessions(config, capsys)[name]["state"] == "waiting"
    path = config.parent / "state" / name / "session.yaml"
    assert load_config(path).particle.diameter_angstrom == 210
    config.write_text(config.read_text().replace("160", "170"))
    assert main(["new", str(config), name]) == 0
    assert load_config(path).particle.diameter_angstrom == 210


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["s3"], "no session s3"),
        (["s2", "--set", "diameter=3"], "not a setting"),
        (["s2", "--set", "particle.diameter_angstrom=3"], "diameter_angstrom"),
        (["s2", "--set", "particle.diameter_angstrom=[3]"], "a list or a section"),
    ],
)
def test_new_refuses_what_it_cannot_do(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["new", str(config), *arguments]) == 78
    assert words in capsys.readouterr().err


def test_end_edits_the_config_of_the_session(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["end", str(config), "s2"]) == 78
    assert f"livepick new {config} s2" in capsys.readouterr().err
    assert main(["new", str(config), "s2"]) == 0
    path = config.parent / "state" / "s2" / "session.yaml"
    assert main(["end", str(config), "s2"]) == 0
    assert load_config(path).session.ended
    assert main(["end", "--undo", str(config), "s2"]) == 0
    assert not load_config(path).session.ended


def test_end_without_a_name_lists_the_sessions(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["end", str(config)]) == 78
    assert "Name a session: old-one" in capsys.readouterr().err


def test_commands_for_one_session_say_what_to_name(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("status", "report", "retrain", "classes"):
        assert main([command, str(config)]) == 78
        assert f"livepick list {config}" in capsys.readouterr().err


def test_list_of_a_single_session_names_status(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["new", str(config), "s2"])
    path = config.parent / "state" / "s2" / "session.yaml"
    capsys.readouterr()
    assert main(["list", str(path)]) == 78
    assert f"livepick status {path}" in capsys.readouterr().err


def test_check_of_an_instrument_names_what_is_missing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "ports of the sessions: 99 of 99 are free" in shown
    config.write_text(config.read_text().replace("particle:", "partcle:"))
    assert main(["check", str(config)]) == 78

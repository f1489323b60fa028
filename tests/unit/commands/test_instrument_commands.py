"""``livepick new``, ``list`` and ``end`` for an instrument, without its service."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from livepick import cli
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


def test_many_old_folders_are_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for number in range(20):
        folder = config.parent / "data" / f"old{number:02d}" / "MotionCorr"
        folder.mkdir(parents=True)
        (folder / "a.mrc").touch()
        os.utime(folder, (1e9, 1e9))
    assert main(["list", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "21 folders have old files only" in shown
    assert "old07" not in shown
    assert "It is picked once the service runs." in shown
    assert main(["list", str(config), "--all"]) == 0
    assert "old07" in capsys.readouterr().out
    assert len(sessions(config, capsys)) == 22


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
    assert "Name one by --session NAME: old-one" in capsys.readouterr().err


COMMANDS_OF_A_SESSION = (
    ["status"],
    ["report"],
    ["retrain"],
    ["classes"],
    ["exclude", "a.mrc"],
    ["include", "a.mrc"],
    ["end"],
    ["models", "list"],
    ["models", "show", "0"],
    ["models", "promote", "0"],
    ["models", "rollback"],
    ["models", "prune"],
    ["cryosparc-push", "--project", "P1", "--workspace", "W1", "--exposures", "J1"],
)
OF_BOTH = (["check"], ["doctor"], ["notify-test"])


def called(words: list[str], config: Path, *more: str) -> list[str]:
    """Return the words of a command with its config as the first argument."""
    at = 2 if words[0] == "models" else 1
    return [*words[:at], str(config), *words[at:], *more]


def leaves(command: Any, words: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each command and subcommand with the words that its help shows."""
    shown = {word for each in command.params for word in (*each.opts, each.metavar or "")}
    yield words, shown
    for word, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, f"{words} {word}")


def test_each_command_with_a_config_names_a_session_by_the_same_option() -> None:
    """A command that is for no single session, or begins one, has no such option."""
    without = set()
    for name in cli.COMMANDS:
        application: Any = typer.main.get_command(cli._application([name]))
        for words, shown in leaves(application.commands[name], name):
            if "CONFIG" in shown and "--session" not in shown:
                without.add(words)
    assert without == {"run", "list", "new", "setup"}


@pytest.mark.parametrize("words", COMMANDS_OF_A_SESSION, ids=" ".join)
def test_a_command_on_a_session_says_how_to_name_it(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(called(words, config)) == 78
    said = capsys.readouterr().err
    assert "which has many sessions" in said
    assert "Name one by --session NAME: old-one" in said


@pytest.mark.parametrize("words", [*COMMANDS_OF_A_SESSION, *OF_BOTH], ids=" ".join)
def test_a_command_with_a_session_uses_the_config_of_that(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """Each says that the session has not begun, and then reads no other config."""
    assert main(called(words, config, "--session", "s2")) == 78
    assert "s2 has not begun" in capsys.readouterr().err
    assert main(called(words, config, "--session", "../s2")) == 78
    assert "there is no session ../s2" in capsys.readouterr().err
    main(["new", str(config), "s2"])
    path = config.parent / "state" / "s2" / "session.yaml"
    path.write_text(path.read_text().replace("particle:", "partcle:"))
    capsys.readouterr()
    main(called(words, config, "--session", "s2"))
    seen = capsys.readouterr()
    assert str(path) in seen.out + seen.err


def test_a_command_on_a_session_names_it_also_while_the_folder_of_all_is_away(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["new", str(config), "s2"])
    (config.parent / "data").rename(config.parent / "away")
    assert main(["retrain", str(config), "--session", "s2"]) == 0
    path = config.parent / "state" / "s2" / "session.yaml"
    assert load_config(path).training.generation == 2
    capsys.readouterr()
    assert main(["status", str(path), "--session", "s2"]) == 2
    assert "the config of one session" in " ".join(capsys.readouterr().err.split())


def test_a_test_notice_goes_to_the_addresses_of_the_instrument(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = config.with_name("chat.url")
    address.write_text("json://127.0.0.1:9/")
    address.chmod(0o600)
    with config.open("a") as file:
        file.write(f"notify: [{{url_file: {address}}}]\n")
    assert main(["notify-test", str(config)]) == 1
    assert "not sent" in capsys.readouterr().out


def test_list_of_a_single_session_names_status(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["new", str(config), "s2"])
    path = config.parent / "state" / "s2" / "session.yaml"
    capsys.readouterr()
    assert main(["list", str(path)]) == 78
    assert f"livepick status {path}" in capsys.readouterr().err


def test_check_of_an_instrument_names_what_each_session_would_refuse(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = config.with_name("token")
    token.write_text("with spaces, which a token has not")
    token.chmod(0o600)
    with config.open("a") as file:
        file.write(f"web: {{listen: '127.0.0.1:0', actions: token, token_file: {token}}}\n")
    assert main(["check", str(config)]) == 1
    assert "FAULT   actions on the page: web.token_file" in capsys.readouterr().out


def test_check_of_an_instrument_names_what_is_missing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(config)]) == 0
    shown = capsys.readouterr().out
    for name in ("SQLite", "picking device", "trainer", "first picks", "page and metrics"):
        assert f"{name}: " in shown, shown
    assert "ports of the sessions: 99 of 99 are free" in shown
    config.write_text(config.read_text().replace("particle:", "partcle:"))
    assert main(["check", str(config)]) == 78

"""With a Python or an SQLite that is too old, the first words say what to do."""

import ast
import json
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import livepick
from livepick import cli
from livepick.host import sqlite_version

ROOT = Path(__file__).parents[3]


@pytest.fixture
def old_sqlite(monkeypatch):
    """Pretend to have the SQLite of RHEL 9."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")


def called(capsys, *words):
    """Return the exit status of a command, its output and its errors."""
    status = cli.main(list(map(str, words)))
    said = capsys.readouterr()
    return status, said.out, said.err


def test_check_is_not_ready_with_an_old_sqlite(old_sqlite, config_file, capsys):
    """It used to say ready, and run refused."""
    status, said, _ = called(capsys, "check", config_file)

    assert status == 1
    assert "FAULT   SQLite: this Python" in said
    assert "has SQLite 3.34.1, and livepick needs 3.37 or newer" in said
    assert "by uv or conda, without root: deploy/install.md" in said
    assert said.splitlines()[-1].startswith("not ready")


def test_check_says_an_old_sqlite_in_json(old_sqlite, config_file, capsys):
    status, said, _ = called(capsys, "check", config_file, "--json")

    report = json.loads(said)
    (found,) = [check for check in report["checks"] if check["name"] == "SQLite"]
    assert (status, report["ready"], found["verdict"]) == (1, False, "fault")


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name != "check"])
def test_every_command_says_that_sqlite_is_too_old(name, old_sqlite, capsys):
    """Those that need a ledger end there; the others do their work."""
    status, said, faults = called(capsys, name, *(["--help"] * (name in cli._WITHOUT_LEDGER)))

    assert faults.startswith("livepick: this Python (")
    assert "has SQLite 3.34.1, and livepick needs 3.37 or newer for its ledger\n" in faults
    assert faults.count("\n") == 2
    assert (status, bool(said)) == ((0, True) if name in cli._WITHOUT_LEDGER else (1, False))


def test_a_python_without_sqlite_is_named(monkeypatch, config_file, capsys):
    """Some are built without it."""
    monkeypatch.setattr(sqlite_version, "sqlite3", None)

    status, _, faults = called(capsys, "check", config_file)

    assert status == 1
    assert "was built without SQLite" in faults


def test_a_new_sqlite_is_not_mentioned(config_file, capsys):
    assert "SQLite" not in called(capsys, "status", config_file)[2]


def test_the_oldest_python_is_that_of_the_package():
    """``livepick`` says the version that pip refuses below."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["requires-python"] == f">={'.'.join(map(str, livepick.OLDEST_PYTHON))}"


@pytest.mark.parametrize("version", [(3, 6, 8), (3, 9, 18), (3, 10, 13)])
def test_an_old_python_is_told_what_livepick_needs(version):
    """One sentence and the remedy, not a syntax error in a module."""
    code = f"import sys; sys.version_info = {version}; import livepick.cli"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert ran.returncode == 1
    assert ran.stderr == (
        f"livepick: this is Python 3.{version[1]} ({sys.executable}), and livepick needs 3.11 or"
        " newer\n  Install it with a newer Python; deploy/install.md says how on your system,"
        " without root.\n"
    )


@pytest.mark.parametrize("path", ["daemon/livepick/__init__.py", "setup.py"])
def test_an_old_python_can_read_what_it_is_told_by(path):
    """Newer syntax there would be the error that it is to prevent."""
    ast.parse((ROOT / path).read_text(), feature_version=(3, 6))


def test_real_old_pythons_say_it_too():
    """Those that this machine has."""
    names = [f"python3.{minor}" for minor in range(6, 11)]
    programs = [path for path in map(shutil.which, names) if path is not None]
    started = [
        path for path in programs
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
    ]  # fmt: skip
    if not started:
        pytest.skip("there is no old Python here")
    for program in started:
        ran = subprocess.run(
            [program, "-B", "-m", "livepick", "check", "x.yaml"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT / "daemon",
        )

        assert ran.returncode == 1
        assert ran.stderr.startswith("livepick: this is Python 3.")
        assert ran.stderr.count("\n") == 2


def test_an_old_pip_is_told_to_update():
    """It reads no pyproject.toml, and calls setup.py."""
    ran = subprocess.run(
        [sys.executable, "setup.py", "egg_info"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert ran.returncode == 1
    assert ran.stderr.startswith("livepick: this pip is too old to install livepick")
    assert "pip install --upgrade pip" in ran.stderr

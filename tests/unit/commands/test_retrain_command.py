"""``livepick retrain``: it changes one number in the user's file, and nothing else."""

import os
from pathlib import Path

import pytest

from livepick import cli
from livepick.commands.retrain import next_generation
from livepick.config.yaml_loader import parse_config
from livepick.errors import ConfigError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.session_end import SessionEnd, write_session_end
from livepick.ledger.writer import LedgerWriter

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"

BASE = """\
session: {name: s}  # krios
watch: {directories: [in]}
particle: {diameter_angstrom: 150}
output: {directory: out}
state: {directory: state}
"""


def raised(text, note=""):
    edit = next_generation(text, Path("/data/s.yaml"), note)
    assert parse_config(edit.text, Path("/data/s.yaml")).training.generation == edit.value
    return edit.text


def test_the_number_is_raised_by_one():
    assert raised(BASE + "training:\n  generation: 4\n") == BASE + "training:\n  generation: 5\n"


def test_the_example_is_edited_at_its_own_line():
    """The section and the setting lose their ``#``, and nothing else changes."""
    text = EXAMPLE.read_text()

    assert raised(text) == text.replace("\n#training:", "\ntraining:").replace(
        "\n  #generation: 1", "\n  generation: 2"
    )


def test_a_number_that_stands_for_two_settings_is_left_to_a_person():
    """An alias of a whole section: another setting would change with it."""
    text = BASE + "bootstrap: &all {}\ntraining: *all\n"
    with pytest.raises(ConfigError, match=r"by hand near line 7: training\.generation must be 2"):
        raised(text)


def test_a_note_is_one_line_of_text():
    assert "  generation: 2  # two lines\n" in raised(BASE + "training:\n", "two\n lines ")
    with pytest.raises(ConfigError, match="note"):
        raised(BASE, "bell \a")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(BASE)
    return path


def test_a_link_and_the_files_mode_stay(path, capsys):
    """The file that the link names is edited; the command says what happens next."""
    path.chmod(0o640)
    link = path.with_name("today.yaml")
    link.symlink_to(path.name)

    assert cli.main(["retrain", str(link), "--note", "better ice"]) == 0

    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_text().endswith("training:\n  generation: 2  # better ice\n")
    said = capsys.readouterr().out
    assert f"{link}, line 8: training.generation is now 2." in said
    assert "applies it within seconds" in said
    assert [entry.name for entry in path.parent.iterdir() if entry.name[0] == "."] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_files_owner_and_group_stay(path):
    """Root edits a file that the service's user must still be able to read."""
    os.chown(path, 1234, 4321)
    assert cli.main(["retrain", str(path)]) == 0
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_a_read_only_file_is_not_replaced(path, capsys, monkeypatch):
    """The folder would allow a rename, but somebody removed the write permission on purpose."""
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK)
    assert cli.main(["retrain", str(path)]) == 78
    assert path.read_text() == BASE
    said = capsys.readouterr().err
    assert "could not be written: it is read-only" in said
    assert "set training.generation to 2" in said


@pytest.mark.parametrize(
    ("text", "says"), [(BASE + "training: {generation: [", "line "), (BASE + "web: 3\n", "web")]
)
def test_a_broken_config_is_left_alone(path, capsys, text, says):
    path.write_text(text)
    assert cli.main(["retrain", str(path)]) == 78
    assert says in capsys.readouterr().err
    assert path.read_text() == text


def test_no_file_is_said(tmp_path, capsys):
    assert cli.main(["retrain", str(tmp_path / "none.yaml")]) == 78
    assert "cannot be read" in capsys.readouterr().err


def test_a_training_in_progress_is_not_ended_without_a_word(path, capsys, monkeypatch):
    """A script must say --yes; a person is asked."""
    with Database.writable(path.parent / "state" / LEDGER) as database:
        LedgerWriter(database).session.run_changed(3, "f", "running")
    assert cli.main(["retrain", str(path)]) == 1
    assert "Training run 0003 is in progress since" in capsys.readouterr().err
    assert path.read_text() == BASE

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for answer, status in ((False, 1), (True, 0)):
        monkeypatch.setattr("typer.confirm", lambda *_, answer=answer: answer)
        assert cli.main(["retrain", str(path)]) == status
        assert ("generation: 2" in path.read_text()) is answer
    monkeypatch.undo()
    assert cli.main(["retrain", str(path), "--yes"]) == 0
    assert "generation: 3" in path.read_text()


def test_an_ended_session_trains_only_after_it_is_reopened(path, capsys):
    """The edit is made, and the command says what it waits for."""
    state = path.parent / "state"
    state.mkdir()
    write_session_end(state, SessionEnd("s", 1.0, "person"))
    assert cli.main(["retrain", str(path)]) == 0
    assert "generation: 2" in path.read_text()
    assert "waits until it is reopened" in capsys.readouterr().out

"""Edits that are shown before they are made, and their history."""

import json

import pytest

from livepick.config.edit_history import DECISIONS, EDITS_FILE, MOST_KEPT, read_edits, record_edit
from livepick.config.proposed_edit import EditedKey, digest_of, propose, value_of
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError, LedgerWriteError

BASE = """\
session: {name: s}  # krios
watch: {directories: [in]}
particle:
  diameter_angstrom: 150  # from the paper
output: {directory: out}
state: {directory: state}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(BASE)
    return path


def test_a_proposal_changes_nothing_and_shows_the_lines(path):
    edit = propose(path, {"particle.diameter_angstrom": 200})

    assert path.read_text() == BASE
    assert [line.text for line in edit.diff() if line.kind in ("old", "new")] == [
        "-  diameter_angstrom: 150  # from the paper",
        "+  diameter_angstrom: 200  # from the paper",
    ]
    assert edit.retrains
    assert edit.digest == digest_of(BASE)
    assert edit.keys == (EditedKey("particle.diameter_angstrom", 150.0, 200.0),)


def test_several_settings_are_one_edit(path):
    values = {"bootstrap.classes.reject": [4], "bootstrap.classes.accept": [1, 2]}
    edit = propose(path, values)
    edit.file.write(edit.edit)

    classes = load_config(path).bootstrap.classes
    assert (classes.accept, classes.reject) == ([1, 2], [4])
    assert path.read_text().startswith(BASE)


def test_an_edit_is_undone_by_its_values_before(path):
    """A setting that was not in the file gets its default."""
    edit = propose(path, {"picking.threshold": 0.4})
    edit.file.write(edit.edit)
    assert not edit.retrains
    assert value_of(load_config(path), "picking.threshold") == 0.4

    (key,) = edit.keys
    undone = propose(path, {key.key: key.before})
    undone.file.write(undone.edit)
    assert load_config(path).picking.threshold == "auto"
    assert "# from the paper" in path.read_text()


def test_what_the_config_has_already_is_not_an_edit(path):
    with pytest.raises(ConfigError, match=r"has this already: picking\.threshold"):
        propose(path, {"picking.threshold": "auto"})


def test_a_file_that_was_edited_in_between_is_not_overwritten(path):
    edit = propose(path, {"picking.threshold": 0.4})
    path.write_text(BASE + "# another hand\n")
    with pytest.raises(ConfigError, match="edited by someone else"):
        edit.file.write(edit.edit)
    assert path.read_text().endswith("# another hand\n")


def test_the_history_has_who_and_what(tmp_path):
    keys = (EditedKey("picking.threshold", "auto", 0.4),)
    first = record_edit(tmp_path, by="Ada", title="set the threshold", keys=keys)
    second = record_edit(tmp_path, by="Bob", title="undo", keys=keys, undoes=first.number)

    assert read_edits(tmp_path) == [first, second]
    assert [edit.number for edit in read_edits(tmp_path)] == [1, 2]
    assert second.undoes == 1


def test_the_history_has_a_bound_and_numbers_go_on(tmp_path):
    record_edit(tmp_path, by="Ada", title="first", keys=())
    file = tmp_path / DECISIONS / EDITS_FILE
    found = json.loads(file.read_text())
    found["edits"] *= MOST_KEPT + 5
    found["edits"][-1] = found["edits"][-1] | {"number": 900}
    file.write_text(json.dumps(found))

    assert record_edit(tmp_path, by="Ada", title="next", keys=()).number == 901
    assert len(read_edits(tmp_path)) == MOST_KEPT


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 2, "edits": []}', b"[]", b"\xff"])
def test_a_damaged_history_starts_again(tmp_path, content):
    (tmp_path / DECISIONS).mkdir()
    (tmp_path / DECISIONS / EDITS_FILE).write_bytes(content)
    assert read_edits(tmp_path) == []
    assert record_edit(tmp_path, by="Ada", title="next", keys=()).number == 1


def test_a_history_that_cannot_be_written_says_that_the_edit_was_made(tmp_path):
    (tmp_path / DECISIONS).write_text("in the way")
    with pytest.raises(LedgerWriteError, match="could not be written"):
        record_edit(tmp_path, by="Ada", title="next", keys=())

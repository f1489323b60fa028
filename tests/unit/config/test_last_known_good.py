"""The copy of the settings in force, and how it is found past a faulty edit."""

import os

import pytest

from livepick.config.last_known_good import CONFIG_COPY, read_settings, save_config_copy
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError, LedgerWriteError

TEXT = """\
session: {name: krios1}
watch: {directories: [in, "ü"], preset: motioncor}
particle:
  diameter_angstrom: 150
bootstrap: {picks: {coordinates: picks.star}, classes: {accept: [4]}}
training: {initial_learning_rate: 3e-4}
picking: {threshold: auto}
output: {directory: out}
state:
  # on a local disk
# of this machine
  directory: state

web: {listen: "[::1]:0"}
"""


@pytest.fixture
def path(tmp_path):
    """Return the file of a config that was in force, and is yet to be edited."""
    path = tmp_path / "session.yaml"
    path.write_text(TEXT)
    (tmp_path / "state").mkdir()
    save_config_copy(load_config(path))
    return path


def test_without_a_fault_it_is_what_the_file_says(path):
    path.write_text(TEXT.replace("150", "200"))
    read = read_settings(path)

    assert read.config.particle.diameter_angstrom == 200
    assert (read.text, read.fault) == (path.read_text(), None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("150", "large", "line 4: particle.diameter_angstrom must be a number"),
        ("threshold: auto", "treshold: auto", "treshold is unknown"),
        ("{name: krios1}", "{name: krios1", "line 2"),
        ("  diameter", "\tdiameter", "line 4"),
        ("ü", "\0", "it is not valid YAML"),
    ],
)
def test_past_a_fault_it_is_what_was_in_force_with_what_is_wrong(path, old, new, words):
    """Whether or not the rest of the file is YAML; folders are where they were."""
    former = load_config(path)
    path.write_text(TEXT.replace(old, new))
    read = read_settings(path)

    assert read.config == former
    assert words in read.fault.what
    assert read.text.startswith("# A copy of the settings in use.")


def test_settings_that_were_not_given_are_not_in_the_copy(path):
    """Another version may have others, or other defaults."""
    text = (path.parent / "state" / CONFIG_COPY).read_text()

    assert "diameter_angstrom: 150" in text
    assert "contrast" not in text


@pytest.mark.parametrize(
    ("edit", "lose"),
    [
        (TEXT.replace("150", "large"), True),  # there is no copy
        (TEXT.replace("150", "large").replace("directory: state", "directory: elsewhere"), False),
        (TEXT.replace("150", "large").replace("directory: state", "directry: state"), False),
        ("[", False),
    ],
)
def test_where_nothing_tells_what_is_in_force_a_service_that_runs_is_not_in_doubt(path, edit, lose):
    """The fault is the answer, and that picking goes on."""
    if lose:
        (path.parent / "state" / CONFIG_COPY).unlink()
    path.write_text(edit)

    with pytest.raises(ConfigError, match="A running service continues with the previous settings"):
        read_settings(path)


def test_a_copy_that_was_carried_elsewhere_is_of_another_session(path):
    """Its folders are those of the session that it was copied from."""
    (path.parent / "state").rename(path.parent / "moved")
    path.write_text(TEXT.replace("150", "large").replace("directory: state", "directory: moved"))

    with pytest.raises(ConfigError):
        read_settings(path)


def test_a_file_that_is_not_there_is_said_as_ever(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path / "sesion.yaml")
    assert "service" not in str(caught.value)


def test_a_folder_of_any_name_comes_back_as_it_was(tmp_path):
    """File names are bytes; a path that is no UTF-8 has escapes for them."""
    folder = tmp_path / os.fsdecode(b"\xff session")
    folder.mkdir()
    path = folder / "session.yaml"
    path.write_text(TEXT)
    (folder / "state").mkdir()
    save_config_copy(load_config(path))
    former = load_config(path)
    path.write_text(TEXT.replace("150", "large"))

    assert read_settings(path).config == former


def test_a_state_folder_that_takes_no_writes_is_said_with_its_name(make_config):
    """The service says so, and leaves the config as it was."""
    with pytest.raises(LedgerWriteError, match=r"state/config\.yaml cannot be written: No such"):
        save_config_copy(make_config())

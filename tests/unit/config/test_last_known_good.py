"""The copy of the settings in use, for a config file with a fault."""

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
    """Return the file of a config that is in use."""
    path = tmp_path / "session.yaml"
    path.write_text(TEXT)
    (tmp_path / "state").mkdir()
    save_config_copy(load_config(path))
    return path


def test_a_config_without_a_fault_is_read_from_its_file(path):
    path.write_text(TEXT.replace("150", "200"))
    read = read_settings(path)

    assert read.config.particle.diameter_angstrom == 200
    assert (read.text, read.fault) == (path.read_text(), None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "150",
            "large",
            "line 4: particle.diameter_angstrom is the text 'large'; it must be auto or a number",
        ),
        ("threshold: auto", "treshold: auto", "treshold is unknown"),
        ("{name: krios1}", "{name: krios1", "line 2"),
        ("  diameter", "\tdiameter", "line 4"),
        ("ü", "\0", "it is not valid YAML"),
    ],
)
def test_a_faulty_config_gives_the_settings_last_in_use_and_the_fault(path, old, new, words):
    """The rest of the file need not be YAML; folders are the same."""
    former = load_config(path)
    path.write_text(TEXT.replace(old, new))
    read = read_settings(path)

    assert read.config == former
    assert words in read.fault.what
    assert read.text.startswith("# A copy of the settings in use.")


def test_the_copy_contains_only_settings_that_were_given(path):
    """Another version may have other settings, or other defaults."""
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
def test_without_a_copy_the_error_says_that_a_running_service_continues(path, edit, lose):
    """The state folder is unknown or has no copy, so the fault itself is raised."""
    if lose:
        (path.parent / "state" / CONFIG_COPY).unlink()
    path.write_text(edit)

    with pytest.raises(ConfigError, match="A running service continues with the previous settings"):
        read_settings(path)


def test_a_copy_in_a_moved_state_folder_is_not_used(path):
    """Its folders are those of the original session."""
    (path.parent / "state").rename(path.parent / "moved")
    path.write_text(TEXT.replace("150", "large").replace("directory: state", "directory: moved"))

    with pytest.raises(ConfigError):
        read_settings(path)


def test_a_missing_config_file_is_an_ordinary_error(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path / "sesion.yaml")
    assert "service" not in str(caught.value)


def test_folder_names_that_are_not_utf8_survive_the_copy(tmp_path):
    """File names are bytes; bytes that are not UTF-8 are escaped in the copy."""
    folder = tmp_path / os.fsdecode(b"\xff session")
    folder.mkdir()
    path = folder / "session.yaml"
    path.write_text(TEXT)
    (folder / "state").mkdir()
    save_config_copy(load_config(path))
    former = load_config(path)
    path.write_text(TEXT.replace("150", "large"))

    assert read_settings(path).config == former


def test_an_error_of_writing_the_copy_names_the_file(make_config):
    """The service can then report it and keep the previous config."""
    with pytest.raises(LedgerWriteError, match=r"state/config\.yaml cannot be written: No such"):
        save_config_copy(make_config())

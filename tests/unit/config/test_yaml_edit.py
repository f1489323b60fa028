"""``set_key``: one setting of the user's own file, and everything else as it was."""

import os
from pathlib import Path

import pytest

from livepick.config.yaml_edit import EditableConfig, set_key
from livepick.config.yaml_loader import parse_config
from livepick.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
PATH = Path("/data/s.yaml")

BASE = """\
session: {name: s}  # krios
watch: {directories: [in]}
particle: {diameter_angstrom: 150}
output: {directory: out}
state: {directory: state}
"""


def edited(text, value=2, key="training.generation", note=""):
    """Return the text after an edit, which reads as the value at the line that was named."""
    edit = set_key(text, PATH, key, value, note=note)
    config = parse_config(edit.text, PATH)
    for name in key.split("."):
        config = getattr(config, name)
    assert config == value
    assert key.rsplit(".", 1)[-1] in edit.text.splitlines()[edit.line - 1]
    return edit.text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("training:\n  generation: 4\n", "training:\n  generation: 2  # why\n"),
        (
            "training:\n    epochs: 9   # few\n    generation:   1   # once\nweb: {}\n",
            "training:\n    epochs: 9   # few\n    generation: 2     # once; why\nweb: {}\n",
        ),
        ("training: {generation: 1, epochs: 9}\n", "training: {generation: 2, epochs: 9}  # why\n"),
        ("training: {epochs: 9}\n", "training: {epochs: 9, generation: 2}  # why\n"),
        ("training: {}  # none\n", "training:     # none\n  generation: 2  # why\n"),
        (
            "training:  # of it\n  # how long\n  epochs: 9\n",
            "training:  # of it\n  generation: 2  # why\n  # how long\n  epochs: 9\n",
        ),
        (
            "training:\n   epochs: 9\n   # again?\n   #generation: 1\nweb: {}\n",
            "training:\n   epochs: 9\n   # again?\n   generation: 2  # why\nweb: {}\n",
        ),
        ("training:\nweb: {}\n", "training:\n  generation: 2  # why\nweb: {}\n"),
        (
            "training:\n  #epochs: 9\n\n#web:\n  #listen: x\n",
            "training:\n  generation: 2  # why\n  #epochs: 9\n\n#web:\n  #listen: x\n",
        ),
        ("training: null\n", "training:\n  generation: 2  # why\n"),
        ("training: ~", "training:\n  generation: 2  # why"),
        (
            "#training:\n  # Raise it.\n  #generation: 1\n\n  #epochs: 30\n#picking:\n",
            "training:\n  # Raise it.\n  generation: 2  # why\n\n  #epochs: 30\n#picking:\n",
        ),
        ("# training:\nweb: {}\n", "training:\n  generation: 2  # why\nweb: {}\n"),
        (
            "# training: see the wiki\nweb: {}\n",
            "# training: see the wiki\nweb: {}\n\ntraining:\n  generation: 2  # why\n",
        ),
        (
            "training:\n  # generation: the number of times\n  seed: 3\n",
            "training:\n  generation: 2  # why\n  # generation: the number of times\n  seed: 3\n",
        ),
        ("web: {}", "web: {}\n\ntraining:\n  generation: 2  # why\n"),
        ("", "\ntraining:\n  generation: 2  # why\n"),
        ("'training' :\n  seed: 3\n", "'training' :\n  generation: 2  # why\n  seed: 3\n"),
    ],
)
def test_the_setting_is_edited_where_it_belongs(before, after):
    """Whatever the layout; comments and everything else stay, and the note is a comment."""
    assert edited(BASE + before, note="why") == BASE + after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "training: {generation: 1,\n    epochs: 9}  # of it\n",
            "training: {generation: 2, epochs: 9} # of it\n",
        ),
        (
            "training:\n  generation:\n    1\n  seed:   3\n",
            "training:\n  generation: 2\n  seed:   3\n",
        ),
        (
            "training:\n  generation: &n 1\n  seed: *n\nweb:   {}\n",
            "training:\n  generation: 2\n  seed: &n 1\nweb:   {}\n",
        ),
        (
            "training:\n  seed: &n 1\n  generation: *n\n",
            "training:\n  seed: &n 1\n  generation: 2\n",
        ),
    ],
    ids=["flow over two lines", "value on its own line", "anchor", "alias"],
)
def test_a_value_that_is_tied_to_others_takes_their_lines_along(before, after):
    """The lines of the section are laid out anew where the one line does not do."""
    assert edited(BASE + before) == BASE + after


OTHERS = {
    "single quotes": "web: {listen: 'localhost:9476'}",
    "double quotes": "web: {listen: \"localhost:9476\"}  # 'quotes'",
    "folded text": "micrograph:\n  ctf: >-\n    /a\n\n    b",
    "literal text": "micrograph:\n  ctf: |-\n    # not a comment\n    b",
    "text over two lines": "micrograph:\n  ctf: /data/my\n    job",
    "odd spaces, octal": "picking: {threshold:   auto ,workers: 010}",
    "yes": "retrain: {on_drift: yes}",
    "off": "retrain:\n    on_drift: OFF  # never ",
    "deep": "bootstrap:\n      picks:   blob\n      classes:\n          accept:\n          - 3\n",
    "exponent": "picking: {threshold: 5e-2}",
    "anchor": "picking: &p\n   device:  cpu",
    "list": "bootstrap: {classes: {reject: [ 3,7 ]}}",
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("own", ["training:\n  generation: 1\n", "training: {}\n", ""])
def test_the_other_lines_stay_to_the_letter(own, other):
    """Quotes, block texts, spacing, and words that YAML 1.2 reads in another way than YAML 1.1."""
    for text in (f"{BASE}{other}\n{own}", f"{BASE}{own}{other}\n"):
        assert f"\n{other}\n" in edited(text)


def test_numbers_of_yaml_1_1_are_still_read_as_such():
    """``010`` is 8 and ``1:00`` is 60: where a flow of two lines is laid out anew, too."""
    text = f"{BASE}training: {{seed: 010, threads: 1:00,\n  class_weights: yes, generation: 1}}\n"
    training = parse_config(edited(text), PATH).training
    assert (training.seed, training.threads, training.class_weights) == (8, 60, True)


def test_the_example_is_edited_at_its_own_line():
    """The sections and the setting lose their ``#``, and nothing else changes."""
    text = EXAMPLE.read_text()

    assert edited(text, 40, "training.epochs") == text.replace(
        "\n#training:", "\ntraining:"
    ).replace("\n  #epochs: 30", "\n  epochs: 40")
    assert edited(text, [3, 7], "bootstrap.classes.accept") == text.replace(
        "\n#bootstrap:", "\nbootstrap:"
    ).replace("\n  #classes:", "\n  classes:").replace("\n    #accept: []", "\n    accept: [3, 7]")


def test_a_setting_is_not_switched_on_in_another_section():
    """``device`` is commented out in ``picking``, which is not ``training``."""
    text = f"{BASE}training:\n  seed: 3\n#picking:\n  #device: prefer-gpu\n"
    assert edited(text, "cpu", "training.device") == text.replace(
        "training:\n", "training:\n  device: cpu\n"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("krios1", "krios1"),
        ("yes", '"yes"'),
        ("010", '"010"'),
        ("1e3", '"1e3"'),
        ("2026-11-29", '"2026-11-29"'),
    ],
)
def test_a_text_is_quoted_where_it_would_be_read_as_something_else(value, shown):
    assert f"session: {{name: {shown}}}" in edited(BASE, value, "session.name")


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("training.final_learning_rate", 1e-4, "  final_learning_rate: 0.0001"),
        ("training.class_weights", False, "  class_weights: false"),
        ("micrograph.pixel_size_angstrom", None, "  pixel_size_angstrom:"),
        ("bootstrap.classes.accept", [3, 7], "    accept: [3, 7]"),
    ],
)
def test_values_of_all_kinds_are_written(key, value, line):
    assert line in edited(BASE, value, key).splitlines()


@pytest.mark.parametrize("own", ["training:\n  epochs: 9\n", "training: {}\n", ""])
def test_line_ends_of_windows_stay(own):
    text = f"{BASE}{own}"
    assert edited(text.replace("\n", "\r\n"), note="why") == edited(text, note="why").replace(
        "\n", "\r\n"
    )


def test_a_file_with_both_line_ends_keeps_each():
    text = BASE.replace("\n", "\r\n", 2) + "training:\r\n  generation: 1\nweb: {}\r\n"
    assert edited(text) == text.replace("generation: 1", "generation: 2")


def test_the_byte_order_mark_stays():
    text = f"\ufeff{BASE}training:\n  generation: 1\n"
    assert edited(text) == text.replace("generation: 1", "generation: 2")


def test_the_heading_of_a_document_stays():
    text = f"%YAML 1.1\n---\n{BASE}training:\n  generation: 1\n"
    assert edited(text) == text.replace("generation: 1", "generation: 2")


def test_a_config_in_braces_is_edited_too():
    text = f"{{{', '.join(line.split('  #')[0] for line in BASE.splitlines())}}}"
    assert edited(text) == text[:-1] + ", training: {generation: 2}}\n"


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ("picking: &p {device: cpu}\ntraining: *p\n", 6),
        ("training: {seed: 1,  # once\n  device: auto}\n", 7),
    ],
    ids=["alias of a section", "comment in braces"],
)
def test_an_edit_that_would_change_anything_else_is_refused(own, line):
    """The message names the line that a person must edit, and the value."""
    with pytest.raises(ConfigError) as error:
        set_key(BASE + own, PATH, "training.device", "cuda")
    assert error.value.what.startswith(f"{PATH}, line {line}: training.device cannot be set")
    assert error.value.remedy.endswith(f'near line {line}: training.device must be "cuda".')


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (
            "training:\n  generation: 1\n  generation: 1\n",
            "line 8: training.generation is repeated",
        ),
        ("training:\n\tgeneration: 1\n", "line 7: it is indented with a tab"),
        ("training: {generation: [\n", "line 7: it is not"),
        ("web: 3\n", "line 6: web must be a section"),
    ],
)
def test_a_broken_config_is_not_edited(own, says):
    with pytest.raises(ConfigError, match=says):
        set_key(BASE + own, PATH, "training.generation", 2)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("training.epochs", 0, "line 8: training.epochs is 0; it must be"),
        ("training.epoch", 9, "perhaps you mean training.epochs"),
    ],
)
def test_a_value_that_is_not_valid_is_refused(key, value, says):
    with pytest.raises(ConfigError, match=says):
        set_key(f"{BASE}\ntraining:\n", PATH, key, value)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(BASE)
    return path


def test_a_file_that_changed_in_the_meantime_is_not_replaced(path):
    file = EditableConfig.read(path)
    edit = set_key(file.text, path, "training.generation", 2)
    path.write_text(BASE + "web: {}\n")

    with pytest.raises(ConfigError, match="was edited by someone else just now"):
        file.write(edit)

    assert path.read_text() == BASE + "web: {}\n"


@pytest.mark.parametrize("how", ["in place", "by a rename", "removed"])
def test_a_file_that_changes_while_it_is_written_is_not_replaced(path, monkeypatch, how):
    """An editor saves it while the new content is being synced to a slow disk."""
    file = EditableConfig.read(path)
    edit = set_key(file.text, path, "training.generation", 2)
    sync = os.fsync

    def sync_slowly(descriptor):
        sync(descriptor)
        if how == "removed":
            path.unlink()
            return
        saved = path if how == "in place" else path.with_name("saved")
        status = path.stat()
        saved.write_text(BASE.replace("150", "160"))
        os.utime(saved, ns=(status.st_atime_ns, status.st_mtime_ns))  # within one tick of the clock
        saved.replace(path)

    monkeypatch.setattr(os, "fsync", sync_slowly)
    with pytest.raises(ConfigError, match="was edited by someone else just now"):
        file.write(edit)
    assert [each.name for each in path.parent.iterdir()] == ([] if how == "removed" else ["s.yaml"])
    assert how == "removed" or path.read_text() == BASE.replace("150", "160")

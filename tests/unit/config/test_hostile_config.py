"""Config files that are damaged or hostile: refused in words, soon, and in little memory."""

import os
import sys

import pytest

from factories import write_config
from livepick.cli import main
from livepick.config.yaml_loader import load_config
from livepick.errors import EXIT_CONFIG, ConfigError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
SESSION = "session: {name: a}\n"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "too many entries, perhaps through aliases"),
        (SESSION + f"watch:\n  directories: {'[' * 5000}{']' * 5000}\n", "nested too deeply"),
        (SESSION + "".join(f"{' ' * i}a:\n" for i in range(100)), "nested too deeply"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("a: &a {b: *a}\n", "nested too deeply"),
        ("watch:\n  <<: &a {b: 1, <<: *a}\n", ""),
        (SESSION + "watch: {directories: [~nobody_of_this_name/x]}\n", "no such home folder"),
        (SESSION + 'watch: {directories: ["a\\0b"]}\n', "NUL"),
        (SESSION + f"watch: {{directories: [/{'a' * 256}]}}\n", "255 bytes"),
        (SESSION + f"watch: {{directories: [{'/abc' * 1000}]}}\n", "4000 bytes"),
        (SESSION + 'watch: {directories: ["a\\ud800b"]}\n', ""),
        (SESSION + "training: {seed: 18446744073709551616}\n", "4611686018427387904"),
        (SESSION + "x: !!python/object/apply:os.system [ls]\n", ""),
        (SESSION + f"particle: {{diameter_angstrom: {'1' * 5000}}}\n", ""),
        (SESSION + "particle: {diameter_angstrom: 1e400}\n", "diameter_angstrom"),
        (SESSION + "particle: {diameter_angstrom: -0.0}\n", "diameter_angstrom"),
        (SESSION + "particle: {diameter_angstrom: .nan}\n", "diameter_angstrom"),
        (SESSION + "particle: 2001-99-99\n", ""),
        (SESSION + "? [a, b]\n: c\n", ""),
        (SESSION + "1: 2\nnull: 3\n2001-01-01: 4\ntrue: 5\n1.5: 6\n", "unknown"),
        ("\x00", ""),
        ("\x1b[31m", ""),
        ("%YAML 9.9\n---\na: 1\n", ""),
        ("a: 'unclosed", "a quote is not closed"),
        ("- a\n- b\n", "no sections"),
        ("x" * (128 << 10) + "y", "longer than 128 KiB"),
    ],
)
def test_a_hostile_config_ends_the_command_with_the_status_of_a_config_error(
    tmp_path, capsys, text, words
):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert main(["check", str(path)]) == EXIT_CONFIG

    told = capsys.readouterr()
    said = told.out + told.err
    assert str(path) in said
    assert words in said
    assert "Traceback" not in said
    assert len(said) < 10_000


@pytest.mark.parametrize("data", [b"\xff\xfea\x00", b"\xef\xbb\xbf\xff", bytes(100)])
def test_a_config_that_is_not_utf_8_is_refused(tmp_path, data):
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        load_config(path)


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_a_config_is_refused(tmp_path):
    """Reading it would wait for ever."""
    path = tmp_path / "a.yaml"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(path)


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write_config(tmp_path, watch={"directories": ["~/in"]})
    assert load_config(path).watch.directories == [tmp_path / "in"]


def test_aliases_may_be_used(tmp_path):
    """A template with anchors is a config like any other."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "session: {name: a}\nparticle: {diameter_angstrom: 150}\n"
        "watch: {directories: [in]}\noutput: {directory: &place out}\nstate: {directory: *place}\n"
    )
    assert load_config(path).state.directory == tmp_path / "out"


def test_a_bomb_takes_little_memory(tmp_path):
    """It stands for 400 million entries."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.yaml"
    path.write_text(BOMB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError):
        load_config(path)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 << 10, sys.version

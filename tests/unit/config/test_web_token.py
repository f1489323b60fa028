"""The token of ``web.token_file``: who may read it, and what it must be."""

import os

import pytest

from livepick.config.web_config import WebConfig
from livepick.config.web_section import Web
from livepick.config.web_token import check_actions, is_token, read_token
from livepick.errors import ConfigError

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of this test


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


def test_the_token_is_the_line_of_the_file(file):
    assert read_token(file) == TOKEN
    file.chmod(0o640)  # a group of its own, as systemd's LoadCredential has
    assert read_token(file) == TOKEN


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o660, 0o666])
def test_a_file_that_others_can_read_or_change_is_refused(file, mode):
    file.chmod(mode)
    with pytest.raises(ConfigError, match="others can read or change it") as refusal:
        read_token(file)
    assert TOKEN not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "of 0 characters"),
        (b"short-secret-15", "of 15 characters; at least 16"),
        (b"two lines of-text\nmore-of-the-same", "one line"),
        (b"two words-are-not-one", "one line"),
        ("schlüssel-mit-umlaut".encode(), "one line"),
        (b"x" * 2000, "one line"),
        (b"nul\0in-the-middle-of-it", "one line"),
    ],
)
def test_what_is_not_a_token_is_refused_without_repeating_it(file, content, says):
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as refusal:
        read_token(file)
    text = content.decode("utf-8", "replace").strip()
    assert not text or text[:12] not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused(file):
    file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        read_token(file)
    os.mkfifo(file, 0o600)  # must not wait for a writer
    with pytest.raises(ConfigError, match="not a regular file"):
        read_token(file)


def test_the_comparison_takes_any_text():
    assert is_token(f" {TOKEN}\n", TOKEN)
    assert not is_token("", TOKEN)
    assert not is_token("\udcff", TOKEN)
    assert not is_token(TOKEN[:-1], TOKEN)


def test_a_token_that_the_network_could_read_is_refused(file):
    """``web.insecure`` accepts readers without a password, not a token without TLS."""
    web = Web(listen="0.0.0.0:9476", insecure=True, actions="token", token_file=file)
    with pytest.raises(ConfigError, match="without TLS"):
        check_actions(web, WebConfig(), host="192.0.2.1")
    check_actions(web, WebConfig(), host="127.0.0.1")
    check_actions(Web(listen="0.0.0.0:1", insecure=True), WebConfig(), host="192.0.2.1")

"""Edits that end a session and reopen it: two lines of the user's file, and nothing else."""

from pathlib import Path

from livepick.config.session_end_edit import end_session, reopen_session
from livepick.config.yaml_loader import parse_config

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
CONFIG = Path("/data/s.yaml")

BASE = """\
session:  # of krios
  name: s
watch: {directories: [in]}
particle: {diameter_angstrom: 150}
output: {directory: out}
state: {directory: state}
"""


def test_an_end_and_its_undo_keep_comments_and_say_who():
    ended = end_session(BASE, CONFIG, "anna").text
    session = parse_config(ended, CONFIG).session
    assert (session.ended, session.ended_by) == (True, "anna")
    assert "session:  # of krios" in ended

    reopened = reopen_session(ended, CONFIG).text
    session = parse_config(reopened, CONFIG).session
    assert (session.ended, session.ended_by) == (False, None)
    assert "session:  # of krios" in reopened


def test_a_second_end_does_not_keep_the_name_of_the_first_person():
    ended = end_session(BASE, CONFIG, "anna").text
    assert parse_config(end_session(ended, CONFIG).text, CONFIG).session.ended_by is None


def test_the_example_is_edited_at_its_own_lines():
    """The settings lose their ``#``, and nothing else changes."""
    text = EXAMPLE.read_text()
    assert end_session(text, CONFIG, "anna").text == text.replace(
        "\n  #ended: false", "\n  ended: true"
    ).replace("\n  #ended_by: null", "\n  ended_by: anna")

"""``session_end.json``: it comes back as it was, and what is damaged does not count."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from livepick.errors import LedgerError, LedgerWriteError
from livepick.ledger.session_end import (
    SESSION_END,
    SessionEnd,
    read_session_end,
    remove_session_end,
    write_session_end,
)

END = SessionEnd("s", 1_800_000_000.25, "person", "anna", Path("/out/report.html"), "", 2)


def test_an_end_comes_back_as_it_was(tmp_path):
    write_session_end(tmp_path, END)
    assert read_session_end(tmp_path, "s") == END
    at = datetime.fromisoformat(json.loads((tmp_path / SESSION_END).read_text())["at"])
    assert at.utcoffset() is not None
    remove_session_end(tmp_path)
    remove_session_end(tmp_path)
    assert read_session_end(tmp_path, "s") is None


def test_the_end_of_another_session_does_not_count(tmp_path):
    write_session_end(tmp_path, END)
    assert read_session_end(tmp_path, "t") is None


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"session": "s", "at": 3, "reason": "idle"}', "\x00" * 9],
)
def test_a_damaged_file_does_not_count(tmp_path, text):
    (tmp_path / SESSION_END).write_text(text)
    assert read_session_end(tmp_path, "s") is None


def test_an_unknown_reason_does_not_count(tmp_path):
    values = END.as_json() | {"reason": "magic"}
    (tmp_path / SESSION_END).write_text(json.dumps(values))
    assert read_session_end(tmp_path, "s") is None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    """A fault of the disk must not reopen a session."""
    (tmp_path / SESSION_END).mkdir()
    with pytest.raises(LedgerError, match="cannot be read"):
        read_session_end(tmp_path, "s")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(LedgerWriteError, match="cannot be written"):
        write_session_end(tmp_path / "missing", END)

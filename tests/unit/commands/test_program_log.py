"""The log of ``livepick run`` outside of the journal."""

import logging
import re
import time

from livepick.commands import program_log


def test_times_have_their_offset_from_utc(monkeypatch, capsys):
    """A log is read in other places than that of the microscope."""
    monkeypatch.setattr(program_log, "under_journal", lambda: False)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        program_log.log_to_stderr()
        logging.getLogger("livepick").warning("a line")
    finally:
        monkeypatch.undo()
        time.tzset()

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0900 WARNING a line\n", capsys.readouterr().err
    )

"""The log of a session's process, as the supervisor shows it."""

import re
import sys
from pathlib import Path

import pytest

from livepick.instrument.notify_socket import NotifySocket
from livepick.instrument.session_process import SessionProcess

LOGS = """
import logging
from livepick.commands.program_log import log_to_stderr
log_to_stderr()
logging.getLogger("livepick").warning("the disk is slow")
"""


def test_each_line_of_a_session_has_its_time_its_level_and_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In this order, so that lines of sessions and of the supervisor can be read together."""
    process = SessionProcess(
        "s1", tmp_path / "session.yaml", NotifySocket(tmp_path / "1"), (sys.executable, "-c", LOGS)
    )
    process.close()
    line = r"[\d-]{10} [\d:]{8} [+-]\d{4} WARNING s1: the disk is slow\n"
    assert re.search(line, capfd.readouterr().err)

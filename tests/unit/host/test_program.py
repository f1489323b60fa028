"""Programs with input and a time limit."""

import subprocess
import time
from pathlib import Path

import pytest
from waiting import until

from livepick.host.program import Program


def is_running(pid):
    """Return True if a process exists and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends while it is read
        return False


def test_a_program_gets_its_input_and_its_arguments_as_they_are(tmp_path):
    out = tmp_path / "out"
    program = Program(["sh", "-c", 'cat > "$0"; printf %s "$1" >> "$0"', str(out), "$HOME; *"])
    assert program.finish(b'{"a": 1}\n', timeout_seconds=60) == 0
    assert out.read_text() == '{"a": 1}\n$HOME; *'


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -9 $$", -9)])
def test_the_status_is_returned(script, status):
    assert Program(["sh", "-c", script]).finish(b"", timeout_seconds=60) == status


def test_input_that_nobody_reads_is_not_an_error():
    """It is larger than a pipe holds, and the program ends without reading it."""
    assert Program(["true"]).finish(b"x" * 1_000_000, timeout_seconds=60) == 0


@pytest.mark.parametrize("data", [b"", b"x" * 1_000_000])
def test_a_program_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path, data):
    pids = tmp_path / "pids"
    program = Program(["sh", "-c", 'sleep 100 & echo $$ $! > "$0"; wait', str(pids)])
    until(lambda: pids.exists() and pids.read_text())
    started_at = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        program.finish(data, timeout_seconds=0.1)
    assert time.monotonic() - started_at < 60
    until(lambda: not any(is_running(pid) for pid in pids.read_text().split()))


def test_a_program_that_has_ended_can_be_killed():
    program = Program(["true"])
    program.finish(b"", timeout_seconds=60)
    program.kill()


def test_a_program_that_is_not_there_cannot_be_started(tmp_path):
    with pytest.raises(FileNotFoundError):
        Program([str(tmp_path / "missing")])

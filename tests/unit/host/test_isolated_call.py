"""Calls in a process of their own: answers, errors, crashes and time limits."""

import os
import signal
import time
from pathlib import Path

import pytest

from livepick.errors import ModelError
from livepick.host.isolated_call import ProcessDiedError, call_isolated


def hang(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def fail():
    raise ModelError("the graph is damaged", "Train again.")


def end_by(number):
    os.kill(os.getpid(), number)


def test_the_answer_is_of_another_process():
    assert call_isolated(os.getpid, timeout_seconds=60) != os.getpid()


def test_an_error_is_raised_here():
    with pytest.raises(ModelError, match=r"the graph is damaged\. Train again"):
        call_isolated(fail, timeout_seconds=60)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_an_error(number):
    with pytest.raises(ProcessDiedError, match=f"signal {number.value}"):
        call_isolated(end_by, number, timeout_seconds=60)


def test_a_function_that_never_returns_is_killed(tmp_path):
    with pytest.raises(TimeoutError, match="no answer within 3 s"):
        call_isolated(hang, tmp_path / "pid", timeout_seconds=3)
    # A busy machine may not have started it in time.
    pid = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
    assert not pid or not Path("/proc", pid).exists()

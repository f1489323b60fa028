"""Control of child processes: their end with their parent, and whether one is stopped or works."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

__all__ = [
    "cpu_seconds",
    "end_with_parent",
    "forget_if_alive",
    "is_stopped",
    "kill_group",
    "lead_group",
]

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it has ended.

    Parameters
    ----------
    parent
        Process id of the parent. If it has ended already, this process exits.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux
        return
    if os.getppid() != parent:
        os._exit(1)


def lead_group() -> None:
    """Make this process lead a group of its own, which ``kill_group`` kills with all it started."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)


def is_stopped(pid: int) -> bool:
    """Return True if a process has been stopped, as by SIGSTOP; False if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] == "T"


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 if it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def kill_group(leader: int) -> None:
    """Kill the processes of a process group, whose leader may have ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def forget_if_alive(process: BaseProcess) -> None:
    """Keep Python from waiting at its exit for a process that cannot be killed."""
    if process.exitcode is None:
        children = getattr(multiprocessing.process, "_children", None)
        if isinstance(children, set):
            children.discard(process)

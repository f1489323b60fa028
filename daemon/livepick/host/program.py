"""A program with input and a time limit, after which it is killed with all that it started."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

__all__ = ["Program"]

KILL_SECONDS = 5.0
"""Longest wait for the end of a killed program. One that waits for a dead disk does not end."""


class Program:
    """A running program.

    What it prints goes where the output of this process goes.

    Parameters
    ----------
    command
        The program and its arguments; no shell reads them.

    Raises
    ------
    OSError
        The program does not exist, or cannot be started.
    ValueError
        An argument has a null character.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            process_group=0,  # killed as a whole, and not ended by Ctrl-C in our terminal
        )

    def finish(self, data: bytes, *, timeout_seconds: float) -> int:
        """Write the input, wait for the end, and return the status, negative for a signal.

        Raises
        ------
        subprocess.TimeoutExpired
            The program took too long, and was killed with its process group.
        """
        try:
            self._process.communicate(data, timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):  # unwritten input
                    self._process.stdin.close()
            raise
        return self._process.returncode

    def kill(self) -> None:
        """Kill the program and all that it started, if it is still running."""
        # The number of a process that has not been waited for cannot belong to another one.
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

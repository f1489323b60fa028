"""``python -m livepick.host.run_with_parent PARENT COMMAND …``: run a program that ends with us.

The kernel kills the program when the thread that started it has ended, however it ended. This is a
program of its own because nothing but ``exec`` is safe after a fork of a process with threads.
"""

import os
import sys

from livepick.host.processes import end_with_parent

__all__ = ["with_parent"]


def with_parent(command: list[str]) -> list[str]:
    """Return the command that runs a command until this process, or its thread, has ended."""
    return [sys.executable, "-m", "livepick.host.run_with_parent", str(os.getpid()), *command]


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - without a shell is what we want

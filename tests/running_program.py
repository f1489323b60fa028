"""A program that runs beside a demo or a benchmark, until the end of a block."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["running"]


@contextmanager
def running(
    log: Path,
    command: Sequence[object],
    *,
    environment: Mapping[str, str] | None = None,
    stop_seconds: float = 60.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program with its output in a log; SIGTERM ends it, and SIGKILL if it does not end.

    Parameters
    ----------
    log
        Replaced if it exists.
    command
        The program and its arguments.
    environment
        Variables besides those of this process.
    stop_seconds
        Longest time between the two signals.
    """
    words = [str(word) for word in command]
    with (
        log.open("wb") as file,
        subprocess.Popen(
            words, stdout=file, stderr=file, env=os.environ | dict(environment or {})
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(stop_seconds)
                except subprocess.TimeoutExpired:
                    process.kill()

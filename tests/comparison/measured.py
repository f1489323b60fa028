"""CPU time and peak memory of other programs, each bound to one core.

This file is also the small program that starts a command and waits for it. The kernel counts the
memory of whoever starts a process as memory of that process, so the one who starts it is small.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LOG_TAIL = 400
"""Number of characters of a failed program's output that the error quotes."""


class ProgramFailedError(Exception):
    """A program ended with an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """CPU time (user and system) and memory of commands, with their child processes."""

    cpu_seconds: float

    peak_bytes: int
    """Largest resident memory of a single process."""


def run_measured(commands: Iterable[Sequence[str]], *, folder: Path, core: int) -> Cost:
    """Run commands one after the other in a folder, on one core and with one thread each.

    Raises
    ------
    ProgramFailedError
        A command ended with another status than 0.
    """
    cpu_seconds, peak_bytes = 0.0, 0
    report, log = folder / "cost.json", folder / "program.log"
    for command in commands:
        with log.open("wb") as out:
            subprocess.run(
                [sys.executable, "-I", "-S", __file__, str(core), str(report), *command],
                cwd=folder,
                env=os.environ | ONE_THREAD,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=True,
            )
        found = json.loads(report.read_text())
        if found["status"]:
            tail = log.read_text(errors="replace")[-LOG_TAIL:].strip()
            raise ProgramFailedError(f"{command[0]} ended with status {found['status']}: {tail}")
        cpu_seconds += found["cpu_seconds"]
        peak_bytes = max(peak_bytes, found["peak_bytes"])
    return Cost(cpu_seconds=cpu_seconds, peak_bytes=peak_bytes)


def main() -> int:
    """Run the command ``sys.argv[3:]`` on a core, and write its cost to a file."""
    core, report, *command = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    found = {
        "status": os.waitstatus_to_exitcode(status),
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
    }
    Path(report).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

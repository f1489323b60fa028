"""Preflight check of the program that is called with the picks: it can be started."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from livepick.config.output_sections import Output
from livepick.monitoring.preflight.check import Check

__all__ = ["on_picked"]

NAME = "output.on_picked"


def on_picked(output: Output) -> Iterator[Check]:
    """Check that the program exists and is executable, if there is one; it is not run."""
    if output.on_picked is None:
        return
    program = output.on_picked[0]
    found = shutil.which(program)
    if found is not None:
        yield Check(NAME, "ok", found)
        return
    if "/" not in program:
        fault, remedy = "is not on the PATH", "Give its absolute path."
    elif Path(program).is_file():
        fault, remedy = "is not executable", f"Make it so: chmod a+x {program}."
    else:
        fault, remedy = "does not exist, or is not a file", "Give the path of the program."
    yield Check(NAME, "fault", f"{program} {fault}", remedy)

"""``python -m livepick_trainer RUN_FOLDER``: read ``run.json``, train, and publish a model bundle.

The trainer may be killed at any moment and started again. The exit status is 0 if the bundle is
published and 1 if not. In that case the last two lines on standard error, and the last line of
``progress.jsonl``, say what happened and what to do. The status is 75 if the disk is full: nothing
can be written then, and the run continues once there is space.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Before torch loads its OpenMP: threads that spin while they wait for each other take ten times
# the CPU time as soon as anything else, such as picking, runs on the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from livepick.core.contracts.run import DISK_FULL_STATUS
from livepick.errors import LivepickError
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.run_context import lock
from livepick_trainer.resource_errors import is_full_disk, resource_error
from livepick_trainer.stages import run_stages

__all__ = ["main"]

_log = logging.getLogger("livepick_trainer")


def main(argv: Sequence[str] | None = None) -> int:
    """Train as ``run.json`` says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m livepick_trainer", description=__doc__)
    parser.add_argument("run_folder", type=Path, metavar="RUN_FOLDER")
    run_folder: Path = parser.parse_args(argv).run_folder
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S %z",
    )
    try:
        with lock(run_folder):  # before anything is written: another trainer may own the progress
            return _run(run_folder, Reporter(run_folder))
    except LivepickError as error:
        return _print_error(error)


def _run(run_folder: Path, reporter: Reporter) -> int:
    try:
        run_stages(run_folder, reporter)
    except Exception as error:  # noqa: BLE001 - nothing above can handle it
        fault = resource_error(error)
        if fault is None and isinstance(error, LivepickError):
            fault = error
        if fault is None:
            _log.exception("trainer: stopped by an unexpected error")
            fault = LivepickError(
                f"{type(error).__name__}: {error}", "See the traceback in trainer.log."
            )
        if is_full_disk(error):
            return _print_error(fault, DISK_FULL_STATUS)
        try:
            reporter.report("failed", str(fault))
        except OSError as full:
            return _print_error(fault, DISK_FULL_STATUS if is_full_disk(full) else 1)
        return _print_error(fault)
    return 0


def _print_error(error: LivepickError, status: int = 1) -> int:
    with contextlib.suppress(OSError):  # standard error may be a file on the full disk
        sys.stderr.write(f"livepick_trainer: {error.what}\n  {error.remedy}\n")
    return status


if __name__ == "__main__":
    logging.raiseExceptions = False  # the log may be on a full disk; the exit status says so
    sys.exit(main())

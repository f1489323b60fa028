"""``python -m livepick_trainer.live_classes FOLDER``: class averages of the newest picks.

It reads ``order.json`` in the folder, and the result appears by one rename. It may be killed at any
time: no result is left then, and the service orders new class averages. The exit status is 0 with a
result, 75 if the disk is full, and 1 after any other error. An error is printed to standard error
as two lines: what happened, and what to do.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Before torch loads its OpenMP: see livepick_trainer.__main__.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from livepick.core.contracts.class_averages import ClassesOrder
from livepick.core.contracts.run import DISK_FULL_STATUS
from livepick.errors import LivepickError
from livepick_trainer.live_classes.make_classes import make_classes
from livepick_trainer.pipeline.run_context import lock
from livepick_trainer.resource_errors import is_full_disk

__all__ = ["main"]

LOWEST_PRIORITY = 19
"""Nice value: below that of a training, because nobody waits for class averages."""

_log = logging.getLogger("livepick_trainer")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the class averages of a folder; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m livepick_trainer.live_classes")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder: Path = parser.parse_args(argv).folder
    os.nice(LOWEST_PRIORITY)  # the sum with the present value counts as 19 at most
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S %z",
    )
    try:
        torch.set_num_threads(ClassesOrder.read(folder).threads)
        with lock(folder):
            made = make_classes(folder, report=lambda note: _log.info("%s", note))
    except LivepickError as error:
        return _print_error(error)
    except Exception as error:  # noqa: BLE001 - nothing above can handle it
        _log.exception("class averages: stopped by an unexpected error")
        fault = LivepickError(f"{type(error).__name__}: {error}", "See the traceback in its log.")
        return _print_error(fault, DISK_FULL_STATUS if is_full_disk(error) else 1)
    _log.info("%d particles in %d classes", made.particles, len(made.classes))
    return 0


def _print_error(error: LivepickError, status: int = 1) -> int:
    with contextlib.suppress(OSError):  # standard error may be a file on the full disk
        sys.stderr.write(f"{error.what}\n{error.remedy}\n")
    return status


if __name__ == "__main__":
    logging.raiseExceptions = False  # the log may be on a full disk; the exit status says so
    sys.exit(main())

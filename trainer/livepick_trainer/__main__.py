"""``python -m livepick_trainer RUN_FOLDER``: read ``run.json``, learn, leave a model bundle.

It may be killed at any moment and started again. The exit status is 0 if the bundle is
published and 1 if not; then the last two lines on standard error, and the last line of
``progress.jsonl``, say what happened and what to do.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Before torch loads its OpenMP: threads that spin while they wait for each other take ten times
# the CPU time as soon as anything else, such as picking, runs on the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from livepick.errors import LivepickError
from livepick_trainer.progress import Reporter
from livepick_trainer.run import lock
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
    )
    try:
        with lock(run_folder):  # before anything is written: the progress is the other one's
            return _train(run_folder, Reporter(run_folder))
    except LivepickError as error:
        return _give_up(error)


def _train(run_folder: Path, reporter: Reporter) -> int:
    try:
        run_stages(run_folder, reporter)
    except LivepickError as error:
        reporter.report("failed", str(error))
        return _give_up(error)
    except Exception as error:  # noqa: BLE001 - the rim: nobody above could say more than this
        _log.exception("trainer: stopped by an error that it does not foresee")
        unforeseen = LivepickError(
            f"{type(error).__name__}: {error}",
            "See the traceback in trainer.log; on a full disk or memory make room, then restart.",
        )
        reporter.report("failed", str(unforeseen))
        return _give_up(unforeseen)
    return 0


def _give_up(error: LivepickError) -> int:
    sys.stderr.write(f"livepick_trainer: {error.what}\n  {error.remedy}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

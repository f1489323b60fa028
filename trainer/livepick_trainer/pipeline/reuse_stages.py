"""A run that goes on from an earlier one: preparation and sorting are taken over, not done again.

The files are linked, or copied where the file system has no links: a stage that is whole is never
written again, so two runs may share it.
"""

import logging
import os
import shutil
from pathlib import Path

from livepick.core.contracts.progress import Stage
from livepick.core.contracts.run import RunSpec
from livepick.errors import TrainerError
from livepick.host.atomic_files import fsync_folder
from livepick_trainer.pipeline.progress import Reporter

__all__ = ["TAKEN_OVER", "take_over"]

TAKEN_OVER: tuple[Stage, ...] = ("prepare", "reseed", "classify")
"""Stages that nothing shapes but the seeds and what a continuing run has in common, in order."""

_log = logging.getLogger(__name__)


def take_over(spec: RunSpec, run_folder: Path, reporter: Reporter) -> None:
    """Bring the finished stages of the run that ``spec`` continues into its folder.

    What is there already stays. A stage that the earlier run has not finished, or one of other
    seeds, is left to this run.
    """
    if spec.continues is None:
        return
    earlier = run_folder.parent / Path(spec.continues).name
    if not _has_same_seeds(earlier, spec):
        _log.warning("run %s: cannot be continued, its stages are done again", earlier.name)
        return
    for stage in TAKEN_OVER:
        if (run_folder / stage).exists():
            continue
        if not (earlier / stage).is_dir():
            return  # the next would not fit what this run makes of this one
        draft = run_folder / f".taken-{stage}"
        shutil.rmtree(draft, ignore_errors=True)  # of a trainer that was killed here
        shutil.copytree(earlier / stage, draft, copy_function=_link_or_copy)
        fsync_folder(draft)
        draft.rename(run_folder / stage)
        fsync_folder(run_folder)
        reporter.report(stage, f"taken over from run {earlier.name}", done=1, total=1)


def _has_same_seeds(earlier: Path, spec: RunSpec) -> bool:
    """Return whether the stages are of the same micrographs and seeds: they are numbered."""
    try:
        theirs = RunSpec.read(earlier)
    except TrainerError as error:
        _log.warning("run %s: %s", earlier.name, error)
        return False
    return theirs.seed_threshold == spec.seed_threshold and [
        (m.path, m.pixel_size_angstrom, m.seeds) for m in theirs.micrographs
    ] == [(m.path, m.pixel_size_angstrom, m.seeds) for m in spec.micrographs]


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)

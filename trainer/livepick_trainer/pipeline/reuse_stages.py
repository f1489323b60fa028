"""Reuse of an earlier run's stages: a continuing run does not repeat preparation and sorting.

The files are hard-linked, or copied if the file system has no links. A finished stage is never
written again, so two runs can share it.
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

__all__ = ["REUSABLE", "reuse_finished_stages"]

REUSABLE: tuple[Stage, ...] = ("prepare", "reseed", "classify")
"""Stages that depend only on the seeds and on what a continuing run has in common, in order."""

_log = logging.getLogger(__name__)


def reuse_finished_stages(spec: RunSpec, run_folder: Path, reporter: Reporter) -> None:
    """Link the finished stages of the run that ``spec`` continues into the new run's folder.

    Stages that are already there stay. This run itself does the stages that the earlier run has not
    finished, and all stages if the seeds differ.
    """
    if spec.continues is None:
        return
    earlier = run_folder.parent / Path(spec.continues).name
    if not _has_same_seeds(earlier, spec):
        _log.warning("run %s: cannot be continued; its stages are repeated", earlier.name)
        return
    for stage in REUSABLE:
        if (run_folder / stage).exists():
            continue
        if not (earlier / stage).is_dir():
            return  # later stages would not match the stage that this run makes
        draft = run_folder / f".taken-{stage}"
        shutil.rmtree(draft, ignore_errors=True)  # left by a trainer that was killed here
        shutil.copytree(earlier / stage, draft, copy_function=_link_or_copy)
        fsync_folder(draft)
        draft.rename(run_folder / stage)
        fsync_folder(run_folder)
        reporter.report(stage, f"reused from run {earlier.name}", done=1, total=1)


def _has_same_seeds(earlier: Path, spec: RunSpec) -> bool:
    """Return True if both runs have the same micrographs and seeds, in the same order.

    The stages refer to micrographs and seeds by number.
    """
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

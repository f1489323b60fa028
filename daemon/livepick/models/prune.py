"""Removal of bundles in two steps, so that a half-removed one never counts as a bundle."""

import contextlib
import shutil
from pathlib import Path

from livepick.core.contracts.bundle import numbered_folders
from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.run import RunSpec
from livepick.errors import TrainerError
from livepick.host.atomic_files import fsync_folder

__all__ = ["parents_of_runs_under_way", "remove", "sweep"]

PRUNED = ".draft-{}-pruned"
"""Name of a bundle that is being removed."""


def remove(bundle: Path) -> None:
    """Hide a bundle with one rename, then remove it.

    Raises
    ------
    OSError
        The bundle is still there, or it is partly removed and ``sweep`` will remove the rest.
    """
    draft = bundle.with_name(PRUNED.format(bundle.name))
    bundle.rename(draft)
    fsync_folder(bundle.parent)  # otherwise a power cut could bring back a half-empty bundle
    shutil.rmtree(draft)


def sweep(models: Path) -> None:
    """Remove what a killed ``remove`` left behind; raise OSError if that fails."""
    for leftover in models.glob(PRUNED.format("*")):
        shutil.rmtree(leftover)


def parents_of_runs_under_way(runs: Path, models: Path) -> set[int]:
    """Return the versions whose picks seed runs that may still produce a bundle."""
    parents = set()
    for folder in numbered_folders(runs):
        if (models / folder.name).is_dir() or _has_failed(folder):
            continue
        with contextlib.suppress(TrainerError):  # no order, or a damaged one: it cannot run
            parents.add(RunSpec.read(folder).parent)
    return {parent for parent in parents if parent is not None}


def _has_failed(run: Path) -> bool:
    """Return True if the last line of a run's progress file reports a failure."""
    lines = ProgressReader(run).new()
    return bool(lines) and lines[-1].stage == "failed"

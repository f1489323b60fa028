"""Removal of old model bundles.

A bundle is hidden by a rename and then removed, so that a half-removed one never counts as a
bundle.
"""

import contextlib
import shutil
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.bundle import numbered_folders
from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.errors import LedgerWriteError, TrainerError
from livepick.host.atomic_files import fsync_folder
from livepick.models.bundle_on_disk import Bundle
from livepick.models.promotions import lock_models
from livepick.models.registry import Models

__all__ = ["prune"]

PRUNED = ".draft-{}-pruned"
"""Name of a bundle that is being removed."""


def prune(models: Models, keep: int, config: Config) -> list[Bundle]:
    """Remove the oldest trained bundles beyond ``keep``, and return them.

    Bundles that are needed stay, whatever their age: the current model and the one to roll back to,
    first pickers, the model of the current settings (otherwise it would be trained again), and the
    parent of a run in progress. Run folders stay too: they record which micrographs were held out.

    Raises
    ------
    ModelError
        There is no folder of bundles.
    LedgerWriteError
        A bundle could not be removed.
    """
    with lock_models(models.directory):
        trained = [bundle for bundle in models.bundles() if bundle.card.kind == "trained"]
        needed = _needed(models, config)
        old = trained[: max(0, len(trained) - keep)]
        removed = [bundle for bundle in old if bundle.card.version not in needed]
        try:
            for leftover in models.directory.glob(PRUNED.format("*")):  # left by a killed process
                shutil.rmtree(leftover)
            for bundle in removed:
                _remove(bundle.path)
        except OSError as error:
            raise LedgerWriteError(
                f"{error.filename}: a model could not be removed: {error.strerror}",
                "Check the permissions of the state directory.",
            ) from error
    return removed


def _needed(models: Models, config: Config) -> set[int]:
    """Return the versions that must not be removed."""
    bundles = (
        models.promoted(),
        models.rollback_target(config),
        models.trained(config.training_fingerprint()),
    )
    versions = {bundle.card.version for bundle in bundles if bundle is not None}
    return versions | _parents_of_runs_in_progress(models.directory)


def _parents_of_runs_in_progress(models: Path) -> set[int]:
    """Return the versions whose picks seed runs that may still produce a bundle."""
    parents = set()
    for folder in numbered_folders(models.parent / RUNS):
        if (models / folder.name).is_dir() or _has_failed(folder):
            continue
        with contextlib.suppress(TrainerError):  # no order, or a damaged one: it cannot run
            parents.add(RunSpec.read(folder).parent)
    return {parent for parent in parents if parent is not None}


def _has_failed(run: Path) -> bool:
    """Return True if the last line of a run's progress file reports a failure."""
    lines = ProgressReader(run).new()
    return bool(lines) and lines[-1].stage == "failed"


def _remove(bundle: Path) -> None:
    draft = bundle.with_name(PRUNED.format(bundle.name))
    bundle.rename(draft)
    fsync_folder(bundle.parent)  # otherwise a power cut could bring back a half-empty bundle
    shutil.rmtree(draft)

"""Removal of old bundles."""

import pytest

from factories import promote
from livepick.core.contracts.progress import PROGRESS, Progress
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.models.prune import prune


def versions(models):
    """Return the versions of all bundles."""
    return [bundle.card.version for bundle in models.bundles()]


def test_pruning_removes_the_oldest_models_that_are_not_needed(models, config):
    """The current model, the rollback target and the blob picker stay."""
    promote(models, 1)
    promote(models, 2)

    removed = prune(models, 2, config)

    assert [bundle.card.version for bundle in removed] == [3, 4]
    assert versions(models) == [0, 1, 2, 5, 6]
    assert prune(models, 0, config)[0].card.version == 5
    assert versions(models) == [0, 1, 2, 6]  # 6 is the newest for the current settings
    assert prune(models, 0, config) == []


def test_pruning_keeps_the_model_of_the_current_settings(models, config, make_config, put_bundle):
    """Going back to these settings needs no training if their model is kept."""
    for version in (7, 8):
        put_bundle(models, make_config(training={"generation": 2}), version)
    promote(models, 8)

    prune(models, 0, config)

    assert versions(models) == [0, 6, 8]


@pytest.mark.parametrize(
    ("last", "kept"), [("", True), ('{"at": 1, "stage": "fail', True), ("failed", False)]
)
def test_pruning_keeps_the_parent_of_a_run_in_progress(models, config, last, kept):
    """A failed run needs no parent; a run without an order has not begun."""
    promote(models, 6)
    runs = models.directory.parent / RUNS
    (runs / "0009").mkdir(parents=True)
    folder = runs / "0008"
    folder.mkdir()
    RunSpec(
        version=8,
        parent=2,
        fingerprint="f",
        particle_fingerprint="p",
        models_directory=models.directory,
        particle=config.particle,
        training=config.training,
        seed_threshold=0.5,
        micrographs=[],
    ).write(folder)
    if last == "failed":
        last = Progress(at=1, stage="failed").model_dump_json() + "\n"
    (folder / PROGRESS).write_text(Progress(at=0, stage="train").model_dump_json() + "\n" + last)

    prune(models, 1, config)

    assert versions(models) == ([0, 2, 6] if kept else [0, 6])


def test_pruning_needs_no_blob_picker(models, config, make_config):
    """The config was edited for another particle, and the service has not been started since."""
    promote(models, 6)

    removed = prune(models, 1, make_config(particle={"diameter_angstrom": 200}))

    assert len(removed) == 5
    assert versions(models) == [0, 6]

"""Bundles on disk, and the current model."""

import pytest

from factories import promote
from livepick.core.contracts.bundle import GRAPH
from livepick.errors import ModelError
from livepick.models.promotions import PROMOTIONS_FILE
from livepick.models.registry import Models


def test_the_blob_picker_is_used_until_a_model_is_promoted(tmp_path, config, put_bundle):
    """A bundle is not used before its promotion."""
    models = Models(tmp_path)
    put_bundle(models, config, 0, "blob")
    put_bundle(models, config, 1)

    before = models.current(config).card.version
    promote(models, 1)

    assert (before, models.current(config).card.version) == (0, 1)
    assert models.promoted().path == tmp_path / "0001"


def test_a_model_is_used_only_for_its_particle(tmp_path, config, make_config, put_bundle):
    """If the diameter is edited, the blob picker for the new one is used."""
    models = Models(tmp_path)
    put_bundle(models, config, 0, "blob")
    put_bundle(models, config, 1)
    promote(models, 1)
    other = make_config(particle={"diameter_angstrom": 200})

    with pytest.raises(ModelError):
        models.current(other)
    put_bundle(models, other, 2, "blob")

    assert models.current(other).card.version == 2
    assert models.current(config).card.version == 1


def test_going_back_finds_the_old_model(tmp_path, config, make_config, put_bundle):
    """There is no second training for the same settings."""
    models = Models(tmp_path)
    edited = make_config(training={"generation": 2})
    put_bundle(models, config, 1)
    put_bundle(models, edited, 2)

    assert models.trained(config.training_fingerprint()).card.version == 1
    assert models.trained(edited.training_fingerprint()).card.version == 2
    assert models.trained("another") is None


def test_damaged_bundles_are_neither_listed_nor_promoted(tmp_path, config, caplog, put_bundle):
    """A half-deleted bundle does not stop the service."""
    models = Models(tmp_path)
    put_bundle(models, config, 0, "blob")
    (put_bundle(models, config, 1) / "model.json").unlink()
    (put_bundle(models, config, 2) / GRAPH).write_bytes(b"exchanged")

    assert [bundle.card.version for bundle in models.bundles()] == [0, 2]
    assert "0001" in caplog.text
    for version in (1, 2, 3):
        with pytest.raises(ModelError):
            promote(models, version)
    assert models.current(config).card.version == 0


def test_numbers_of_runs_and_bundles_are_one_series(tmp_path):
    """A failed run keeps its number, so that a run and its model have the same one."""
    models = Models(tmp_path / "models")
    runs = tmp_path / "runs"
    assert models.next_version(besides=runs) == 0

    (tmp_path / "models" / "0000").mkdir(parents=True)
    (runs / "0001").mkdir(parents=True)

    assert models.next_version(besides=runs) == 2


def test_the_blob_picker_is_made_once(tmp_path, config):
    """Later starts find it."""
    models = Models(tmp_path / "models")

    made = models.ensure_blob(config)
    found = models.ensure_blob(config)

    assert made == found
    assert made.card.kind == "blob"
    assert made.card.edge_fraction == config.particle.edge_fraction == 0.05
    assert models.current(config) == made


def test_leftovers_of_a_killed_service_or_trainer_are_removed(tmp_path, config, put_bundle):
    """The next try removes its own drafts; those of other versions may be in use."""
    models = Models(tmp_path)
    (tmp_path / ".draft-0001-killed").mkdir(parents=True)
    (tmp_path / ".draft-0002-alive").mkdir()
    (tmp_path / ".livepick-0123.tmp").touch()

    put_bundle(models, config, 1)
    promote(models, 1)

    assert {path.name for path in tmp_path.iterdir()} == {
        "0001",
        ".draft-0002-alive",
        PROMOTIONS_FILE,
    }

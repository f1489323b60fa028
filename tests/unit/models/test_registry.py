"""Bundles on disk, and which one picks."""

import json

import pytest

from factories import promote
from livepick.core.contracts.bundle import CARD, GRAPH, read_card
from livepick.core.contracts.training_report import read_findings
from livepick.errors import ModelError
from livepick.models.promotions import PROMOTIONS_FILE
from livepick.models.registry import Models


def test_blob_picker_serves_until_a_model_is_promoted(tmp_path, config, put_bundle):
    """A bundle that lies there picks nothing before it is promoted."""
    models = Models(tmp_path)
    put_bundle(models, config, 0, "blob")
    put_bundle(models, config, 1)

    before = models.current(config).card.version
    promote(models, 1)

    assert (before, models.current(config).card.version) == (0, 1)
    assert models.promoted().path == tmp_path / "0001"


def test_a_model_serves_only_its_particle(tmp_path, config, make_config, put_bundle):
    """With another diameter in the config the blob picker for that one takes over."""
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
    """Settings that were trained for once are not trained for again."""
    models = Models(tmp_path)
    edited = make_config(training={"generation": 2})
    put_bundle(models, config, 1)
    put_bundle(models, edited, 2)

    assert models.trained(config.training_fingerprint()).card.version == 1
    assert models.trained(edited.training_fingerprint()).card.version == 2
    assert models.trained("another") is None


def test_damaged_bundles_are_neither_listed_nor_promoted(tmp_path, config, caplog, put_bundle):
    """A half-deleted bundle does not stop the service, and cannot be promoted."""
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


def test_a_card_of_an_earlier_livepick_means_what_it_meant(tmp_path, config, put_bundle):
    """It knows no filter, no common noise and no edge rule, and its model gets none of them."""
    bundle = put_bundle(Models(tmp_path), config, 1)
    card = json.loads((bundle / CARD).read_text())
    for name in ("lowpass_angstrom", "noise_sigma", "edge_fraction"):
        del card[name]
    (bundle / CARD).write_text(json.dumps(card))

    read = read_card(bundle)
    assert (read.lowpass_angstrom, read.noise_sigma, read.edge_fraction) == (None, None, 0)


def test_a_card_with_a_wrong_entry_names_it(tmp_path, config, put_bundle):
    """And none of those that may be missing."""
    bundle = put_bundle(Models(tmp_path), config, 1)
    card = json.loads((bundle / CARD).read_text())
    del card["lowpass_angstrom"], card["threshold"]
    (bundle / CARD).write_text(json.dumps(card | {"tresholt": 1}))

    with pytest.raises(ModelError, match=r"unknown entries: threshold, tresholt\."):
        read_card(bundle)


def test_findings_are_read_from_a_bundles_report(tmp_path):
    """Those of its training, in words; a report that has none, or no report, says nothing."""
    finding = {
        "kind": "still_falling",
        "is_fault": False,
        "evidence": "the losses still fall",
        "remedy": "raise training.epochs to 60",
        "settings": {"epochs": 60},
    }
    assert read_findings(tmp_path) == ()
    (tmp_path / "report.json").write_text(json.dumps({"figures": {}}))
    assert read_findings(tmp_path) == ()
    (tmp_path / "report.json").write_text(json.dumps({"findings": [finding]}))

    (found,) = read_findings(tmp_path)

    assert not found.is_fault
    assert found.sentence == ("Still falling: the losses still fall; raise training.epochs to 60.")


def test_numbers_of_runs_and_bundles_are_one_series(tmp_path):
    """A run that failed keeps its number, so that run and model always match."""
    models = Models(tmp_path / "models")
    runs = tmp_path / "runs"
    assert models.next_version(besides=runs) == 0

    (tmp_path / "models" / "0000").mkdir(parents=True)
    (runs / "0001").mkdir(parents=True)

    assert models.next_version(besides=runs) == 2


def test_the_blob_picker_is_made_once(tmp_path, config):
    """The first start makes it, every other finds it."""
    models = Models(tmp_path / "models")

    made = models.ensure_blob(config)
    found = models.ensure_blob(config)

    assert made == found
    assert made.card.kind == "blob"
    assert made.card.edge_fraction == config.particle.edge_fraction == 0.05
    assert models.current(config) == made


def test_what_a_killed_service_or_trainer_left_is_swept(tmp_path, config, put_bundle):
    """Drafts go with the next try at the same thing; those of other versions may be under way."""
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

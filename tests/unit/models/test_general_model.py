"""The general model of the package becomes a bundle for the session's particle, or says why not."""

import json

import pytest

from factories import publish_bundle
from livepick.core.contracts.bundle import CARD, GRAPH, read_card
from livepick.errors import ModelError
from livepick.models.general_model import publish_general_picker


@pytest.fixture
def shipped(tmp_path):
    """Return the folder of a general model for 200 Å; its graph is only bytes."""
    made = publish_bundle(
        tmp_path / "made",
        b"general graph",
        kind="general",
        version=0,
        diameter_angstrom=200.0,
        lowpass_angstrom=30.0,
        threshold=0.42,
        threshold_source="validation patches",
    )
    return made.rename(tmp_path / "general")


def test_it_is_scaled_to_the_particle_of_the_session(tmp_path, shipped, make_config):
    config = make_config(
        particle={
            "diameter_angstrom": 100,
            "contrast": "bright",
            "min_distance_fraction": 0.8,
            "edge_fraction": 0.3,
        }
    )
    path, card = publish_general_picker(tmp_path / "models", config, 3, shipped=shipped)
    assert read_card(path) == card
    assert (path.name, (path / GRAPH).read_bytes()) == ("0003", b"general graph")
    assert (card.kind, card.version, card.threshold) == ("general", 3, 0.42)
    assert card.threshold_source == "validation patches"
    assert (card.diameter_angstrom, card.contrast, card.edge_fraction) == (100, "bright", 0.3)
    assert card.min_distance_angstrom == pytest.approx(80)
    assert card.pixel_size_angstrom == pytest.approx(read_card(shipped).pixel_size_angstrom / 2)
    assert card.lowpass_angstrom == pytest.approx(15)
    assert card.particle_fingerprint == config.particle_fingerprint()
    assert card.is_provisional


def _no_folder(shipped):
    for path in shipped.iterdir():
        path.unlink()
    shipped.rmdir()


def _another_kind(shipped):
    card = json.loads((shipped / CARD).read_text())
    (shipped / CARD).write_text(json.dumps(card | {"kind": "trained"}))


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (_no_folder, CARD),
        (lambda shipped: (shipped / CARD).write_text("{"), CARD),
        (lambda shipped: (shipped / GRAPH).write_bytes(b"half"), GRAPH),
        (lambda shipped: (shipped / GRAPH).unlink(), GRAPH),
        (_another_kind, "general is a model of kind trained"),
    ],
    ids=["no folder", "card", "another graph", "no graph", "kind"],
)
def test_a_damaged_one_is_named_with_the_remedy(tmp_path, shipped, make_config, damage, name):
    damage(shipped)
    with pytest.raises(ModelError) as caught:
        publish_general_picker(tmp_path / "models", make_config(), 3, shipped=shipped)
    assert str(shipped) in caught.value.what
    assert name in caught.value.what
    assert "Install livepick again" in caught.value.remedy
    assert "bootstrap.picks: blob" in caught.value.remedy
    assert not (tmp_path / "models").exists()

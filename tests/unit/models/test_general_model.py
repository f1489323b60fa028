"""The general model of the package becomes a bundle for the session's particle, or says why not."""

import json

import pytest

from factories import network_graph, promote, publish_bundle
from livepick.core.contracts.bundle import CARD, GRAPH, read_card
from livepick.core.imaging.joint_detector import joint_graph
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.errors import ModelError
from livepick.models import general_model
from livepick.models.general_model import publish_general_picker
from livepick.models.registry import Models


@pytest.fixture
def shipped(tmp_path):
    """Return the folder of a general model for 200 Å, whose network is a small one."""
    made = publish_bundle(
        tmp_path / "made",
        network_graph(),
        kind="general",
        version=0,
        diameter_angstrom=200.0,
        lowpass_angstrom=30.0,
        threshold=0.42,
        threshold_source="scenes",
    )
    return made.rename(tmp_path / "general")


@pytest.fixture(autouse=True)
def make_here(monkeypatch):
    """Make graphs in this process, which is quicker."""
    monkeypatch.setattr(general_model, "make_in_process", lambda make, *args: make(*args))


def test_it_is_scaled_to_the_particle_of_the_session(tmp_path, shipped, make_config):
    config = make_config(
        particle={
            "diameter_angstrom": 100,
            "contrast": "bright",
            "min_distance_fraction": 0.8,
            "edge_fraction": 0.3,
        }
    )
    path, card = publish_general_picker(tmp_path / "models", config.particle, 3, shipped=shipped)
    assert read_card(path) == card
    assert path.name == "0003"
    assert (path / GRAPH).read_bytes() == joint_graph(network_graph(), DIAMETER_PX)
    assert (card.kind, card.version, card.threshold) == ("general", 3, 0.5)
    assert "in each micrograph" in card.threshold_source
    assert (card.diameter_angstrom, card.contrast, card.edge_fraction) == (100, "bright", 0.3)
    assert card.min_distance_angstrom == pytest.approx(80)
    assert card.pixel_size_angstrom == pytest.approx(read_card(shipped).pixel_size_angstrom / 2)
    assert card.lowpass_angstrom == pytest.approx(15)
    assert card.particle_fingerprint == config.particle_fingerprint()
    assert card.is_provisional


def test_a_graph_of_another_form_is_named(tmp_path, make_config):
    """The digest in the card is right, but it is not a network's graph."""
    shipped = publish_bundle(tmp_path / "made", b"graph", kind="general", version=0)
    with pytest.raises(ModelError, match="not an ONNX graph") as caught:
        publish_general_picker(tmp_path / "m", make_config().particle, 3, shipped=shipped)
    assert str(shipped / GRAPH) in caught.value.what
    assert "bootstrap.picks: blob" in caught.value.remedy


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
        publish_general_picker(tmp_path / "models", make_config().particle, 3, shipped=shipped)
    assert str(shipped) in caught.value.what
    assert name in caught.value.what
    assert "Install livepick again" in caught.value.remedy
    assert "bootstrap.picks: blob" in caught.value.remedy
    assert not (tmp_path / "models").exists()


# --- as the first picker of a session -------------------------------------------------------------


@pytest.fixture
def config(make_config):
    """Return a config that asks for the general model."""
    return make_config(bootstrap={"picks": "general"})


@pytest.fixture
def models(tmp_path, shipped):
    """Return the models of a session that has not begun."""
    return Models(tmp_path / "state" / "models", shipped=shipped)


def test_it_picks_until_a_model_is_promoted(models, config, put_bundle):
    """The blob picker is made too; without an edit of the config nothing goes back to it."""
    first = models.ensure_first_picker(config)
    again = models.ensure_first_picker(config)

    assert first == again == models.current(config)
    assert [bundle.card.kind for bundle in models.bundles()] == ["blob", "general"]
    assert (models.fault(), models.rollback_target(config)) == (None, None)
    put_bundle(models, config, 2)
    promote(models, 2)
    assert models.current(config).card.version == 2
    assert models.rollback_target(config) == first


def test_an_edit_switches_between_the_first_pickers(models, config, make_config):
    for one, kind in (
        (make_config(bootstrap={"picks": "blob"}), "blob"),
        (config, "general"),
        (make_config(bootstrap={"picks": "blob"}), "blob"),
    ):
        assert models.ensure_first_picker(one) == models.current(one)
        assert (models.current(one).card.kind, models.fault()) == (kind, None)


def test_another_particle_gets_another_copy(models, config, make_config):
    models.ensure_first_picker(config)
    other = make_config(bootstrap={"picks": "general"}, particle={"diameter_angstrom": 300})

    assert models.ensure_first_picker(other).card.diameter_angstrom == 300
    assert models.current(other).card.kind == "general"
    assert models.current(config).card.diameter_angstrom == 150


def test_a_damaged_package_means_the_blob_picker_and_a_fault(models, config, shipped, caplog):
    """Picking goes on, the log and the fault name file and remedy; a repaired package is used."""
    graph = (shipped / GRAPH).read_bytes()
    (shipped / GRAPH).write_bytes(b"half")

    assert models.ensure_first_picker(config).card.kind == "blob"
    assert models.current(config).card.kind == "blob"
    assert str(shipped / GRAPH) in models.fault().what
    assert str(shipped / GRAPH) in caplog.text
    assert "Install livepick again" in models.fault().remedy

    (shipped / GRAPH).write_bytes(graph)
    assert models.ensure_first_picker(config).card.kind == "general"
    assert models.current(config).card.kind == "general"
    assert models.fault() is None


def test_a_damaged_copy_is_replaced_at_the_next_start(models, config, shipped):
    (models.ensure_first_picker(config).path / GRAPH).write_bytes(b"half")
    assert models.current(config).card.kind == "blob"
    assert "0001" in models.fault().what

    after = Models(models.directory, shipped=shipped)
    assert after.ensure_first_picker(config).card.version == 2
    assert (after.current(config).card.version, after.fault()) == (2, None)


def test_one_that_does_not_run_is_not_copied_again(models, config):
    """Each edit of the config would make another copy."""
    models.ensure_first_picker(config)
    models.set_aside(1, ModelError("model 1 gives scores outside 0 to 1", "Train again."))

    assert models.ensure_first_picker(config).card.kind == "blob"
    assert models.current(config).card.kind == "blob"
    assert "outside 0 to 1" in models.fault().what
    assert len(models.bundles()) == 2


def test_a_promoted_model_has_no_fault_where_the_general_model_has_one(
    models, config, shipped, put_bundle
):
    (shipped / GRAPH).unlink()
    models.ensure_first_picker(config)
    models.current(config)
    put_bundle(models, config, 1)
    promote(models, 1)

    assert (models.current(config).card.version, models.fault()) == (1, None)

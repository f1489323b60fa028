"""Weights that a training starts from, as the daemon finds them."""

import pytest

from factories import make_card, publish_bundle
from livepick.config.training_sections import Training
from livepick.core.contracts.bundle import CARD, GRAPH, WEIGHTS, publish, sha256
from livepick.core.contracts.run import RunStart
from livepick.errors import ModelError
from livepick.models.general_model import SHIPPED
from livepick.models.start_weights import read_start_weights


@pytest.fixture
def bundle(tmp_path):
    """Return the folder of a bundle with weights."""
    card = make_card(weights_sha256=sha256(b"weights"))
    return publish(tmp_path, card, {GRAPH: b"graph", WEIGHTS: b"weights"})


def _from(bundle):
    return Training.model_validate({"start": {"model": bundle}})


def test_a_training_from_scratch_needs_no_weights():
    assert read_start_weights(Training(start="scratch")) is None


def test_weights_of_a_bundle_are_read_with_their_digest(bundle):
    found = read_start_weights(_from(bundle))
    assert (found.source, found.content) == (str(bundle), b"weights")
    assert found.for_run() == RunStart(
        source=str(bundle), livepick_version="test", sha256=sha256(b"weights")
    )


def test_weights_of_the_general_model_are_those_of_the_package(bundle):
    found = read_start_weights(Training(start="general"), general=bundle)
    assert (found.source, found.content) == ("general", b"weights")


def test_a_bundle_without_weights_is_refused_with_a_remedy(tmp_path):
    """Bundles of earlier versions have none, and blob pickers never have any."""
    bundle = publish_bundle(tmp_path)
    with pytest.raises(ModelError, match=r"has no weights.npz \(it was made by livepick") as error:
        read_start_weights(_from(bundle))
    assert str(bundle) in error.value.what
    assert "Train that model again with this livepick, or name another" in error.value.remedy
    with pytest.raises(ModelError, match="the general model cannot be used") as error:
        read_start_weights(Training(start="general"), general=bundle)
    assert "set training.start: scratch" in error.value.remedy


def test_damaged_weights_are_refused(bundle):
    (bundle / WEIGHTS).write_bytes(b"weightz")
    with pytest.raises(ModelError, match="is not the file that the bundle's card names"):
        read_start_weights(_from(bundle))
    (bundle / WEIGHTS).unlink()
    (bundle / WEIGHTS).mkdir()
    with pytest.raises(ModelError, match=r"weights.npz cannot be read"):
        read_start_weights(_from(bundle))


def test_a_folder_that_is_not_a_bundle_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere/model.json cannot be read"):
        read_start_weights(_from(tmp_path / "nowhere"))


def test_a_card_is_published_only_with_its_weights(tmp_path):
    with pytest.raises(ValueError, match="weights_sha256"):
        publish(tmp_path, make_card(), {GRAPH: b"graph", WEIGHTS: b"weights"})


@pytest.mark.skipif(not (SHIPPED / CARD).exists(), reason="the package has no general model yet")
def test_the_general_model_of_the_package_has_weights():
    assert read_start_weights(Training(start="general")) is not None

"""The general model in the package: whole, small, and good at particles that it has never seen."""

import json

import mrcfile
import numpy as np
import pytest

from livepick.config.sections import Particle
from livepick.core.contracts.bundle import CARD, GRAPH, WEIGHTS, sha256
from livepick.core.contracts.job import Job
from livepick.core.evaluation.matching import figures, match, precision_recall_f1
from livepick.models.general_model import SHIPPED, publish_general_picker, read_general_card
from livepick.picking.worker import pick
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session
from livepick.simulate.species import specimen
from livepick_trainer.learning.export_onnx import graph_scores, network_scores
from livepick_trainer.learning.network import make_network
from livepick_trainer.learning.weights_file import read_weights
from livepick_trainer.pretrain.publishing import ORIGIN
from livepick_trainer.pretrain.scenes import make_scene

MOST_BYTES = 2_000_000


def test_it_has_the_files_of_a_general_bundle_and_is_small():
    files = {path.name: path.stat().st_size for path in SHIPPED.iterdir()}
    assert files.keys() == {GRAPH, CARD, WEIGHTS, ORIGIN}
    assert sum(files.values()) <= MOST_BYTES


def test_its_card_names_its_graph_and_weights():
    card = read_general_card()  # checks the graph
    assert card.weights_sha256 == sha256((SHIPPED / WEIGHTS).read_bytes())


def test_it_says_how_it_was_made():
    origin = json.loads((SHIPPED / ORIGIN).read_text())
    assert origin["made_by"] == "python -m livepick_trainer.pretrain"
    assert origin["steps_done"] == origin["recipe"]["steps"]
    assert origin["held_out_scenes"]["threshold"] == read_general_card().threshold


def test_graph_and_weights_are_of_the_same_network():
    network = make_network(1)
    read_weights((SHIPPED / WEIGHTS).read_bytes(), network, name=WEIGHTS)
    image = make_scene(1, 1).image[:96, :96].copy()
    difference = graph_scores((SHIPPED / GRAPH).read_bytes(), 1)(image) - network_scores(
        network, image
    )
    assert np.abs(difference).max() < 1e-3


@pytest.mark.parametrize("species", ["apoferritin", "proteasome", "beta-galactosidase", "ribosome"])
def test_it_finds_particles_of_the_simulated_microscope(tmp_path, species):
    """The scenes that it was trained on share nothing with that simulation."""
    session = Session(
        species=species, shape_px=(1024, 1024), signal_to_noise=0.1, junk=Junk.none(), seed=11
    )
    made = simulate_micrograph(session, 1)
    path = tmp_path / "sim.mrc"
    with mrcfile.new(path, made.image) as mrc:
        mrc.voxel_size = session.pixel_size_angstrom
    diameter = specimen(species).diameter_angstrom
    particle = Particle(diameter_angstrom=diameter)
    bundle, card = publish_general_picker(tmp_path / "models", particle, 1)
    found = pick(Job(path=path, version=None, bundle=bundle))
    radius_px = diameter / 4 / session.pixel_size_angstrom
    matches = match(found.picks, made.truth, radius_px=radius_px, area=found.area)
    assert figures([matches]).average_precision > 0.9
    assert precision_recall_f1([matches], card.threshold)[2] > 0.8

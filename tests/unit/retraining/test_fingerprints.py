"""Digests of settings: an update of livepick finds the models of earlier versions."""

from pathlib import Path

import pytest

from livepick.config.yaml_loader import parse_config
from livepick.retraining.fingerprints import seeding_fingerprint

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"

EVERYTHING = """\
session: {name: krios1}
watch: {directories: [/in]}
particle: {diameter_angstrom: 180, contrast: bright, min_distance_fraction: 0.8, edge_fraction: 0.5}
bootstrap:
  picks: {coordinates: /data/picks.star}
  micrographs: 40
  minimum_picks: 500
  classes: {accept: [3, 7], reject: [1]}
training:
  generation: 3
  epochs: 50
  initial_learning_rate: 0.01
  final_learning_rate: 0.001
  minibatch_size: 4
  class_weights: false
  normalize: false
  lowpass_angstrom: 30
  held_out_fraction: 0.3
  expected_picks: 250
  auto_remedy: false
  seed: 7
  threads: 6
  device: cuda:1
  gpu_memory_fraction: 0.8
  time_limit_minutes: 60
output: {directory: /out}
state: {directory: /state}
"""

PRETRAINED = """\
session: {name: glacios}
watch: {directories: [/in]}
micrograph: {ctf: /ctf}
particle: {diameter_angstrom: 95.5}
bootstrap: {picks: {model: /models/general}}
picking: {threshold: 0.1, repick: all}
retrain: {gate: tolerant, on_drift: true}
output: {directory: /out}
state: {directory: /state}
"""


@pytest.mark.parametrize(
    ("text", "particle", "training", "seeding"),
    [
        (EXAMPLE.read_text(), "c1def130c98a", "d71187badebf", "13f9449346ee"),
        (EVERYTHING, "90f2032a8d4b", "24473f431139", "bb7c64b572c1"),
        (PRETRAINED, "c433abe259d9", "8eeadc2207fa", "11d080822ef0"),
    ],
    ids=["example", "everything", "pretrained"],
)
def test_fingerprints_are_those_of_earlier_versions(tmp_path, text, particle, training, seeding):
    """The digests were computed by commit bd63626; if one differs, every session trains again."""
    config = parse_config(text, tmp_path / "session.yaml")

    assert config.particle_fingerprint() == particle
    assert config.training_fingerprint() == training
    assert seeding_fingerprint(config.particle, config.bootstrap, config.training) == seeding


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        ({"bootstrap": {"classes": {"accept": [1]}}}, True),
        ({"training": {"epochs": 5, "held_out_fraction": 0.5, "auto_remedy": False}}, True),
        ({"training": {"threads": 3, "gpu_memory_fraction": 0.1}}, True),
        ({"training": {"expected_picks": 100}}, False),
        ({"bootstrap": {"minimum_picks": 10}}, False),
        ({"particle": {"diameter_angstrom": 150, "edge_fraction": 0.5}}, False),
    ],
)
def test_settings_after_the_classes_leave_the_seeding_fingerprint_unchanged(
    make_config, edit, same
):
    old = make_config()
    new = type(old).model_validate(old.model_dump(exclude_defaults=True) | edit)

    digests = {
        seeding_fingerprint(config.particle, config.bootstrap, config.training)
        for config in (old, new)
    }
    assert (len(digests) == 1) == same

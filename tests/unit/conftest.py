"""What several tests need: configs, and bundles that no onnxruntime would accept."""

import time

import pytest

from livepick.config import Config
from livepick.core.bundle import GRAPH, ModelCard, publish, sha256


@pytest.fixture
def make_config(tmp_path):
    """Return a function that makes the smallest config, with folders below ``tmp_path``."""

    def make(*, diameter_angstrom=150.0, generation=1, micrographs=20):
        return Config.model_validate(
            {
                "session": {"name": "test"},
                "watch": {"directories": [tmp_path / "in"]},
                "particle": {"diameter_angstrom": diameter_angstrom},
                "bootstrap": {"micrographs": micrographs},
                "training": {"generation": generation},
                "output": {"directory": tmp_path / "out"},
                "state": {"directory": tmp_path / "state"},
            }
        )

    return make


@pytest.fixture
def put_bundle():
    """Return a function that publishes a bundle for a config; its graph is only bytes."""

    def put(models, config, version, kind="trained", graph=b"graph"):
        card = ModelCard(
            version=version,
            kind=kind,
            fingerprint=config.training_fingerprint(),
            particle_fingerprint=config.particle_fingerprint(),
            diameter_angstrom=config.particle.diameter_angstrom,
            min_distance_angstrom=90,
            contrast="dark",
            pixel_size_angstrom=7.5,
            normalization="background-median",
            threshold=0.5,
            threshold_source="test",
            graph_sha256=sha256(graph),
            created_at=time.time(),
            livepick_version="0",
        )
        return publish(models.directory, card, {GRAPH: graph})

    return put

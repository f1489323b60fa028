"""What several tests need: configs, ledgers, and bundles that no onnxruntime would accept."""

import time
from pathlib import Path

import pytest
import yaml

from livepick.config.schema import Config
from livepick.core.contracts.bundle import GRAPH, ModelCard, publish, sha256
from livepick.core.formats.micrograph import FileVersion
from livepick.core.imaging.quality import Quality
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.rows import MicrographRow
from livepick.ledger.writer import LedgerWriter


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    """Return a new ledger, to write to."""
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        yield LedgerWriter(database, clock=clock)


@pytest.fixture
def make_config(tmp_path):
    """Return a function that makes the smallest config, with folders below ``tmp_path``."""

    def make(
        *, diameter_angstrom=150.0, generation=1, micrographs=20, bootstrap=None, training=None
    ):
        return Config.model_validate(
            {
                "session": {"name": "test"},
                "watch": {"directories": [tmp_path / "in", Path("/m")]},
                "particle": {"diameter_angstrom": diameter_angstrom},
                "bootstrap": {"micrographs": micrographs} | (bootstrap or {}),
                "training": {"generation": generation} | (training or {}),
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


@pytest.fixture
def config_file(tmp_path):
    """Return the config file of a session that has not begun."""
    path = tmp_path / "session.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "session": {"name": "krios2"},
                "watch": {"directories": [str(tmp_path / "in")]},
                "particle": {"diameter_angstrom": 150},
                "output": {"directory": str(tmp_path / "out")},
                "state": {"directory": str(tmp_path / "state")},
            }
        )
    )
    return path


@pytest.fixture
def micrograph_row():
    """Return a function that makes a picked micrograph, as the ledger has it."""

    def make(number, *, name="{}.mrc", masked_fraction=0.0, shape_px=(64, 64)):
        return MicrographRow(
            id=number,
            root=Path("/m"),
            relative=Path(name.format(number)),
            version=FileVersion(1, 1, 1),
            content=1,
            landed_at=0.0,
            state="picked",
            stale=False,
            attempt=1,
            tries=0,
            crashes=0,
            interruptions=0,
            changed_at=0.0,
            reason=None,
            error=None,
            remedy=None,
            picked_at=1.0,
            model_version=0,
            model_kind="blob",
            threshold=0.5,
            pick_count=2,
            pixel_size_angstrom=1.5,
            shape_px=shape_px,
            provider="CPUExecutionProvider",
            quality=Quality(masked_fraction, 0.9),
        )

    return make

"""Values and files that many tests need, with usual contents; keywords change what matters.

Tests, acceptance tests and benchmarks import this module: the folder ``tests`` is on the path of
pytest, of mypy and of the editable install.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from livepick.config.schema import Config
from livepick.core.contracts.bundle import GRAPH, ModelCard, publish, sha256
from livepick.core.contracts.job import CPU, Result, StageSeconds
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import DIAMETER_PX, NORMALIZATION
from livepick.core.imaging.quality import Quality
from livepick.ledger.rows import MicrographRow
from livepick.ledger.session_rows import ClassAveragesRow
from livepick.models.registry import Models
from livepick.simulate.acquisition import Pace, Plan, acquire
from livepick.simulate.field import Junk, Session

EASY_SESSION = Session(signal_to_noise=0.5, junk=Junk(carbon_probability=0, empty_probability=0))
"""Simulated session with much contrast, in which every micrograph has particles."""


def make_settings(folder: Path, **sections: Mapping[str, object]) -> dict[str, Any]:
    """Return the smallest config as it is in YAML, with its folders in ``folder``.

    A keyword adds to the section of its name.
    """
    settings: dict[str, Any] = {
        "session": {"name": "test"},
        "watch": {"directories": [str(folder / "in")]},
        "particle": {"diameter_angstrom": 150},
        "bootstrap": {"picks": "blob"},
        "output": {"directory": str(folder / "out")},
        "state": {"directory": str(folder / "state")},
    }
    for name, section in sections.items():
        settings[name] = settings.get(name, {}) | section
    return settings


def make_config(folder: Path, **sections: Mapping[str, object]) -> Config:
    """Return the smallest config, with its folders in ``folder``."""
    return Config.model_validate(make_settings(folder, **sections))


def write_config(folder: Path, **sections: Mapping[str, object]) -> Path:
    """Write the smallest config file, ``session.yaml`` in ``folder``, and return its path."""
    path = folder / "session.yaml"
    path.write_text(yaml.safe_dump(make_settings(folder, **sections)))
    return path


def make_card(
    graph: bytes = b"graph", *, config: Config | None = None, **changes: Any
) -> ModelCard:
    """Return the card of a trained model with this graph, made for a config or for 150 Å.

    Distances follow the diameter. Further keywords are fields of ``ModelCard``.
    """
    if config is not None:
        changes = {
            "fingerprint": config.training_fingerprint(),
            "particle_fingerprint": config.particle_fingerprint(),
            "diameter_angstrom": config.particle.diameter_angstrom,
            "contrast": config.particle.contrast,
        } | changes
    diameter_angstrom = changes.get("diameter_angstrom", 150.0)
    fields: dict[str, Any] = {
        "version": 1,
        "kind": "trained",
        "fingerprint": "f",
        "particle_fingerprint": "p",
        "diameter_angstrom": diameter_angstrom,
        "min_distance_angstrom": 0.6 * diameter_angstrom,
        "contrast": "dark",
        "pixel_size_angstrom": diameter_angstrom / DIAMETER_PX,
        "normalization": NORMALIZATION,
        "threshold": 0.5,
        "threshold_source": "test",
        "graph_sha256": sha256(graph),
        "created_at": 1.7e9,
        "livepick_version": "test",
    }
    return ModelCard(**fields | changes)


def publish_bundle(models: Path, graph: bytes = b"graph", **changes: Any) -> Path:
    """Publish a bundle in the folder ``models``; return its folder. Keywords as in ``make_card``.

    onnxruntime does not accept the default graph.
    """
    return publish(models, make_card(graph, **changes), {GRAPH: graph})


def publish_blob(models: Path, **changes: Any) -> Path:
    """Publish a blob picker that runs, without an edge rule, as version 0; return its folder."""
    return publish_bundle(
        models, blob_graph(DIAMETER_PX), **{"version": 0, "kind": "blob"} | changes
    )


def network_graph(*, blind: bool = False) -> bytes:
    """Return the graph of a network that sees bright squares of 3 px, or nothing at all.

    It has the form of ``livepick_trainer.learning.export_onnx``.
    """
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 - few tests need it

    node = helper.make_node
    end = np.iinfo(np.int64).min
    constants = {
        "starts": np.array([-1, -1], np.int64),
        "ends": np.array([end, end], np.int64),
        "axes": np.array([2, 3], np.int64),
        "steps": np.array([-1, -1], np.int64),
        "weight": np.full((1, 1, 3, 3), 0 if blind else 0.45, np.float32),
        "bias": np.full(1, -8, np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        node("Slice", ["image", "starts", "ends", "axes", "steps"], ["turned"]),
        node("Concat", ["image", "turned"], ["both"], axis=0),
        node("Conv", ["both", "weight", "bias"], ["head"], pads=[1, 1, 1, 1]),
        node("Sigmoid", ["head"], ["scores"]),
        node("Split", ["scores"], ["upright", "down"], axis=0),
        node("Slice", ["down", "starts", "ends", "axes", "steps"], ["back"]),
        node("Add", ["upright", "back"], ["sum"]),
        node("Mul", ["sum", "half"], ["score"]),
    ]
    given, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "H", "W"])
        for name in ("image", "score")
    )
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "network", [given], [result], initializers)
    return bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )


def promote(models: Models, version: int, **changes: Any) -> None:
    """Make a bundle the current model. Further keywords as in ``Models.promote``."""
    models.promote(version, **{"by": "operator", "why": "a test", "fingerprint": "f"} | changes)


def make_picks(scores: Sequence[float]) -> Picks:
    """Return picks with these scores, the best first."""
    score = np.array(scores, dtype=np.float32)
    return Picks(score * 100, score * 200, score)


def make_result(picks: Picks | Sequence[float] = (0.9, 0.6, 0.1), **changes: Any) -> Result:
    """Return the result of a worker: the blob picker's picks, or scores of picks, best first.

    Further keywords are fields of ``Result``.
    """
    fields: dict[str, Any] = {
        "picks": picks if isinstance(picks, Picks) else make_picks(picks),
        "threshold": 0.5,
        "model_version": 0,
        "model_kind": "blob",
        "shape_px": (400, 300),
        "pixel_size_angstrom": 1.5,
        "quality": Quality(masked_fraction=0.1, median_score=None),
        "seconds": StageSeconds(0.1, 0.2, 0.3, 0.4),
        "provider": CPU,
    }
    return Result(**fields | changes)


def make_row(
    number: int, *, name: str = "{}.mrc", masked_fraction: float = 0.0, **changes: Any
) -> MicrographRow:
    """Return a micrograph in the folder ``/m`` with two picks, in the form of the ledger.

    ``name`` is completed by the number. Further keywords are fields of ``MicrographRow``.
    """
    row = MicrographRow(
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
        shape_px=(64, 64),
        provider=CPU,
        quality=Quality(masked_fraction, median_score=0.9),
    )
    return dataclasses.replace(row, **changes)


def acquire_session(place: Path, session: Session, micrographs: int) -> tuple[list[Path], Path]:
    """Write all micrographs of a simulated session below ``place`` at once.

    Returns
    -------
    The micrographs' paths, and the folder with one STAR file of true positions a micrograph,
    ``NAME_truth.star``.
    """
    plan = Plan(
        session=session,
        output=place / "micrographs",
        truth=place / "truth",
        micrographs=micrographs,
        every_seconds=0,
        write_seconds=0,
    )
    found: list[Path] = []
    acquire(plan, Pace(0), lambda path, _: found.append(path))
    return found, plan.truth


def make_class_averages(**changes: Any) -> ClassAveragesRow:
    """Return class averages of 4,000 particles, of which 3,000 are good, in balanced views."""
    fields: dict[str, Any] = {
        "number": 3,
        "made_at": 1000.0,
        "model_version": 1,
        "first_id": 1,
        "last_id": 20,
        "micrographs": 20,
        "particles": 4000,
        "good_particles": 3000,
        "classes": 40,
        "good_classes": 30,
        "view_state": "balanced",
        "view_fraction": 0.4,
        "views": 5,
        "threshold": 0.35,
        "noise_particles": 200,
        "diameter_angstrom": 120.0,
    }
    return ClassAveragesRow(**fields | changes)

"""The last stages: ``export`` makes the ONNX graph, and ``publish`` makes the model bundle."""

import json
import time
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import livepick
from livepick.core.contracts.bundle import GRAPH, WEIGHTS, ModelCard, publish, sha256
from livepick.core.contracts.held_out_labels import HELD_OUT
from livepick.core.imaging.normalize import COMMON_NOISE
from livepick.core.imaging.preprocess import DIAMETER_PX, NORMALIZATION
from livepick.host.atomic_files import write_atomically
from livepick_trainer.learning.evaluate import padded
from livepick_trainer.learning.export_onnx import Agreement, check_agreement, to_onnx
from livepick_trainer.learning.weights_file import weights_file
from livepick_trainer.pipeline.class_cleaning import CLASSES_JSON, CLASSES_PNG
from livepick_trainer.pipeline.held_out_evaluation import CURVES, REPORT
from livepick_trainer.pipeline.left_out import left_out_report
from livepick_trainer.pipeline.rounds import read_result
from livepick_trainer.pipeline.run_context import (
    Run,
    held_out_batches,
    labelled,
    trained_network,
    training_and_held_out,
)
from livepick_trainer.seeds.preprocess import noise_sigma
from livepick_trainer.seeds.seed_warnings import WARNINGS

__all__ = ["export_network", "publish_bundle"]

AGREEMENT = "agreement.json"

CLASSES_OF = {
    "select": CLASSES_PNG,
    "retrain": "classes-second-round.png",
}
"""Class pictures of each round; a person's verdicts refer to the first."""

MOST_COMPARED = 4
"""Maximum number of held-out micrographs on which onnxruntime is compared with torch, whole and
in patches."""


def export_network(run: Run, draft: Path) -> None:
    """Write the network as an ONNX graph that gives the same scores in onnxruntime.

    Raises
    ------
    TrainerError
        onnxruntime and torch differ.
    """
    network = trained_network(run).cpu()
    graph = to_onnx(network)
    _, held_out = training_and_held_out(run)
    images = [padded(micrograph.image) for micrograph in held_out[:MOST_COMPARED]]
    patches = held_out_batches(run, [labelled(run, m) for m in held_out[:MOST_COMPARED]])
    images += [patch.numpy() for patch in next(iter(patches)).image[:, 0]]
    agreement = check_agreement(network, graph, images, threads=run.spec.training.threads)
    write_atomically(draft / GRAPH, graph)
    write_atomically(draft / AGREEMENT, TypeAdapter(Agreement).dump_json(agreement))
    run.reporter.report(
        "export",
        f"onnxruntime and torch differ by at most {agreement.max_difference:.1e}"
        f" in {agreement.pixels} pixels",
        done=1,
        total=1,
    )


def publish_bundle(run: Run, draft: Path) -> None:
    """Publish the model bundle with one rename, and write its path to ``bundle.json``.

    Raises
    ------
    ModelError
        The bundle cannot be published.
    """
    graph = (run.folder / "export" / GRAPH).read_bytes()
    report = _whole_report(run)
    evaluated = run.folder / "evaluate"
    weights = weights_file(trained_network(run))
    files = {
        GRAPH: graph,
        WEIGHTS: weights,
        REPORT: json.dumps(report, indent=1).encode() + b"\n",
        CURVES: (evaluated / CURVES).read_bytes(),
        HELD_OUT: (evaluated / HELD_OUT).read_bytes(),
    }
    for stage, name in CLASSES_OF.items():
        picture = run.folder / stage / CLASSES_PNG
        if picture.exists():  # there is none if there were too few candidates
            files[name] = picture.read_bytes()
    card = _model_card(
        run,
        report["operating_point"],
        graph_sha256=sha256(graph),
        weights_sha256=sha256(weights),
    )
    bundle = publish(run.spec.models_directory, card, files)
    write_atomically(draft / "bundle.json", json.dumps(str(bundle)).encode())
    run.reporter.report("publish", f"published {bundle}", done=1, total=1)


def _whole_report(run: Run) -> dict[str, Any]:
    """Return the report of the evaluation, with what the other stages add to it."""
    report: dict[str, Any] = json.loads((run.folder / "evaluate" / REPORT).read_bytes())
    report["start"] = run.spec.start.model_dump() if run.spec.start else None
    report["seeds"] = _seeds(run)
    report["left_out"] = left_out_report(run)
    warnings = json.loads((run.folder / "select" / WARNINGS).read_bytes())
    report["findings"] = warnings + report["findings"]
    report["classes"] = json.loads((run.folder / "select" / CLASSES_JSON).read_bytes())
    report["export"] = json.loads((run.folder / "export" / AGREEMENT).read_bytes())
    return report


def _seeds(run: Run) -> dict[str, object]:
    """Return the source of the seeds and the steps applied to them."""
    rounds = {stage: read_result(run.folder / stage) for stage in ("reseed", "retrain")}
    return {
        "from": run.spec.seeds_from,
        "unmatched": run.spec.unmatched,
        "orientation": run.spec.orientation,
        "rounds": {stage: {"used": used, "note": note} for stage, (used, note) in rounds.items()},
    }


def _model_card(
    run: Run, operating_point: dict[str, Any], *, graph_sha256: str, weights_sha256: str
) -> ModelCard:
    spec, particle = run.spec, run.spec.particle
    noise = noise_sigma(run.folder / "prepare")
    return ModelCard(
        version=spec.version,
        kind="trained",
        fingerprint=spec.fingerprint,
        particle_fingerprint=spec.particle_fingerprint,
        diameter_angstrom=particle.diameter_angstrom,
        min_distance_angstrom=particle.min_distance_fraction * particle.diameter_angstrom,
        edge_fraction=particle.edge_fraction,
        contrast=particle.contrast,
        pixel_size_angstrom=particle.diameter_angstrom / DIAMETER_PX,
        normalization=NORMALIZATION if noise is None else COMMON_NOISE,
        lowpass_angstrom=spec.training.lowpass_angstrom,
        noise_sigma=noise,
        threshold=operating_point["threshold"],
        threshold_source=operating_point["source"],
        graph_sha256=graph_sha256,
        weights_sha256=weights_sha256,
        created_at=time.time(),
        livepick_version=livepick.__version__,
        run=run.folder.resolve().name,
        parent=spec.parent,
    )

"""The general model as a bundle: graph, card, weights for a warm start, and origin."""

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch

import livepick
from livepick.core.contracts.bundle import CARD, GRAPH, WEIGHTS, ModelCard, sha256
from livepick.core.imaging.normalize import BACKGROUND_MEDIAN
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick_trainer.learning.export_onnx import check_agreement, to_onnx
from livepick_trainer.learning.weights_file import weights_file
from livepick_trainer.pretrain.operating_point import (
    HELD_OUT_SEED,
    MIN_DISTANCE_DIAMETERS,
    SceneFigures,
)
from livepick_trainer.pretrain.scenes import make_scene
from livepick_trainer.pretrain.training import PretrainRecipe, Progress

__all__ = ["FINGERPRINT", "ORIGIN", "publish_general"]

FINGERPRINT = "general"
"""Fingerprint of the model and of its particle: it was not made for any."""

ORIGIN = "origin.json"

NOMINAL_DIAMETER_ANGSTROM = 200.0
"""Diameter in the card. The session that uses the model replaces it by that of its particle."""

COMPARED_SCENES = 4
"""Number of scenes in which onnxruntime is compared with torch."""


def publish_general(
    folder: Path,
    progress: Progress,
    recipe: PretrainRecipe,
    figures: SceneFigures,
    *,
    structures: list[str],
) -> None:
    """Write the bundle to ``folder``, replacing an earlier one.

    Parameters
    ----------
    folder
        Folder of the bundle.
    progress
        State of the training, with the network to publish.
    recipe
        Settings of the training.
    figures
        Figures on held-out scenes, with the threshold.
    structures
        Name and digest of each structure file that specimens were made from.

    Raises
    ------
    TrainerError
        onnxruntime and torch differ.
    """
    network = progress.network
    graph = to_onnx(network)
    scenes = [make_scene(HELD_OUT_SEED, n, (), recipe.scenes) for n in range(COMPARED_SCENES)]
    agreement = check_agreement(network, graph, [scene.image for scene in scenes])
    origin = {
        "made_by": "python -m livepick_trainer.pretrain",
        "recipe": dataclasses.asdict(recipe),
        "steps_done": progress.step,
        "cpu_seconds": round(progress.cpu_seconds),
        "torch_version": torch.__version__,
        "structures": structures,
        "held_out_scenes": dataclasses.asdict(figures),
        "onnx_max_difference": agreement.max_difference,
    }
    weights = weights_file(network)
    card = _card(graph, weights, figures)
    _replace(
        folder,
        {
            GRAPH: graph,
            CARD: _json(dataclasses.asdict(card)),
            WEIGHTS: weights,
            ORIGIN: _json(origin),
        },
    )


def _card(graph: bytes, weights: bytes, figures: SceneFigures) -> ModelCard:
    return ModelCard(
        version=0,
        kind="general",
        fingerprint=FINGERPRINT,
        particle_fingerprint=FINGERPRINT,
        diameter_angstrom=NOMINAL_DIAMETER_ANGSTROM,
        min_distance_angstrom=MIN_DISTANCE_DIAMETERS * NOMINAL_DIAMETER_ANGSTROM,
        contrast="dark",
        pixel_size_angstrom=NOMINAL_DIAMETER_ANGSTROM / DIAMETER_PX,
        normalization=BACKGROUND_MEDIAN,
        threshold=figures.threshold,
        threshold_source=(
            f"highest of the scores with nearly the best F1 ({figures.faint_best_f1:.2f}) in"
            f" {figures.scenes} synthetic scenes with faint particles, or none, that it was not"
            " trained on"
        ),
        graph_sha256=sha256(graph),
        weights_sha256=sha256(weights),
        created_at=time.time(),
        livepick_version=livepick.__version__,
    )


def _json(entries: dict[str, Any]) -> bytes:
    return json.dumps(entries, indent=2).encode() + b"\n"


def _replace(folder: Path, files: dict[str, bytes]) -> None:
    """Write files to a draft beside the folder, and put it in the folder's place."""
    draft, old = (folder.with_name(f".{folder.name}.{end}") for end in ("draft", "old"))
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, data in files.items():
        (draft / name).write_bytes(data)
    if folder.exists():
        folder.rename(old)
    os.rename(draft, folder)  # noqa: PTH104 - Path.rename; fails if the name is taken
    shutil.rmtree(old, ignore_errors=True)

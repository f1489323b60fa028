"""Test run of a model on this machine, before it is used."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.config.sections import Device
from livepick.core.contracts.bundle import GRAPH
from livepick.errors import ModelError
from livepick.picking.onnx_session import (
    LEAST_PX,
    MULTIPLE_PX,
    graph_scores,
    load_model,
    loaded_model,
    score_map,
)

__all__ = ["canary", "probe"]


def probe(bundle: Path, device: Device) -> str:
    """Load a bundle as ``pick`` would, run its graph once, and return the provider obtained.

    Raises
    ------
    ModelError
        The graph does not load, or its scores are not between 0 and 1; ``ProviderError`` if the
        GPU was required and not obtained.
    """
    model = loaded_model(bundle, device)
    noise = np.random.default_rng(0).standard_normal((LEAST_PX, LEAST_PX)).astype(np.float32)
    score = score_map(model, noise)
    if not _are_scores(score):
        raise ModelError(
            f"{bundle} gives scores outside 0 to 1",
            "The model is damaged; roll back to another one or train again.",
        )
    return model.provider


def _are_scores(score: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(score).all() and score.min() >= 0 and score.max() <= 1)


def canary(bundle: Path) -> None:
    """Run the graph of a bundle on a small synthetic image, on the CPU, and check its output.

    The session is not kept, so this may be called in a process that does no picking.

    Raises
    ------
    ModelError
        The bundle is damaged or has another format, its graph does not run, or its output is not a
        score between 0 and 1 for each pixel.
    """
    model = load_model(bundle, "cpu")
    height, width = shape = (7 * MULTIPLE_PX, 9 * MULTIPLE_PX)
    y, x = np.mgrid[:height, :width]
    blob = np.exp(-((y - height / 2) ** 2 + (x - width / 2) ** 2) / (2 * 5.0**2))
    noise = np.random.default_rng(0).standard_normal(shape)
    score = graph_scores(model, (noise - 2 * blob).astype(np.float32)[None, None])
    remedy = "Promote another model, or train again."
    if score.shape != (1, 1, *shape):
        raise ModelError(
            f"{bundle / GRAPH} gives an array of shape {score.shape} for an image of {shape}",
            remedy,
        )
    if not _are_scores(score):
        raise ModelError(f"{bundle / GRAPH} gives scores that are not between 0 and 1", remedy)

"""Operating point of the general model, chosen on scenes that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick.core.evaluation.matching import figures, match
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick_trainer.learning.evaluate import MATCH_RADIUS_DIAMETERS, SCORE_FLOOR, score_peaks
from livepick_trainer.learning.export_onnx import network_scores
from livepick_trainer.learning.network import PickingNetwork
from livepick_trainer.pretrain.scenes import SceneRules, make_scene

__all__ = ["HELD_OUT_SEED", "MIN_DISTANCE_DIAMETERS", "SceneFigures", "measure"]

MIN_DISTANCE_DIAMETERS = 0.6
"""Smallest distance between picks, as the default of ``particle.min_distance_fraction``."""

HELD_OUT_SEED = 1_000_003
"""Seed of the held-out scenes; no training may use it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFigures:
    """Figures on held-out scenes; empty scenes count with their false picks."""

    scenes: int
    particles: int
    average_precision: float
    best_f1: float
    threshold: float
    """Score with the best F1."""


def measure(
    network: PickingNetwork,
    *,
    scenes: int,
    structures: Sequence[NDArray[np.float64]] = (),
    rules: SceneRules,
) -> SceneFigures:
    """Pick some scenes, and return the figures of all of them together."""
    matches = []
    for number in range(scenes):
        scene = make_scene(HELD_OUT_SEED, number, structures, rules)
        yx_px, score = score_peaks(
            lambda image: network_scores(network, image),
            scene.image,
            scene.mask,
            min_distance_px=MIN_DISTANCE_DIAMETERS * DIAMETER_PX,
            floor=SCORE_FLOOR,
        )
        inside = (
            (scene.seeds.positive_yx_px >= 0) & (scene.seeds.positive_yx_px < rules.size_px)
        ).all(axis=1)
        truth = scene.seeds.positive_yx_px[inside]
        truth = truth[~scene.mask[tuple(truth.astype(int).T)]]
        matches.append(
            match(
                Picks(yx_px[:, 1], yx_px[:, 0], score),
                Picks(truth[:, 1], truth[:, 0], np.ones(len(truth), dtype=np.float32)),
                radius_px=MATCH_RADIUS_DIAMETERS * DIAMETER_PX,
            )
        )
    found = figures(matches)
    return SceneFigures(
        scenes=scenes,
        particles=sum(m.truths for m in matches),
        average_precision=found.average_precision,
        best_f1=found.best_f1,
        threshold=found.threshold,
    )

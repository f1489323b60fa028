"""Figures and operating point of the general model, on scenes that it was not trained on.

The threshold is chosen on scenes with *faint* particles, some of them empty. Where particles are
clear, scores are high or low and the threshold hardly matters. In real micrographs, which are
further from the scenes than the scenes from each other, scores are lower than in scenes equally
clear, and the best threshold for all scenes would be too high. F1 is flat around its maximum, so
the highest of the thresholds that are nearly as good as the best is taken: it gives the fewest
picks in empty micrographs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from livepick.core.evaluation.matching import Matches, figures, match, precision_recall_f1
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick_trainer.learning.dataset import SeededMicrograph
from livepick_trainer.learning.evaluate import MATCH_RADIUS_DIAMETERS, SCORE_FLOOR, score_peaks
from livepick_trainer.learning.export_onnx import network_scores
from livepick_trainer.learning.network import PickingNetwork
from livepick_trainer.pretrain.scenes import SceneRules, make_scene

__all__ = [
    "HELD_OUT_SEED",
    "MIN_DISTANCE_DIAMETERS",
    "SceneFigures",
    "best_threshold",
    "measure",
]

HELD_OUT_SEED = 1_000_003
"""Seed of the held-out scenes; no training may use it."""

MIN_DISTANCE_DIAMETERS = 0.6
"""Smallest distance between picks; equal to the default of ``particle.min_distance_fraction``."""

THRESHOLDS = np.arange(0.05, 0.7, 0.01)

NEARLY_BEST = 0.005
"""F1 of a threshold may be this much below the best."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFigures:
    """Figures on held-out scenes; false picks in empty ones count."""

    scenes: int
    """Number of scenes, and of faint ones."""
    average_precision: float
    best_f1: float
    faint_average_precision: float
    faint_best_f1: float
    threshold: float
    """Score at which picks begin, chosen on the faint scenes."""


def measure(
    network: PickingNetwork,
    *,
    scenes: int,
    rules: SceneRules,
) -> SceneFigures:
    """Pick scenes of all kinds, and as many with faint particles, and return the figures.

    All specimens are random shapes, so that trainings with and without structures can be compared.
    """
    faint_rules = replace(rules, faint_fraction=1.0, wrong_size_fraction=0.0, inverted_fraction=0.0)
    usual, faint = (
        [
            _matches(network, make_scene(HELD_OUT_SEED, number, rules=some))
            for number in range(scenes)
        ]
        for some in (rules, faint_rules)
    )
    found, faintly = figures(usual), figures(faint)
    return SceneFigures(
        scenes=scenes,
        average_precision=found.average_precision,
        best_f1=found.best_f1,
        faint_average_precision=faintly.average_precision,
        faint_best_f1=faintly.best_f1,
        threshold=best_threshold(faint),
    )


def best_threshold(matches: Sequence[Matches]) -> float:
    """Return the highest of the thresholds whose F1, over all scenes together, is nearly best."""
    f1 = np.array([precision_recall_f1(matches, float(t))[2] for t in THRESHOLDS])
    f1 = np.nan_to_num(f1)
    good = THRESHOLDS[f1 >= f1.max() - NEARLY_BEST]
    return round(float(good[-1]), 3)


def _matches(network: PickingNetwork, scene: SeededMicrograph) -> Matches:
    """Match the picks in a scene with the particles whose centre may be picked."""
    yx_px, score = score_peaks(
        lambda image: network_scores(network, image),
        scene.image,
        scene.mask,
        min_distance_px=MIN_DISTANCE_DIAMETERS * DIAMETER_PX,
        floor=SCORE_FLOOR,
    )
    truth = scene.seeds.positive_yx_px
    truth = truth[((truth >= 0) & (truth < scene.image.shape)).all(axis=1)]
    truth = truth[~scene.mask[tuple(truth.astype(int).T)]]
    return match(
        Picks(yx_px[:, 1], yx_px[:, 0], score),
        Picks(truth[:, 1], truth[:, 0], np.ones(len(truth), dtype=np.float32)),
        radius_px=MATCH_RADIUS_DIAMETERS * DIAMETER_PX,
    )

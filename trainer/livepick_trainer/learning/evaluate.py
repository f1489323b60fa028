"""Evaluation of the network on held-out micrographs.

The true positions are not known, so the seeds of the held-out micrographs are used instead. They
are as imperfect as the seeds used for training. The figures therefore measure the agreement of the
network with cautious seeds, and they are low where the network finds particles that are missing
from the seeds. A pick on an *ignored* candidate counts neither as a hit nor as a miss. Particles
closer to the edge than the edge rule allows (``core.imaging.pick_area``) are neither seeds nor
picked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from livepick.core.evaluation.matching import Figures, Matches, figures, match_labels
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick_trainer.learning.export_onnx import network_scores
from livepick_trainer.learning.network import MULTIPLE_PX
from livepick_trainer.learning.operating_point import OperatingPoint, choose_operating_point
from livepick_trainer.seeds.labels import Points, Seeds
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = [
    "MATCH_RADIUS_DIAMETERS",
    "SCORE_FLOOR",
    "HeldOut",
    "MicrographFigures",
    "evaluate",
    "padded",
    "pick_prepared",
    "score_peaks",
]

Image = NDArray[np.float32]
Vector = NDArray[np.float32]

SCORE_FLOOR = 0.02
"""Minimum score of a candidate; the worker uses the same floor."""

MATCH_RADIUS_DIAMETERS = 0.25
"""Maximum distance of a pick from its seed, in diameters: half the particle's radius."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MicrographFigures:
    """Figures of one held-out micrograph."""

    name: str
    seeds: int
    candidates: int
    """Number of peaks above the floor."""
    picks: int
    """Number of peaks at or above the threshold."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldOut:
    """Results on the held-out micrographs."""

    figures: Figures
    operating_point: OperatingPoint
    micrographs: list[MicrographFigures]
    matches: list[Matches]
    """Matches of each micrograph, for the curve."""


def evaluate(
    network: nn.Module,
    held_out: Sequence[tuple[PreparedMicrograph, Seeds]],
    *,
    diameter_angstrom: float,
    min_distance_fraction: float,
    expected_picks: int | None = None,
    easy_seeds: bool = False,
) -> HeldOut:
    """Pick the held-out micrographs and compare the picks with their seeds.

    Parameters
    ----------
    network
        Trained network, on the device that is to run it.
    held_out
        Micrographs that were not used for training, and the seeds to find in them.
    diameter_angstrom, min_distance_fraction
        As in ``config.Particle``.
    expected_picks
        Number of picks in a typical micrograph, if known.
    easy_seeds
        True if the seeds come from a picker, which misses the difficult particles.

    Raises
    ------
    TrainerError
        The network finds no candidates at all.
    """
    min_distance_px = min_distance_fraction * DIAMETER_PX
    picks = [pick_prepared(network, m, min_distance_px=min_distance_px) for m, _ in held_out]
    radius_angstrom = MATCH_RADIUS_DIAMETERS * diameter_angstrom
    matches = [
        _match(found, m, seeds, radius_px=radius_angstrom / m.original_pixel_size_angstrom)
        for found, (m, seeds) in zip(picks, held_out, strict=True)
    ]
    point = choose_operating_point(
        matches,
        expected_picks=expected_picks,
        scores=[found.score for found in picks],
        easy_seeds=easy_seeds,
    )
    return HeldOut(
        figures=figures(matches),
        operating_point=point,
        micrographs=[
            MicrographFigures(
                name=micrograph.path.name,
                seeds=len(seeds.positive_yx_px),
                candidates=len(found),
                picks=len(found.above(point.threshold)),
            )
            for found, (micrograph, seeds) in zip(picks, held_out, strict=True)
        ],
        matches=matches,
    )


def pick_prepared(
    network: nn.Module, micrograph: PreparedMicrograph, *, min_distance_px: float
) -> Picks:
    """Return the network's picks above the floor, in pixels of the original micrograph."""
    yx_px, score = score_peaks(
        lambda image: network_scores(network, image),
        micrograph.image,
        micrograph.mask,
        min_distance_px=min_distance_px,
        floor=SCORE_FLOOR,
    )
    if micrograph.area is not None:  # as in the worker: refining may move a position out of it
        inside = micrograph.area.holds(yx_px[:, 1], yx_px[:, 0])
        yx_px, score = yx_px[inside], score[inside]
    return micrograph.to_original(yx_px, score)


def score_peaks(
    scores: Callable[[Image], Image],
    image: Image,
    mask: NDArray[np.bool_],
    *,
    min_distance_px: float,
    floor: float,
) -> tuple[Points, NDArray[np.float32]]:
    """Return the peaks of a prepared image's score map: (N, 2) as (y, x), and their scores.

    Parameters
    ----------
    scores
        Function of a network or a graph that maps a padded image to its scores.
    image, mask
        Prepared image and its mask.
    min_distance_px, floor
        As in ``find_peaks``.
    """
    height, width = image.shape
    found = scores(padded(image))[:height, :width]
    y, x, score = find_peaks(found, min_distance_px=min_distance_px, floor=floor, mask=mask)
    return np.column_stack([y, x]).astype(np.float32), score


def padded(image: Image) -> Image:
    """Return a copy, padded by mirroring at the bottom and right to the network's multiple.

    The worker pads in the same way, so the last rows are evaluated exactly as they will be picked.
    """
    return np.pad(image, [(0, -n % MULTIPLE_PX) for n in image.shape], mode="symmetric")


def _match(
    found: Picks, micrograph: PreparedMicrograph, seeds: Seeds, *, radius_px: float
) -> Matches:
    """Match picks with seeds; false picks on ignored candidates are removed."""
    particles, doubtful = (
        micrograph.to_original(yx, np.ones(len(yx), dtype=np.float32))
        for yx in (seeds.positive_yx_px, seeds.ignored_yx_px)
    )
    return match_labels(found, particles, doubtful, radius_px=radius_px)

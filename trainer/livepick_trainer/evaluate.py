"""How good the network is on held-out micrographs, and from which score on a pick counts.

The held-out micrographs' own seeds stand in for the truth, which nobody knows. They are as
imperfect as the seeds that were trained on, so the figures say how well the network agrees
with cautious seeds, and are low where it finds particles that the seeds lack. A pick on an
*ignored* candidate is counted neither way. Particles closer to the edge than the edge rule allows
(``core.pick_area``) are neither seeds nor picked.

The **operating point** is the score with the best F1 against those seeds, hits and misses of
all held-out micrographs together, precision and recall weighing the same. That is right if the
seeds are a person's. Those of a picker are the easy particles, and the others, which the network
finds too, count as mistakes: the best F1 is at too high a score then, and the network's own even
odds, 0.5, are often too low. So the point is half way between. On the six sets of micrographs with
known positions (three real, three simulated) on which this rule was chosen, it raised the F1
against these by .004 to .011 (real) and .002 to .028.

If a person has said how many particles a typical micrograph has, it is the score that gives as
many. Where too few seeds are held out, or the best F1 says that network and seeds have hardly
anything in common, it is the score that gives as many picks as there are seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from livepick.core.held_out import HeldOutLabels, LabelledMicrograph
from livepick.core.matching import (
    Figures,
    Matches,
    figures,
    match_labels,
    operating_point,
    pool,
)
from livepick.core.peaks import find_peaks
from livepick.core.picks import Picks
from livepick.core.prepare import DIAMETER_PX
from livepick.errors import TrainerError
from livepick_trainer.export_onnx import network_scores
from livepick_trainer.network import MULTIPLE_PX
from livepick_trainer.prepare import PreparedMicrograph
from livepick_trainer.seeds import Points, Seeds

__all__ = [
    "HeldOut",
    "MicrographFigures",
    "OperatingPoint",
    "choose_operating_point",
    "evaluate",
    "held_out_labels",
    "padded",
    "pick",
    "score_peaks",
]

Image = NDArray[np.float32]
Vector = NDArray[np.float32]

SCORE_FLOOR = 0.02
"""Peaks below this are not even candidates; the worker's floor too."""

MATCH_RADIUS_DIAMETERS = 0.25
"""A pick must be this close to a seed: half the particle's radius."""

LEAST_SEEDS = 10
"""Fewer held-out seeds than this cannot choose a threshold."""

EVEN_ODDS = 0.5
"""The score of a pixel that the network holds for particle and background alike."""

LEAST_F1 = 0.1
"""A best F1 below this says nothing of where to cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """From which score on a peak is a particle."""

    threshold: float
    source: str
    """How it was chosen, in words."""
    precision: float
    """Against the held-out seeds, at the threshold; NaN if nothing counts."""
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MicrographFigures:
    """One held-out micrograph."""

    name: str
    seeds: int
    candidates: int
    """Peaks above the floor."""
    picks: int
    """Peaks from the threshold on."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldOut:
    """What held-out micrographs say."""

    figures: Figures
    operating_point: OperatingPoint
    micrographs: list[MicrographFigures]
    matches: list[Matches]
    """Of each micrograph, for the curve."""


def evaluate(
    network: nn.Module,
    held_out: Sequence[tuple[PreparedMicrograph, Seeds]],
    *,
    diameter_angstrom: float,
    min_distance_fraction: float,
    expected_picks: int | None = None,
    easy_seeds: bool = False,
) -> HeldOut:
    """Pick held-out micrographs and compare with their seeds.

    Parameters
    ----------
    network
        Trained; on the device that is to run it.
    held_out
        Micrographs that were not trained on, and what to find in them.
    diameter_angstrom, min_distance_fraction
        As in ``config.Particle``.
    expected_picks
        Of a typical micrograph, if somebody knows.
    easy_seeds
        Whether a picker found the seeds, and so not the difficult particles.

    Raises
    ------
    TrainerError
        The network finds nothing at all.
    """
    picks = [
        pick(network, micrograph, min_distance_px=min_distance_fraction * DIAMETER_PX)
        for micrograph, _ in held_out
    ]
    matches = [
        _match(
            found,
            micrograph,
            seeds,
            radius_px=MATCH_RADIUS_DIAMETERS
            * diameter_angstrom
            / micrograph.original_pixel_size_angstrom,
        )
        for found, (micrograph, seeds) in zip(picks, held_out, strict=True)
    ]
    scores = [found.score for found in picks]
    point = choose_operating_point(
        matches, expected_picks=expected_picks, scores=scores, easy_seeds=easy_seeds
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


def choose_operating_point(
    matches: Sequence[Matches],
    *,
    expected_picks: int | None = None,
    scores: Sequence[Vector] | None = None,
    easy_seeds: bool = False,
) -> OperatingPoint:
    """Return the operating point that the module docstring describes.

    Parameters
    ----------
    matches
        Of the held-out micrographs.
    expected_picks
        Of a typical micrograph, if somebody knows.
    scores
        Of all picks in each, also of those that count neither way, as they will be written too;
        None if there are no such picks.
    easy_seeds
        Whether a picker found the seeds, and so not the difficult particles.

    Raises
    ------
    TrainerError
        There are no picks to choose among.
    """
    pooled = pool(matches)
    if not len(pooled.score):
        raise TrainerError(
            "the network finds nothing in the held-out micrographs",
            "Check particle.diameter_angstrom and particle.contrast, or raise"
            " bootstrap.micrographs.",
        )
    found = figures(matches)
    if expected_picks is not None:
        every = pooled.score if scores is None else np.sort(np.concatenate(scores))[::-1]
        threshold = float(every[min(expected_picks * len(matches), len(every)) - 1])
        source = (
            f"as many picks as expected (training.expected_picks, {expected_picks} a micrograph)"
            f" in {len(matches)} held-out micrographs"
        )
    elif pooled.truths >= LEAST_SEEDS and found.best_f1 >= LEAST_F1:
        threshold = found.threshold
        source = f"best F1 against {pooled.truths} seeds in {len(matches)} held-out micrographs"
        if easy_seeds:
            source = (
                f"half way from 0.5 to {threshold:.2f}, which has the {source}: a picker's seeds"
                " lack the difficult particles"
            )
            threshold = (threshold + EVEN_ODDS) / 2
    else:
        count = max(pooled.truths, 1)
        threshold = float(pooled.score[min(count, len(pooled.score)) - 1])
        source = (
            f"as many picks as seeds ({pooled.truths}) in {len(matches)} held-out micrographs,"
            " for lack of a meaningful F1"
        )
    precision, recall, f1 = operating_point(matches, threshold)
    return OperatingPoint(
        threshold=threshold, source=source, precision=precision, recall=recall, f1=f1
    )


def pick(network: nn.Module, micrograph: PreparedMicrograph, *, min_distance_px: float) -> Picks:
    """Return the network's picks, down to the floor, in pixels of the original micrograph."""
    yx_px, score = score_peaks(
        lambda image: network_scores(network, image),
        micrograph.image,
        micrograph.mask,
        min_distance_px=min_distance_px,
        floor=SCORE_FLOOR,
    )
    if micrograph.area is not None:  # as the worker: a refined position may have left it
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
        A network or a graph: a padded image in, its scores out.
    image, mask
        Prepared.
    min_distance_px, floor
        As of ``find_peaks``.
    """
    height, width = image.shape
    found = scores(padded(image))[:height, :width]
    y, x, score = find_peaks(found, min_distance_px=min_distance_px, floor=floor, mask=mask)
    return np.column_stack([y, x]).astype(np.float32), score


def padded(image: Image) -> Image:
    """Return a copy, mirrored below and to the right up to the network's multiple.

    As the worker pads, so that the last rows are judged as they will be picked.
    """
    return np.pad(image, [(0, -n % MULTIPLE_PX) for n in image.shape], mode="symmetric")


def _match(
    found: Picks, micrograph: PreparedMicrograph, seeds: Seeds, *, radius_px: float
) -> Matches:
    """Match picks with seeds; misses on ignored candidates are taken out."""
    particles, doubtful = (
        micrograph.to_original(yx, np.ones(len(yx), dtype=np.float32))
        for yx in (seeds.positive_yx_px, seeds.ignored_yx_px)
    )
    return match_labels(found, particles, doubtful, radius_px=radius_px)


def held_out_labels(
    held_out: Sequence[tuple[PreparedMicrograph, Seeds]],
    *,
    diameter_angstrom: float,
    by: Literal["classes", "person"],
) -> HeldOutLabels:
    """Return what is to be found in held-out micrographs, for whoever judges models by it."""

    def positions(micrograph: PreparedMicrograph, yx_px: Points) -> list[tuple[float, float]]:
        found = micrograph.to_original(yx_px, np.ones(len(yx_px), dtype=np.float32))
        return list(zip(found.x_px.tolist(), found.y_px.tolist(), strict=True))

    return HeldOutLabels(
        by=by,
        radius_angstrom=MATCH_RADIUS_DIAMETERS * diameter_angstrom,
        micrographs=[
            LabelledMicrograph(
                path=micrograph.path,
                pixel_size_angstrom=micrograph.original_pixel_size_angstrom,
                particles=positions(micrograph, seeds.positive_yx_px),
                doubtful=positions(micrograph, seeds.ignored_yx_px),
            )
            for micrograph, seeds in held_out
        ],
    )

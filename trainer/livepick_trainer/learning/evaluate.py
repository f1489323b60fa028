"""Evaluation of the network on held-out micrographs, and choice of the score threshold for picks.

The true positions are not known, so the seeds of the held-out micrographs are used instead. They
are as imperfect as the seeds used for training. The figures therefore measure the agreement of the
network with cautious seeds, and they are low where the network finds particles that are missing
from the seeds. A pick on an *ignored* candidate counts neither as a hit nor as a miss. Particles
closer to the edge than the edge rule allows (``core.imaging.pick_area``) are neither seeds nor
picked.

The **operating point** is the lowest score at which picks are written. If the 2D classes have
judged the candidates, each pick has a probability of being a particle: the score of its class. The
score with the highest *expected* F1 under these probabilities does not depend on a list of all
particles, and so it has no bias towards the picker that made the list. (The seeds of a picker are
the easy particles. Against them the best F1 is at too high a score: .61 where .24 was right.) F1 is
flat around its maximum, so this score scatters. The threshold is therefore the midpoint between
this score and 0.3. The value 0.3 alone was within .016 of the best F1 against the true positions on
five sets of micrographs with strong signal (one real, four simulated).

Without classes it is the score with the best F1 against the seeds, with the hits and misses of all
held-out micrographs pooled. This is right for seeds picked by a person. If a picker found the
seeds, the threshold is the midpoint between that score and 0.5, the score at which the network
considers both classes equally likely.

If a person has given the number of particles in a typical micrograph, it is the score that gives
this number of picks. If there are too few held-out seeds, or if the best F1 shows that network and
seeds hardly agree, it is the score that gives as many picks as there are seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import nn

from livepick.core.contracts.held_out_labels import HeldOutLabels, LabelledMicrograph
from livepick.core.evaluation.matching import (
    Figures,
    Matches,
    figures,
    match_labels,
    operating_point,
    pool,
)
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.errors import TrainerError
from livepick_trainer.learning.export_onnx import network_scores
from livepick_trainer.learning.network import MULTIPLE_PX
from livepick_trainer.seeds.labels import BELIEVED, REJECTED, Candidates, Points, Seeds
from livepick_trainer.seeds.preprocess import PreparedMicrograph

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
"""Minimum score of a candidate; the worker uses the same floor."""

MATCH_RADIUS_DIAMETERS = 0.25
"""Maximum distance of a pick from its seed, in diameters: half the particle's radius."""

LEAST_SEEDS = 10
"""Minimum number of held-out seeds for choosing a threshold by F1."""

SURE_CHANCE = 0.7
"""Minimum probability of a class whose members are labels for the gate. Members of other classes
count neither way unless they are background."""

EVEN_ODDS = 0.5
"""Score of a pixel that the network considers equally likely to be particle or background."""

USUAL_THRESHOLD = 0.3
"""Usual threshold; see the module docstring."""

LEAST_KNOWN = 0.5
"""Minimum number of picks in 2D classes, as a fraction of the picks with even odds or better."""

LEAST_F1 = 0.1
"""A best F1 below this value does not determine a threshold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """The score threshold for picks, and the figures at this threshold."""

    threshold: float
    source: str
    """Method by which the threshold was chosen, in words."""
    precision: float
    """Precision against the held-out seeds at the threshold; NaN if nothing counts."""
    recall: float
    f1: float


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
    places: Mapping[Path, Candidates] | None = None,
    further: Sequence[PreparedMicrograph] = (),
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
    places
        Results of the 2D classification for each micrograph, by its path, if there are any.
    further
        Micrographs that were used for training. Only their classes are used, and only for choosing
        the threshold.

    Raises
    ------
    TrainerError
        The network finds no candidates at all.
    """
    min_distance_px = min_distance_fraction * DIAMETER_PX
    picks = [pick(network, m, min_distance_px=min_distance_px) for m, _ in held_out]
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
    by_class = None
    if places is not None:
        more = [(pick(network, m, min_distance_px=min_distance_px), m) for m in further]
        here = [(found, m) for found, (m, _) in zip(picks, held_out, strict=True)]
        by_class = [(f.score, _chances(f, m, places[m.path])) for f, m in here + more]
    point = choose_operating_point(
        matches,
        expected_picks=expected_picks,
        scores=scores,
        easy_seeds=easy_seeds,
        by_class=by_class,
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
    by_class: Sequence[tuple[Vector, Vector]] | None = None,
) -> OperatingPoint:
    """Return the operating point that the module docstring describes.

    Parameters
    ----------
    matches
        Matches of each held-out micrograph.
    expected_picks
        Number of picks in a typical micrograph, if known.
    scores
        Scores of all picks in each micrograph, including those that count neither way, because
        these will be written too; None if there are no such picks.
    easy_seeds
        True if the seeds come from a picker, which misses the difficult particles.
    by_class
        Scores of the picks of each micrograph, and their probabilities of being particles according
        to their 2D classes; NaN where nothing is known.

    Raises
    ------
    TrainerError
        There are no picks to choose from.
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
    elif (expected := _best_expected(by_class or [])) is not None:
        best, f1, count = expected
        source = (
            f"half way from {USUAL_THRESHOLD} to {best:.2f}, which has the highest expected F1"
            f" ({f1:.2f}) by the 2D classes of {count} picks"
        )
        threshold = (best + USUAL_THRESHOLD) / 2
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


def _best_expected(by_class: Sequence[tuple[Vector, Vector]]) -> tuple[float, float, int] | None:
    """Return the threshold with the highest expected F1, this F1, and the number of picks used.

    Return None if too few picks have a known probability. For picks with probabilities p, N of
    which are above a threshold, the expected F1 is 2 sum(p above) / (N + sum(p)).
    """
    if not by_class:
        return None
    score, chance = (np.concatenate(of_all) for of_all in zip(*by_class, strict=True))
    known = np.isfinite(chance)
    if known.sum() < max(LEAST_SEEDS, LEAST_KNOWN * (score >= EVEN_ODDS).sum()):
        return None
    order = np.argsort(-score[known], kind="stable")
    score, chance = score[known][order], chance[known][order].astype(np.float64)
    f1 = 2 * np.cumsum(chance) / (np.arange(1, len(chance) + 1) + chance.sum())
    best = int(f1.argmax())
    return float(score[best]), float(f1[best]), len(score)


def _chances(found: Picks, micrograph: PreparedMicrograph, known: Candidates) -> Vector:
    """Return the probability of each pick being a particle; NaN for picks that are in no class."""
    chance = np.full(len(found), np.nan, dtype=np.float32)
    if known.chance is None or not len(known.chance) or not len(found):
        return chance
    yx_px = np.column_stack([found.y_px / micrograph.scale_y, found.x_px / micrograph.scale_x])
    distance, nearest = cKDTree(known.yx_px).query(yx_px)
    near = np.asarray(distance) <= MATCH_RADIUS_DIAMETERS * DIAMETER_PX
    chance[near] = known.chance[np.asarray(nearest)[near]]
    return chance


def pick(network: nn.Module, micrograph: PreparedMicrograph, *, min_distance_px: float) -> Picks:
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


def held_out_labels(
    held_out: Sequence[tuple[PreparedMicrograph, Seeds]],
    *,
    diameter_angstrom: float,
    by: Literal["classes", "person"],
    places: Mapping[Path, Candidates] | None = None,
) -> HeldOutLabels:
    """Return the labels of the held-out micrographs, which are used to compare models.

    Parameters
    ----------
    held_out
        Micrographs, and the seeds of the first round in them.
    diameter_angstrom
        Particle diameter, in ångström.
    by
        Source of the labels.
    places
        Results of the 2D classification for each micrograph, by its path, for candidates from any
        picker. If given, they replace the seeds.
    """

    def positions(micrograph: PreparedMicrograph, yx_px: Points) -> list[tuple[float, float]]:
        found = micrograph.to_original(yx_px, np.ones(len(yx_px), dtype=np.float32))
        return list(zip(found.x_px.tolist(), found.y_px.tolist(), strict=True))

    labels = [
        (micrograph, seeds.positive_yx_px, seeds.ignored_yx_px) for micrograph, seeds in held_out
    ]
    if places is not None:
        known = [places[micrograph.path] for micrograph, _ in held_out]
        sure = [_has_chance(here, SURE_CHANCE) for here in known]
        if sum(int(here.sum()) for here in sure) < LEAST_SEEDS:
            sure = [np.asarray(here.verdict == BELIEVED) for here in known]
        labels = [
            (micrograph, here.yx_px[particles], here.yx_px[_doubtful(here) & ~particles])
            for (micrograph, _), here, particles in zip(held_out, known, sure, strict=True)
        ]
    return HeldOutLabels(
        by=by,
        radius_angstrom=MATCH_RADIUS_DIAMETERS * diameter_angstrom,
        micrographs=[
            LabelledMicrograph(
                path=micrograph.path,
                pixel_size_angstrom=micrograph.original_pixel_size_angstrom,
                particles=positions(micrograph, particles),
                doubtful=positions(micrograph, doubtful),
            )
            for micrograph, particles, doubtful in labels
        ],
    )


def _has_chance(known: Candidates, least: float) -> NDArray[np.bool_]:
    """Return True for each place whose class has at least this probability of being a particle."""
    assert known.chance is not None  # noqa: S101 -- places come from the classes
    return np.asarray(np.nan_to_num(known.chance, nan=-1.0) >= least)


def _doubtful(known: Candidates) -> NDArray[np.bool_]:
    """Return True for each place that may be a particle.

    This is a place in a class that was not rejected, or one with a good score that is in no class.
    """
    in_class = _has_chance(known, 0.0)
    return np.asarray((known.verdict != REJECTED) & (in_class | (known.score >= EVEN_ODDS)))

"""How good the network is on held-out micrographs, and from which score on a pick counts.

The held-out micrographs' own seeds stand in for the truth, which nobody knows. They are as
imperfect as the seeds that were trained on, so the figures say how well the network agrees
with cautious seeds, and are low where it finds particles that the seeds lack. A pick on an
*ignored* candidate is counted neither way. Particles closer to the edge than the edge rule allows
(``core.imaging.pick_area``) are neither seeds nor picked.

The **operating point** is the score from which on picks are written. Where the 2D classes have
judged the candidates, each pick has a chance of being a particle: the score of its class. The score
with the highest *expected* F1 by these chances needs no list of all particles, and does not favour
who made one. (Seeds that a picker found are the easy particles; against them the best F1 is at too
high a score, .61 where .24 was right.) F1 is flat around its best, so that this score scatters; the
threshold is half way from it to 0.3, which by itself was within .016 of the best F1 against the
true positions on five sets of micrographs in strong signal (one real, four simulated).

Otherwise it is the score with the best F1 against the seeds, hits and misses of all held-out
micrographs together. That is right if the seeds are a person's. If a picker found them, the point
is half way between that score and the network's own even odds, 0.5.

If a person has said how many particles a typical micrograph has, it is the score that gives as
many. Where too few seeds are held out, or the best F1 says that network and seeds have hardly
anything in common, it is the score that gives as many picks as there are seeds.
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
"""Peaks below this are not even candidates; the worker's floor too."""

MATCH_RADIUS_DIAMETERS = 0.25
"""A pick must be this close to a seed: half the particle's radius."""

LEAST_SEEDS = 10
"""Fewer held-out seeds than this cannot choose a threshold."""

SURE_CHANCE = 0.7
"""Places in classes with this chance are labels for the gate; those with less, if they are not
background, count neither way."""

EVEN_ODDS = 0.5
"""The score of a pixel that the network holds for particle and background alike."""

USUAL_THRESHOLD = 0.3
"""See above."""

LEAST_KNOWN = 0.5
"""Of the picks with even odds or better, so many must be in 2D classes."""

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
    places: Mapping[Path, Candidates] | None = None,
    further: Sequence[PreparedMicrograph] = (),
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
        True if a picker found the seeds, and so not the difficult particles.
    places
        What the 2D classes say of each micrograph, by its path, if they say anything.
    further
        Micrographs that were trained on. Their classes count for the threshold, nothing else does.

    Raises
    ------
    TrainerError
        The network finds nothing at all.
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
        Of the held-out micrographs.
    expected_picks
        Of a typical micrograph, if somebody knows.
    scores
        Of all picks in each, also of those that count neither way, as they will be written too;
        None if there are no such picks.
    easy_seeds
        True if a picker found the seeds, and so not the difficult particles.
    by_class
        Scores of the picks of each micrograph, and their chances to be particles by their 2D
        classes; NaN where nothing is known.

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
    """Return the threshold with the highest expected F1, that F1, and the picks it rests on.

    None if hardly anything is known of the picks. With picks of chances p, N of them above a
    threshold, F1 is expected to be 2 sum(p above) / (N + sum(p)).
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
    """Return the chance of each pick to be a particle; NaN where the classes have seen nothing."""
    chance = np.full(len(found), np.nan, dtype=np.float32)
    if known.chance is None or not len(known.chance) or not len(found):
        return chance
    yx_px = np.column_stack([found.y_px / micrograph.scale_y, found.x_px / micrograph.scale_x])
    distance, nearest = cKDTree(known.yx_px).query(yx_px)
    near = np.asarray(distance) <= MATCH_RADIUS_DIAMETERS * DIAMETER_PX
    chance[near] = known.chance[np.asarray(nearest)[near]]
    return chance


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
    places: Mapping[Path, Candidates] | None = None,
) -> HeldOutLabels:
    """Return what is to be found in held-out micrographs, for whoever judges models by it.

    Parameters
    ----------
    held_out
        Micrographs, and the first round's seeds in them.
    diameter_angstrom
        Of the particle.
    by
        Who says what a particle is.
    places
        What the 2D classes say of each micrograph, by its path, whoever found it; it replaces the
        seeds.
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
    """Return which places have at least this chance of being a particle by their class."""
    assert known.chance is not None  # noqa: S101 -- places come from the classes
    return np.asarray(np.nan_to_num(known.chance, nan=-1.0) >= least)


def _doubtful(known: Candidates) -> NDArray[np.bool_]:
    """Return what may be a particle: not of a bad class, or good and not in any class."""
    in_class = _has_chance(known, 0.0)
    return np.asarray((known.verdict != REJECTED) & (in_class | (known.score >= EVEN_ODDS)))

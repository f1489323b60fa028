"""One-to-one matching of picks with known positions, and the usual detection metrics.

A pick is a hit if it lies within a radius of a true position that no better pick has taken. Picks
are processed in order of their score, and each takes the *nearest* free true position. This is the
rule of the detection literature (Everingham et al. 2010, *IJCV* 88, 303). It makes a second pick on
the same particle a false one. It also gives the figures at every threshold from a single matching,
because picks below the threshold never change the ones above it. (An optimal assignment can gain a
hit in a crowd, but it differs between thresholds.)

Thresholds are only set between picks of *different* score, so the order of equal scores does not
affect any figure.

A ``PickArea`` limits what counts to the part of a micrograph where picks may be
(``core.imaging.pick_area``). True positions and picks outside it do not count, nor do those within
the radius of its limits. There, a small position error decides whether a particle is picked at all,
and a picker that follows the edge rule would score worse than one that does not.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks

__all__ = [
    "Curve",
    "Figures",
    "Matches",
    "curve",
    "figures",
    "match",
    "match_labels",
    "pool",
    "precision_recall_f1",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The matched picks of one micrograph: three vectors of shape (N,), best pick first."""

    score: FloatArray
    """Score of each pick."""

    hit: NDArray[np.bool_]
    """True if the pick found a true position of its own."""

    distance_px: FloatArray
    """Distance to that position, in pixels of the micrograph; NaN for a miss."""

    truths: int
    """Number of true positions."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A precision-recall curve: one point for each distinct score, from high to low."""

    threshold: FloatArray
    """Picks with at least this score count."""

    precision: FloatArray
    """Hits as a fraction of the picks that count."""

    recall: FloatArray
    """Hits as a fraction of the true positions; NaN where there are none."""

    @property
    def f1(self) -> FloatArray:
        """Harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        return np.divide(
            2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Detection metrics. A figure that is not defined (no true positions, no hits) is NaN."""

    picks: int
    """Number of picks of any score."""

    truths: int
    """Number of true positions."""

    hits: int
    """Number of picks of any score that found a true position."""

    average_precision: float
    """Area under the precision-recall curve: the sum over all its points of precision times
    the gain in recall, with no interpolation and no envelope."""

    best_f1: float
    """Highest F1 along the curve."""

    precision: float
    """Precision at the best F1."""

    recall: float
    """Recall at the best F1."""

    threshold: float
    """Score threshold at the best F1: picks with at least this score count."""

    precision_at_count: float
    """Hits among the best N picks, divided by N, where N is the number of true positions. With
    fewer than N picks the missing ones count as wrong; equal scores at the cut count in
    proportion."""

    localisation_mean_px: float
    """Mean distance of the hits (at the best F1) from their true positions."""

    localisation_median_px: float
    """Median distance of the same hits."""


def match(picks: Picks, truth: Picks, *, radius_px: float, area: PickArea | None = None) -> Matches:
    """Match picks to true positions, one to one.

    Parameters
    ----------
    picks
        Picks of one micrograph, in any order.
    truth
        True positions in the same micrograph; their scores are ignored.
    radius_px
        Largest distance of a hit from its true position, in pixels of the micrograph.
    area
        Area where picks may be, in pixels of the micrograph; None: everywhere. Only positions that
        are inside by at least the radius count. Other true positions, picks that find one of
        those, and other picks that find none count neither way.
    """
    return match_labels(picks, truth, Picks.empty(), radius_px=radius_px, area=area)


def match_labels(
    picks: Picks,
    particles: Picks,
    doubtful: Picks,
    *,
    radius_px: float,
    area: PickArea | None = None,
) -> Matches:
    """Match picks to labels that include doubtful positions.

    Parameters
    ----------
    picks, particles, radius_px, area
        As in ``match``.
    doubtful
        Positions that may or may not be particles: a miss within the radius of one counts neither
        way.
    """
    ranked = Picks.sorted(picks.x_px, picks.y_px, picks.score)
    found, distance_px = _assign(ranked, particles, radius_px=radius_px)
    hit = found >= 0
    counts, truths = np.ones(len(ranked), dtype=np.bool_), len(particles)
    if len(doubtful) and len(ranked):
        from scipy.spatial import cKDTree  # noqa: PLC0415 - the service does not need scipy at start

        tree = cKDTree(np.column_stack([doubtful.x_px, doubtful.y_px]))
        distance, _ = tree.query(np.column_stack([ranked.x_px, ranked.y_px]))
        counts &= hit | (distance > radius_px)
    if area is not None:
        area = area.shrunk(radius_px)
        inside = area.holds(particles.x_px, particles.y_px)
        truths = int(inside.sum())
        found_inside = np.append(inside, False)[found]  # a miss (-1) selects the appended False
        counts &= np.where(hit, found_inside, area.holds(ranked.x_px, ranked.y_px))
    score = ranked.score.astype(np.float64)
    return Matches(score[counts], hit[counts], distance_px[counts], truths)


def _assign(
    ranked: Picks, truth: Picks, *, radius_px: float
) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the index of the true position of each pick (-1 for none), and its distance."""
    if not radius_px > 0:
        raise ValueError(f"{radius_px=} is not positive")
    found = np.full(len(ranked), -1, dtype=np.intp)
    distance_px = np.full(len(ranked), np.nan)
    if len(ranked) and len(truth):
        from scipy.spatial import cKDTree  # noqa: PLC0415 - as above

        picked = np.column_stack([ranked.x_px, ranked.y_px]).astype(np.float64)
        true = np.column_stack([truth.x_px, truth.y_px]).astype(np.float64)
        near: list[list[int]] = np.asarray(
            cKDTree(true).query_ball_point(picked, radius_px), dtype=object
        ).tolist()
        free = np.ones(len(true), dtype=np.bool_)
        for i, candidates in enumerate(near):
            open_ones = [j for j in candidates if free[j]]
            if open_ones:
                away = true[open_ones] - picked[i]
                gaps = np.hypot(away[:, 0], away[:, 1])
                nearest = int(np.argmin(gaps))
                free[open_ones[nearest]] = False
                found[i], distance_px[i] = open_ones[nearest], gaps[nearest]
    return found, distance_px


def pool(matches: Iterable[Matches]) -> Matches:
    """Return the matches of several micrographs as one, best first."""
    every = list(matches)
    if not every:
        return Matches(np.zeros(0), np.zeros(0, dtype=np.bool_), np.zeros(0), 0)
    score = np.concatenate([m.score for m in every])
    order = np.argsort(-score, kind="stable")
    return Matches(
        score[order],
        np.concatenate([m.hit for m in every])[order],
        np.concatenate([m.distance_px for m in every])[order],
        sum(m.truths for m in every),
    )


def curve(matches: Matches) -> Curve:
    """Return the precision-recall curve of (pooled) matches."""
    last_of_score = np.flatnonzero(np.append(np.diff(matches.score) != 0, True)[: len(matches.hit)])
    hits = np.cumsum(matches.hit)[last_of_score].astype(np.float64)
    recall = hits / matches.truths if matches.truths else np.full(len(hits), np.nan)
    return Curve(matches.score[last_of_score], hits / (last_of_score + 1), recall)


def figures(matches: Sequence[Matches]) -> Figures:
    """Return the figures of several micrographs, with their picks pooled by score."""
    pooled = pool(matches)
    points = curve(pooled)
    if pooled.truths and len(points.threshold):
        gains = np.diff(points.recall, prepend=0.0)
        average_precision = float(np.sum(points.precision * gains))
        best = int(np.argmax(points.f1))
        f1, precision, recall, threshold = (
            float(a[best]) for a in (points.f1, points.precision, points.recall, points.threshold)
        )
    elif pooled.truths:  # nothing was picked
        average_precision = f1 = recall = 0.0
        precision = threshold = math.nan
    else:
        average_precision = f1 = precision = recall = threshold = math.nan
    gaps = pooled.distance_px[pooled.hit & ~(pooled.score < threshold)]
    return Figures(
        picks=len(pooled.hit),
        truths=pooled.truths,
        hits=int(pooled.hit.sum()),
        average_precision=average_precision,
        best_f1=f1,
        precision=precision,
        recall=recall,
        threshold=threshold,
        precision_at_count=_precision_at(pooled, pooled.truths),
        localisation_mean_px=float(np.mean(gaps)) if len(gaps) else math.nan,
        localisation_median_px=float(np.median(gaps)) if len(gaps) else math.nan,
    )


def precision_recall_f1(matches: Sequence[Matches], threshold: float) -> tuple[float, float, float]:
    """Return precision, recall and F1 when picks with at least ``threshold`` count.

    Precision is NaN if none count, recall and F1 are NaN if there are no truths.
    """
    pooled = pool(matches)
    counted = pooled.score >= threshold
    hits, picked = int(pooled.hit[counted].sum()), int(counted.sum())
    precision = hits / picked if picked else math.nan
    if not pooled.truths:
        return precision, math.nan, math.nan
    return precision, hits / pooled.truths, 2 * hits / (picked + pooled.truths)


def _precision_at(pooled: Matches, count: int) -> float:
    if not count:
        return math.nan
    if count >= len(pooled.hit):
        return float(pooled.hit.sum() / count)
    border = pooled.score[count - 1]
    better, equal = pooled.score > border, pooled.score == border
    share = (count - better.sum()) / equal.sum()
    return float((pooled.hit[better].sum() + share * pooled.hit[equal].sum()) / count)

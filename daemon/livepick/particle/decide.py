"""Verdict about the particle from the evidence of several micrographs.

Each micrograph has one vote of limited weight, because a micrograph of ice or carbon can give any
result. The votes are added over the ladder of diameters and both contrasts; the highest sum is the
best guess, interpolated between the steps. Resampling the micrographs (bootstrap) tells how much
the guess depends on which of them happened to come first.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from livepick.config.sections import Contrast
from livepick.core.contracts.particle_measurement import (
    CONTRASTS,
    DEFAULT_BOUNDS_ANGSTROM,
    LADDER_ANGSTROM,
    Contradiction,
    ParticleEvidence,
    ParticleGuess,
    ParticleVerdict,
)

__all__ = ["contradiction", "decide"]

Vector = NDArray[np.float64]
Votes = NDArray[np.float64]

DISC_WEIGHT = 1.0
"""Weight of the discs' log support, relative to the log-odds of the model."""

MOST_LOSS = 4.0
"""Lowest vote of a micrograph, relative to its best one: no micrograph can veto a diameter."""

LEAST_SCORE = 0.2
"""Lowest best mean score of the model in a micrograph that shows particles."""

LEAST_SIGMAS = 5.25
"""The same for the median peak of discs, where there is no model."""

SMALL_LOSS = 0.15
"""Loss per step of the ladder below ``LARGE_ANGSTROM``: parts of particles look like small ones."""

LARGE_ANGSTROM = 200.0

RESAMPLED = 200
"""Number of resampled sets of micrographs."""

SAME_RATIO = 1.2
"""Diameters that differ by less are the same."""

APART_RATIO = 1.35
"""Least ratio of two diameters that are two guesses."""

CLOSE_WEIGHT = 0.7
"""Weight from which a second guess is too close to the first to choose between them."""

LEAST_VOICES = 3
"""Fewest micrographs with particles that settle anything; any one may show something else."""

SETTLED_CONFIDENCE = 0.9

GIVEN_RATIO = 1.28
"""A given diameter is contradicted if it differs by more; a seventh either way is not wrong."""


def decide(
    evidence: Sequence[ParticleEvidence],
    *,
    bounds_angstrom: tuple[float, float] = DEFAULT_BOUNDS_ANGSTROM,
    contrast: Contrast | None = None,
) -> ParticleVerdict:
    """Return what some micrographs say about the particle.

    Parameters
    ----------
    evidence
        Evidence of each micrograph.
    bounds_angstrom
        Smallest and largest diameter that may be found.
    contrast
        Contrast of the particles, if it is known.
    """
    rows = [n for n, name in enumerate(CONTRASTS) if contrast in (None, name)]
    votes = [v for v in (_votes(one, rows) for one in evidence) if v is not None]
    if not votes:
        return ParticleVerdict(len(evidence), 0, None, None, 0.0, is_settled=False)
    stack = np.stack(votes)
    pooled = stack.mean(axis=0)
    best = _best(pooled, bounds_angstrom)
    second = _second(pooled, best, bounds_angstrom)
    confidence = _confidence(stack, best, bounds_angstrom)
    weights = np.exp(pooled[CONTRASTS.index(best.contrast)] - pooled.max())
    return ParticleVerdict(
        micrographs=len(evidence),
        voices=len(votes),
        best=best,
        second=second,
        confidence=confidence,
        is_settled=(
            len(votes) >= LEAST_VOICES and second is None and confidence >= SETTLED_CONFIDENCE
        ),
        figures=tuple(zip(LADDER_ANGSTROM, weights.round(4).tolist(), strict=True)),
    )


def contradiction(
    verdict: ParticleVerdict, *, diameter_angstrom: float | None, contrast: Contrast | None
) -> Contradiction | None:
    """Return how the micrographs contradict what was given; None if they do not.

    A wrong contrast comes first: with it, the diameter means nothing.

    Parameters
    ----------
    verdict
        What the micrographs say.
    diameter_angstrom
        Given diameter; None: it is measured.
    contrast
        Given contrast; None: it is measured.
    """
    found = verdict.best
    if (
        found is None
        or verdict.voices < LEAST_VOICES
        or verdict.confidence < SETTLED_CONFIDENCE
        or verdict.second is not None
    ):
        return None
    if contrast is not None and found.contrast != contrast:
        sentence = (
            f"the particles look {found.contrast} in {verdict.voices} of {verdict.micrographs}"
            f" micrographs, and particle.contrast is {contrast}"
        )
        return Contradiction("contrast", contrast, found, verdict.confidence, sentence)
    if diameter_angstrom is None:
        return None
    ratio = diameter_angstrom / found.diameter_angstrom
    if 1 / GIVEN_RATIO <= ratio <= GIVEN_RATIO:
        return None
    sentence = (
        f"the particles look about {found.diameter_angstrom:.0f} Å wide in {verdict.voices} of"
        f" {verdict.micrographs} micrographs, and particle.diameter_angstrom is"
        f" {diameter_angstrom:g}"
    )
    return Contradiction("diameter", diameter_angstrom, found, verdict.confidence, sentence)


def _votes(evidence: ParticleEvidence, rows: Sequence[int]) -> Votes | None:
    """Return the vote of a micrograph, (contrast, step), at most 0; None if it shows nothing.

    Contrasts other than ``rows`` get the least vote.
    """
    curves = [evidence.curves(contrast) for contrast in CONTRASTS]
    network, log_odds, blobs, sigmas = (
        np.array([getattr(curve, name) for curve in curves])
        for name in ("network", "log_odds", "blobs", "sigmas")
    )
    for values in (network, log_odds, blobs, sigmas):
        values[[n for n in range(len(CONTRASTS)) if n not in rows]] = np.nan
    if np.isnan(network).all():
        if not np.nanmax(sigmas) >= LEAST_SIGMAS:
            return None
        total = _relative(np.log(np.maximum(blobs, 1e-9)))
    else:
        if not np.nanmax(network) >= LEAST_SCORE:
            return None
        total = _relative(log_odds) + DISC_WEIGHT * _relative(np.log(np.maximum(blobs, 1e-9)))
    steps = np.log(LARGE_ANGSTROM / np.array(LADDER_ANGSTROM)) / np.log(2) * 3
    return _relative(total - SMALL_LOSS * np.maximum(steps, 0))


def _relative(values: NDArray[np.float64]) -> Votes:
    """Return values less their maximum, limited below; untried steps have the limit."""
    if np.isnan(values).all():
        return np.zeros_like(values)
    relative: Votes = np.nan_to_num(values - np.nanmax(values), nan=-math.inf)
    return np.maximum(relative, -MOST_LOSS)


def _best(pooled: Votes, bounds_angstrom: tuple[float, float]) -> ParticleGuess:
    """Return the guess at the highest sum, interpolated between the steps of the ladder."""
    inside = np.where(_allowed(bounds_angstrom), pooled, -math.inf)
    row, step = divmod(int(inside.argmax()), pooled.shape[1])
    return ParticleGuess(_top(pooled[row], step, bounds_angstrom), CONTRASTS[row], 1.0)


def _allowed(bounds_angstrom: tuple[float, float]) -> NDArray[np.bool_]:
    """Return True for the steps inside the bounds, or next to them within half a step."""
    low, high = bounds_angstrom
    ladder = np.array(LADDER_ANGSTROM)
    half = math.sqrt(ladder[1] / ladder[0])
    allowed = (ladder > low / half) & (ladder < high * half)
    if not allowed.any():
        allowed[np.abs(np.log(ladder / math.sqrt(low * high))).argmin()] = True
    return np.asarray(allowed)


def _top(values: Vector, step: int, bounds_angstrom: tuple[float, float]) -> float:
    """Return the diameter at the top of the parabola through a step and its neighbours."""
    logs = np.log(LADDER_ANGSTROM)
    place = 0.0
    if 0 < step < len(values) - 1:
        before, here, after = values[step - 1 : step + 2]
        bend = before - 2 * here + after
        if bend < 0:
            place = float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))
    angstrom = math.exp(logs[step] + place * (logs[1] - logs[0]))
    return min(max(angstrom, bounds_angstrom[0]), bounds_angstrom[1])


def _second(
    pooled: Votes, best: ParticleGuess, bounds_angstrom: tuple[float, float]
) -> ParticleGuess | None:
    """Return the next best guess, if it is close to the best one."""
    row = CONTRASTS.index(best.contrast)
    logs = np.log(LADDER_ANGSTROM)
    near = np.abs(logs - math.log(best.diameter_angstrom)) < math.log(APART_RATIO)
    others = pooled.copy()
    others[row, near] = -math.inf
    others[:, ~_allowed(bounds_angstrom)] = -math.inf
    # On the best one's own slope there is no second maximum.
    padded = np.pad(pooled, ((0, 0), (1, 1)), constant_values=-math.inf)
    others[(pooled < padded[:, :-2]) | (pooled < padded[:, 2:])] = -math.inf
    row, step = divmod(int(others.argmax()), pooled.shape[1])
    weight = math.exp(others[row, step] - pooled.max())
    if weight < CLOSE_WEIGHT:
        return None
    return ParticleGuess(_top(pooled[row], step, bounds_angstrom), CONTRASTS[row], weight)


def _confidence(
    stack: NDArray[np.float64], best: ParticleGuess, bounds_angstrom: tuple[float, float]
) -> float:
    """Return the fraction of resampled sets of micrographs that give the same guess."""
    random = np.random.default_rng(0)
    same = 0
    for _ in range(RESAMPLED):
        drawn = stack[random.integers(0, len(stack), len(stack))].mean(axis=0)
        guess = _best(drawn, bounds_angstrom)
        ratio = guess.diameter_angstrom / best.diameter_angstrom
        same += guess.contrast == best.contrast and 1 / SAME_RATIO <= ratio <= SAME_RATIO
    return same / RESAMPLED

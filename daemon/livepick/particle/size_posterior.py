"""Probability of each diameter and contrast, from the evidence of some micrographs.

A micrograph and its negative have the same noise, the same background and as many places to look
at. What the general model finds more of in one than in the other is therefore neither noise nor a
matter of the scale: the *signal* of a diameter is the mean log-odds of the best scores in the
micrograph less that in its negative. It is positive for dark particles and negative for bright
ones, and greatest near the particles' diameter.

How much speaks for a diameter is a weighted sum of the signal there and up to an octave to both
sides, and of the log-odds themselves. It is compared with the same sum for all other diameters,
for the other contrast, and with a constant that stands for "there are no particles" (multinomial
logistic regression). The weights were fitted to simulated sessions of random specimens by
``tests/benchmarks/diameter_fit.py``, so that the probabilities are right on average. The result is
blurred, because specimens of the same longest diameter look larger or smaller by their shape.

The curves of several micrographs are pooled by a trimmed mean first, since a micrograph of ice or
carbon can give any result. More micrographs give more certainty, but less than in proportion.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick.config.sections import Contrast
from livepick.core.contracts.particle_measurement import (
    CONTRASTS,
    LADDER_ANGSTROM,
    ParticleEvidence,
)

__all__ = [
    "BY_DISCS",
    "BY_MODEL",
    "PLACES",
    "REACH",
    "Posterior",
    "Weights",
    "features",
    "posterior",
    "probabilities",
    "signal",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FINE = 4
"""Places for each step of the ladder."""

PLACES: Array = np.linspace(
    math.log(LADDER_ANGSTROM[0]),
    math.log(LADDER_ANGSTROM[-1]),
    FINE * (len(LADDER_ANGSTROM) - 1) + 1,
)
"""Natural logarithms of the diameters that have a probability."""

REACH = 3
"""Steps of the ladder to either side of a diameter that count."""

TRIMMED = 0.25
"""Fraction of the micrographs left out at either end, for each diameter."""

MOST_COUNTED = 4
"""Number of micrographs beyond which further ones smooth the pooled curves, but add no certainty:
what a specimen's shape does to the curves is the same in all of them."""

SPREAD = 0.08
"""Standard deviation of the logarithm of the longest diameter among specimens that look alike. It
limits the certainty that many micrographs give."""

LEAST_SUPPORT = 1e-3
"""Lowest support of discs that is distinguished, as a fraction of the highest."""


def _blur() -> Array:
    """Return the matrix that spreads a probability over its neighbours, (P, P)."""
    blur = np.exp(-0.5 * ((PLACES[:, None] - PLACES) / SPREAD) ** 2)
    return np.asarray(blur / blur.sum(axis=1, keepdims=True))


BLUR: Array = _blur()


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Weights of the evidence, as ``tests/benchmarks/diameter_fit.py`` prints them."""

    signal: tuple[float, ...]
    """Weights of the signal, from ``REACH`` steps below a diameter to ``REACH`` above."""

    own: tuple[float, float, float]
    """Weights of the log-odds for the contrast itself: a step below, here, a step above."""

    nothing: float
    """Constant that stands for the absence of particles, on the scale of the weighted sums."""

    growth: float
    """The sum is multiplied by the number of micrographs to this power."""


BY_MODEL = Weights(
    signal=(0.565, -0.151, -0.554, 0.353, 1.984, -0.31, -0.693),
    own=(0.376, 1.001, -0.362),
    nothing=0.911,
    growth=0.885,
)
"""Weights for the scores of the general model. They were fitted to 40 sessions of random specimens
and 20 of junk, measured with the shipped model and with the one before it."""

BY_DISCS = Weights(
    signal=(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
    own=(0.0, 0.0, 0.0),
    nothing=3.0,
    growth=0.5,
)
"""Weights for discs and shells, without a general model. They are not fitted: discs do not show the
size of random specimens, only that of round particles in clean ice."""


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Probability of each diameter and contrast, and of the absence of particles."""

    particles: Array
    """Probability of each contrast, as in ``CONTRASTS``, and place; shape (2, P)."""

    nothing: float
    """Probability that there are no particles."""

    def near(self, diameter_angstrom: float, ratio: float, contrast: Contrast) -> float:
        """Return the probability of the diameters that differ by less than a ratio."""
        away = np.abs(PLACES - math.log(diameter_angstrom))
        return float(self.particles[CONTRASTS.index(contrast)][away < math.log(ratio)].sum())


def posterior(
    evidence: Sequence[ParticleEvidence],
    *,
    bounds_angstrom: tuple[float, float],
    contrast: Contrast | None = None,
    weights: Weights | None = None,
) -> Posterior:
    """Return the probability of each diameter and contrast.

    Parameters
    ----------
    evidence
        Evidence of each micrograph.
    bounds_angstrom
        Smallest and largest possible diameter.
    contrast
        Contrast of the particles, if it is known.
    weights
        Weights of the evidence; None: those that were fitted.
    """
    if weights is None:
        by_model = any(np.isfinite(one.dark.log_odds).any() for one in evidence)
        weights = BY_MODEL if by_model else BY_DISCS
    values, possible = features(evidence, bounds_angstrom=bounds_angstrom, contrast=contrast)
    particles, nothing = probabilities(values, possible, len(evidence), weights)
    return Posterior(particles, float(nothing))


def features(
    evidence: Sequence[ParticleEvidence],
    *,
    bounds_angstrom: tuple[float, float],
    contrast: Contrast | None = None,
) -> tuple[Array, Mask]:
    """Return what is weighted.

    Returns
    -------
    values
        Signals and log-odds around each place, in the order of the weights, (2, P, W).
    possible
        True for the contrasts and places that may be found, (2, P).
    """
    width = 2 * REACH + 1
    values = np.zeros((2, len(PLACES), width + 3))
    possible = np.zeros((2, len(PLACES)), dtype=bool)
    pooled = _pooled(np.array([_curves(one) for one in evidence]))
    tried = np.isfinite(pooled[0])
    if not tried.any():
        return values, possible
    logs = np.log(LADDER_ANGSTROM)[tried]
    fine = np.array([np.interp(PLACES, logs, curve[tried]) for curve in pooled])
    padded = np.pad(fine, ((0, 0), (REACH * FINE, REACH * FINE)), mode="edge")
    for offset in range(width):
        around = padded[:, offset * FINE : offset * FINE + len(PLACES)]
        values[..., offset] = around - around[::-1]
        if abs(offset - REACH) <= 1:
            values[..., width + 1 + offset - REACH] = around
    possible[[name for name in range(2) if contrast in {None, CONTRASTS[name]}]] = _allowed(
        tried, bounds_angstrom
    )
    return values, possible


def probabilities(
    values: Array, possible: Mask, count: int | Array, weights: Weights
) -> tuple[Array, Array]:
    """Return the probability of each contrast and place, (..., 2, P), and of nothing, (...).

    Parameters
    ----------
    values, possible
        As from ``features``; with more axes in front, many are computed at once.
    count
        Number of micrographs.
    weights
        Weights of the evidence.
    """
    each = np.array([*weights.signal, *weights.own])
    counted = np.minimum(count, MOST_COUNTED)[..., None, None]
    logits = values @ each * counted**weights.growth
    choices = np.maximum(possible.sum(axis=(-1, -2), keepdims=True), 1)
    logits = np.where(possible, logits - np.log(choices), -np.inf)
    top = np.maximum(logits.max(axis=(-1, -2), keepdims=True), weights.nothing)
    odds, nothing = np.exp(logits - top), np.exp(weights.nothing - top)
    total = odds.sum(axis=(-1, -2), keepdims=True) + nothing
    return odds / total @ BLUR, (nothing / total)[..., 0, 0]


def signal(evidence: Sequence[ParticleEvidence]) -> Array:
    """Return the pooled signal of each step of the ladder; NaN for those that were not tried."""
    dark, bright = _pooled(np.array([_curves(one) for one in evidence]))
    return np.asarray(dark - bright)


def _curves(evidence: ParticleEvidence) -> Array:
    """Return the log-odds, or the logarithm of the support of discs, (contrast, step)."""
    curves = np.array([evidence.curves(name).log_odds for name in CONTRASTS])
    if np.isnan(curves).all():  # no general model
        support = np.array([evidence.curves(name).blobs for name in CONTRASTS])
        least = LEAST_SUPPORT * max(float(np.nanmax(support)), 1.0)
        curves = np.log(np.maximum(support, least))
    return curves


def _pooled(curves: Array) -> Array:
    """Return the trimmed mean of some micrographs; NaN where fewer than half were tried."""
    tried = np.isfinite(curves).sum(axis=0)
    ordered = np.sort(curves, axis=0)  # NaN last
    left_out = np.floor(TRIMMED * tried)
    place = np.arange(len(curves))[:, None, None]
    kept = (place >= left_out) & (place < tried - left_out)
    total = np.where(kept, np.nan_to_num(ordered), 0).sum(axis=0)
    pooled = total / np.maximum(kept.sum(axis=0), 1)
    return np.where((2 * tried >= len(curves)) & (tried > 0), pooled, np.nan)


def _allowed(tried: Mask, bounds_angstrom: tuple[float, float]) -> Mask:
    """Return the places between the steps that were tried, and within the bounds."""
    logs = np.log(LADDER_ANGSTROM)[tried]
    half = 0.5 * (PLACES[1] - PLACES[0])
    low = max(math.log(bounds_angstrom[0]), logs[0]) - half
    high = min(math.log(bounds_angstrom[1]), logs[-1]) + half
    allowed = (low <= PLACES) & (high >= PLACES)
    if not allowed.any():
        allowed[np.abs(PLACES - 0.5 * (low + high)).argmin()] = True
    return np.asarray(allowed)

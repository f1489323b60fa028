"""Verdict about the particle from the evidence of several micrographs.

A micrograph and its negative have the same noise, the same background and as many places to look
at. What the general model finds more of in one than in the other is therefore neither noise nor a
matter of the scale: the *signal* of a diameter is the mean log-odds of the best scores in the
micrograph less that in its negative. It is positive for dark particles and negative for bright
ones, and greatest near the particles' diameter.

The signals of all micrographs are pooled by a trimmed mean, because a micrograph of ice or carbon
can give any result. The middle of the pooled curve around its top is the best guess. Resampling the
micrographs (bootstrap) tells how much it depends on which of them happened to come first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
"""One number for each step of the ladder."""

TRIMMED = 0.25
"""Fraction of the micrographs left out at either end, for each diameter."""

LEAST_SIGNAL = 0.6
"""Least signal of a micrograph that shows particles; noise has a few tenths."""

LEAST_POOLED = 0.4
"""The same for the pooled signal."""

LEAST_SUPPORT = 1e-3
"""Lowest support of discs that is distinguished, as a fraction of the highest."""

CORE = 0.7
"""Fraction of the highest signal above which the signal counts for the diameter."""

FINE = 40
"""Interpolated places for each step of the ladder."""

OVERESTIMATE = 1.06
"""The middle of the general model's signal, divided by the longest diameter of the particles."""

RESAMPLED = 100
"""Number of resampled sets of micrographs."""

SAME_RATIO = 1.2
"""Diameters that differ by less are the same."""

APART_RATIO = 1.4
"""Least ratio of two diameters that are two guesses."""

CLOSE_WEIGHT = 0.85
"""Fraction of the best guess's signal from which another maximum is too close to choose."""

VALLEY_WEIGHT = 0.9
"""The signal between two guesses is lower than this fraction of the lower one's."""

LEAST_VOICES = 3
"""Fewest micrographs with particles that settle anything; any one may show something else."""

SETTLED_CONFIDENCE = 0.9
"""Least confidence of a diameter that is used."""

CONTRADICTING_CONFIDENCE = 0.8
"""Least confidence of one that contradicts a given number; nobody would use it unasked."""

SMALLEST_RATIO, LARGEST_RATIO = 0.74, 1.34
"""A given diameter is contradicted if it is not within these multiples of the one that is found.
One that differs from the truth by a seventh is not, even if the one that is found does so too."""


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
    signals = np.array([_signal(one) for one in evidence]).reshape(-1, len(LADDER_ANGSTROM))
    signs = [1.0 if name == "dark" else -1.0 for name in CONTRASTS if contrast in (None, name)]
    by_model = any(np.isfinite(one.dark.log_odds).any() for one in evidence)
    overestimate = OVERESTIMATE if by_model else 1.0
    search = _Search(tuple(signs), _allowed(bounds_angstrom), bounds_angstrom, overestimate)
    voices = sum(search.highest(signal) >= LEAST_SIGNAL for signal in signals)
    best = search.best(_pooled(signals)) if voices else None
    if best is None:
        return ParticleVerdict(len(evidence), voices, None, None, 0.0, is_settled=False)
    pooled = _pooled(signals)
    second = search.second(pooled)
    confidence = _confidence(signals, best, search)
    curve = np.nan_to_num(pooled if best.contrast == "dark" else -pooled)
    weights = np.clip(curve / search.highest(pooled), 0, 1)
    return ParticleVerdict(
        micrographs=len(evidence),
        voices=voices,
        best=best,
        second=second,
        confidence=confidence,
        is_settled=voices >= LEAST_VOICES and second is None and confidence >= SETTLED_CONFIDENCE,
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
        or verdict.confidence < CONTRADICTING_CONFIDENCE
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
    if SMALLEST_RATIO <= ratio <= LARGEST_RATIO:
        return None
    sentence = (
        f"the particles look about {found.diameter_angstrom:.0f} Å wide in {verdict.voices} of"
        f" {verdict.micrographs} micrographs, and particle.diameter_angstrom is"
        f" {diameter_angstrom:g}"
    )
    return Contradiction("diameter", diameter_angstrom, found, verdict.confidence, sentence)


def _signal(evidence: ParticleEvidence) -> Vector:
    """Return the signal of each diameter in a micrograph; NaN for those that were not tried."""
    dark, bright = (np.array(evidence.curves(c).log_odds) for c in CONTRASTS)
    if np.isnan(dark).all():  # no general model
        dark, bright = (np.array(evidence.curves(c).blobs) for c in CONTRASTS)
        least = LEAST_SUPPORT * max(float(np.nanmax([dark, bright])), 1.0)
        dark, bright = (np.log(np.maximum(support, least)) for support in (dark, bright))
    return np.asarray(dark - bright)


def _pooled(signals: NDArray[np.float64]) -> Vector:
    """Return the trimmed mean of some micrographs; NaN where fewer than half were tried."""
    tried = np.isfinite(signals).sum(axis=0)
    ordered = np.sort(signals, axis=0)  # NaN last
    left_out = np.floor(TRIMMED * tried)
    place = np.arange(len(signals))[:, None]
    kept = (place >= left_out) & (place < tried - left_out)
    total = np.where(kept, np.nan_to_num(ordered), 0).sum(axis=0)
    pooled = total / np.maximum(kept.sum(axis=0), 1)
    return np.where(2 * tried >= len(signals), pooled, np.nan)


def _allowed(bounds_angstrom: tuple[float, float]) -> NDArray[np.bool_]:
    """Return True for the steps inside the bounds, or next to them within half a step."""
    low, high = bounds_angstrom
    ladder = np.array(LADDER_ANGSTROM)
    half = math.sqrt(ladder[1] / ladder[0])
    allowed = (ladder > low / half) & (ladder < high * half)
    if not allowed.any():
        allowed[np.abs(np.log(ladder / math.sqrt(low * high))).argmin()] = True
    return np.asarray(allowed)


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """Search for the highest signal within the bounds, for one contrast or both."""

    signs: tuple[float, ...]
    """Signs of the signal to search: 1 for dark particles, -1 for bright ones."""
    allowed: NDArray[np.bool_]
    bounds_angstrom: tuple[float, float]
    overestimate: float
    """The middle of the signal, divided by the diameter."""

    def curves(self, signal: Vector) -> NDArray[np.float64]:
        """Return the signal for each sign, (sign, step); -inf where there is none."""
        curves = np.array(self.signs)[:, None] * signal
        return np.where(np.isfinite(curves) & self.allowed, curves, -np.inf)

    def highest(self, signal: Vector) -> float:
        """Return the highest signal."""
        return float(self.curves(signal).max())

    def best(self, pooled: Vector) -> ParticleGuess | None:
        """Return the guess with the highest signal; None if it is too low."""
        curves = self.curves(pooled)
        row, step = divmod(int(curves.argmax()), curves.shape[1])
        if curves[row, step] < LEAST_POOLED:
            return None
        return self._guess(pooled, row, step, weight=1.0)

    def second(self, pooled: Vector) -> ParticleGuess | None:
        """Return the next best maximum, if it is close to the highest."""
        curves = self.curves(pooled)
        top_row, top = divmod(int(curves.argmax()), curves.shape[1])
        padded = np.pad(curves, ((0, 0), (1, 1)), constant_values=-np.inf)
        is_top = (curves >= padded[:, :-2]) & (curves >= padded[:, 2:])
        least = CLOSE_WEIGHT * curves[top_row, top]
        found: list[tuple[float, int, int]] = []
        for row, step in np.argwhere(is_top & (curves >= least)).tolist():
            ratio = LADDER_ANGSTROM[step] / LADDER_ANGSTROM[top]
            low, high = sorted((step, top))
            between = curves[row, low : high + 1].min()
            is_apart = max(ratio, 1 / ratio) >= APART_RATIO
            if row != top_row or (is_apart and between < VALLEY_WEIGHT * curves[row, step]):
                found.append((float(curves[row, step]), row, step))
        if not found:
            return None
        height, row, step = max(found)
        return self._guess(pooled, row, step, weight=height / float(curves[top_row, top]))

    def _guess(self, pooled: Vector, row: int, step: int, *, weight: float) -> ParticleGuess:
        angstrom = _centre(self.signs[row] * pooled, step) / self.overestimate
        low, high = self.bounds_angstrom
        contrast: Contrast = "dark" if self.signs[row] > 0 else "bright"
        return ParticleGuess(min(max(angstrom, low), high), contrast, weight)


def _centre(curve: Vector, step: int) -> float:
    """Return the diameter in the middle of the signal around its top at a step.

    It is the centroid of what is above ``CORE`` of the top, on the logarithmic scale, without gaps.
    A parabola through three steps would depend more on noise.
    """
    logs = np.log(LADDER_ANGSTROM)
    tried = np.isfinite(curve)
    places = np.linspace(logs[tried][0], logs[tried][-1], FINE * int(tried.sum()))
    above = np.interp(places, logs[tried], curve[tried]) - CORE * curve[step]
    top = int(np.abs(places - logs[step]).argmin())
    low = np.flatnonzero(above[:top] <= 0)
    high = np.flatnonzero(above[top:] <= 0)
    first = int(low[-1]) + 1 if len(low) else 0
    last = top + int(high[0]) if len(high) else len(places)
    if first >= last or top >= last:
        return LADDER_ANGSTROM[step]
    weights, places = above[first:last], places[first:last]
    return math.exp(float((weights * places).sum() / weights.sum()))


def _confidence(signals: NDArray[np.float64], best: ParticleGuess, search: _Search) -> float:
    """Return the fraction of resampled sets of micrographs that give the same guess."""
    random = np.random.default_rng(0)
    same = 0
    for _ in range(RESAMPLED):
        guess = search.best(_pooled(signals[random.integers(0, len(signals), len(signals))]))
        if guess is not None and guess.contrast == best.contrast:
            ratio = guess.diameter_angstrom / best.diameter_angstrom
            same += 1 / SAME_RATIO <= ratio <= SAME_RATIO
    return same / RESAMPLED

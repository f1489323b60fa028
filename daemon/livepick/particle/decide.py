"""Verdict about the particle from the evidence of several micrographs.

``size_posterior`` gives the probability of each diameter and contrast. The best guess is the most
probable diameter, averaged over its neighbours; its confidence is the probability that it is right
within a fifth. Nothing is said if that is low. A given number is contradicted if a diameter near it
is improbable.
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
from livepick.particle.size_posterior import PLACES, Posterior, posterior, signal

__all__ = ["contradiction", "decide"]

Vector = NDArray[np.float64]

SAME_RATIO = 1.2
"""Diameters that differ by less are the same."""

PEAK_RATIO = 1.3
"""Diameters around the most probable one over which the best guess is averaged."""

APART_RATIO = 1.4
"""Least ratio of two diameters that are two guesses."""

LEAST_CONFIDENCE = 0.35
"""Least confidence of a guess."""

LEAST_SHARE = 0.5
"""Least fraction of the micrographs that show particles on their own, if a guess is named."""

SETTLED_CONFIDENCE = 0.45
"""Least confidence of a diameter that is used without a question."""

CLOSE_WEIGHT = 0.3
"""Probability of another guess, as a fraction of the best one's, that is too high to choose."""

LEAST_VOICES = 3
"""Fewest micrographs with particles that settle anything; any one may show something else."""

RIGHT_LOW, RIGHT_HIGH = 0.77, 1.31
"""A given diameter is about right if it is within these multiples of the true one. They are half
way between a number that is 15 % wrong and one of 0.7 times or 1.5 times the truth."""

MOST_CHANCE = 0.3
"""Highest probability that a given diameter is about right, if it is contradicted."""

MOST_CHANCE_OF_NOTHING = 0.1
"""Highest probability that there are no particles, if a number is contradicted."""


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
    if not evidence:
        return ParticleVerdict(0, 0, None, None, 0.0, is_settled=False)
    each = [
        posterior([one], bounds_angstrom=bounds_angstrom, contrast=contrast) for one in evidence
    ]
    voices = sum(one.nothing < 0.5 for one in each)
    seen = posterior(evidence, bounds_angstrom=bounds_angstrom, contrast=contrast)
    best = _guess(seen.particles, bounds_angstrom)
    confidence = seen.near(best.diameter_angstrom, SAME_RATIO, best.contrast)
    second = _second(seen, best, bounds_angstrom)
    is_named = confidence >= LEAST_CONFIDENCE or second is not None
    is_named = is_named and voices >= LEAST_SHARE * len(evidence)
    if seen.nothing > 0.5 or not is_named:
        return ParticleVerdict(
            micrographs=len(evidence),
            voices=voices,
            best=None,
            second=None,
            confidence=confidence,
            is_settled=False,
            likeliest=best if voices else None,
            chances=_chances(seen),
        )
    return ParticleVerdict(
        micrographs=len(evidence),
        voices=voices,
        best=best,
        second=second,
        confidence=confidence,
        is_settled=voices >= LEAST_VOICES and second is None and confidence >= SETTLED_CONFIDENCE,
        figures=_figures(evidence, best.contrast),
        likeliest=best,
        chances=_chances(seen),
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
    nothing = 1 - sum(dark + bright for _, dark, bright in verdict.chances)
    if (
        found is None
        or verdict.second is not None
        or verdict.voices < LEAST_VOICES
        or nothing > MOST_CHANCE_OF_NOTHING
    ):
        return None
    if contrast is not None and found.contrast != contrast:
        chance = sum(dark if contrast == "dark" else bright for _, dark, bright in verdict.chances)
        sentence = (
            f"the particles look {found.contrast} in {verdict.voices} of {verdict.micrographs}"
            f" micrographs, and particle.contrast is {contrast}"
        )
        if chance > MOST_CHANCE:
            return None
        return Contradiction("contrast", contrast, found, 1 - chance, sentence)
    if diameter_angstrom is None:
        return None
    chance = sum(
        dark + bright
        for angstrom, dark, bright in verdict.chances
        if RIGHT_LOW * angstrom <= diameter_angstrom <= RIGHT_HIGH * angstrom
    )
    if chance > MOST_CHANCE:
        return None
    sentence = (
        f"the particles look about {found.diameter_angstrom:.0f} Å wide in {verdict.voices} of"
        f" {verdict.micrographs} micrographs, and particle.diameter_angstrom is"
        f" {diameter_angstrom:g}"
    )
    return Contradiction("diameter", diameter_angstrom, found, 1 - chance, sentence)


def _guess(particles: Vector, bounds_angstrom: tuple[float, float]) -> ParticleGuess:
    """Return the most probable contrast and diameter."""
    row, top = divmod(int(particles.argmax()), particles.shape[1])
    near = np.where(np.abs(PLACES - PLACES[top]) < math.log(PEAK_RATIO), particles[row], 0)
    angstrom = math.exp(float((near * PLACES).sum() / max(float(near.sum()), 1e-300)))
    low, high = bounds_angstrom
    return ParticleGuess(min(max(angstrom, low), high), CONTRASTS[row], 1.0)


def _second(
    seen: Posterior, best: ParticleGuess, bounds_angstrom: tuple[float, float]
) -> ParticleGuess | None:
    """Return the next best maximum, if it is almost as probable as the best guess."""
    padded = np.pad(seen.particles, ((0, 0), (1, 1)))
    is_top = (seen.particles >= padded[:, :-2]) & (seen.particles >= padded[:, 2:])
    near = np.abs(PLACES - math.log(best.diameter_angstrom)) < math.log(APART_RATIO)
    is_top[CONTRASTS.index(best.contrast), near] = False
    others = np.where(is_top, seen.particles, 0)
    if not others.any():
        return None
    row, top = divmod(int(others.argmax()), others.shape[1])
    alone = np.zeros_like(others)
    around = np.abs(PLACES - PLACES[top]) < math.log(PEAK_RATIO)
    alone[row, around] = seen.particles[row, around]
    second = _guess(alone, bounds_angstrom)
    weight = seen.near(second.diameter_angstrom, SAME_RATIO, second.contrast)
    weight /= seen.near(best.diameter_angstrom, SAME_RATIO, best.contrast)
    if weight < CLOSE_WEIGHT:
        return None
    return ParticleGuess(second.diameter_angstrom, second.contrast, min(weight, 1.0))


def _chances(seen: Posterior) -> tuple[tuple[float, float, float], ...]:
    """Return each diameter with its probability for dark and for bright particles."""
    dark, bright = seen.particles.tolist()
    return tuple(zip(np.exp(PLACES).tolist(), dark, bright, strict=True))


def _figures(
    evidence: Sequence[ParticleEvidence], contrast: Contrast
) -> tuple[tuple[float, float], ...]:
    """Return the steps of the ladder with their signal, as fractions of the highest."""
    curve = np.nan_to_num(signal(evidence) * (1 if contrast == "dark" else -1))
    weights = np.clip(curve / max(float(curve.max()), 1e-6), 0, 1)
    return tuple(zip(LADDER_ANGSTROM, weights.round(4).tolist(), strict=True))

"""Evidence about the particle of a micrograph, as if it had been measured."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from livepick.core.contracts.particle_measurement import (
    DEFAULT_BOUNDS_ANGSTROM,
    LADDER_ANGSTROM,
    Curves,
    ParticleEvidence,
)
from livepick.particle.decide import decide
from livepick.particle.size_posterior import posterior

__all__ = ["EMPTY", "make_evidence"]

WIDTH_OCTAVES = 0.5

NOISE = 0.2
"""Score of the best peaks where there are no particles."""


def make_evidence(
    diameter_angstrom: float,
    *,
    contrast: str = "dark",
    height: float = 0.8,
    second_angstrom: float | None = None,
    masked_fraction: float = 0.1,
) -> ParticleEvidence:
    """Return the evidence of a micrograph whose scores are high around one or two diameters."""
    first = (_place(diameter_angstrom), height)
    if second_angstrom is None:
        return _around([first], contrast, masked_fraction)
    second = (_place(second_angstrom), _balanced(diameter_angstrom, second_angstrom, height))
    return _around([first, second], contrast, masked_fraction)


@functools.cache
def _place(diameter_angstrom: float) -> float:
    """Return the place of the highest scores from which a diameter is found.

    It depends on the weights of the verdict, which are fitted anew for each general model.
    """
    place = diameter_angstrom
    for _ in range(3):
        found = decide([_around([(place, 0.8)], "dark", 0.1)] * 5).best
        place *= 1 if found is None else diameter_angstrom / found.diameter_angstrom
    return place


@functools.cache
def _balanced(first_angstrom: float, second_angstrom: float, height: float) -> float:
    """Return the height around a second diameter that makes it as probable as the first."""
    low, high = NOISE, 0.999
    for _ in range(12):
        middle = 0.5 * (low + high)
        both = [(_place(first_angstrom), height), (_place(second_angstrom), middle)]
        seen = posterior([_around(both, "dark", 0.1)] * 5, bounds_angstrom=DEFAULT_BOUNDS_ANGSTROM)
        chances = [seen.near(one, 1.2, "dark") for one in (first_angstrom, second_angstrom)]
        low, high = (middle, high) if chances[0] > chances[1] else (low, middle)
    return 0.5 * (low + high)


def _around(
    places: Sequence[tuple[float, float]], contrast: str, masked_fraction: float
) -> ParticleEvidence:
    """Return evidence with scores around some places, each with its height."""
    octaves = np.log2(LADDER_ANGSTROM)
    scores = np.full_like(octaves, NOISE)
    for angstrom, height in places:
        away = (octaves - math.log2(angstrom)) / WIDTH_OCTAVES
        scores = np.maximum(scores, height * np.exp(-(away**2)))
    low = np.full_like(scores, NOISE)
    rows = {"dark": low, "bright": low, contrast: np.minimum(scores, 0.999)}
    curves = {
        name: Curves(
            tuple(row.tolist()),
            tuple(np.log(row / (1 - row)).tolist()),
            tuple((1e4 * row).tolist()),
            tuple((10 * row).tolist()),
        )
        for name, row in rows.items()
    }
    return ParticleEvidence(curves["dark"], curves["bright"], masked_fraction)


EMPTY = make_evidence(150, height=0.0)
"""Evidence of a micrograph without particles."""

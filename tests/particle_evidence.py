"""Evidence about the particle of a micrograph, as if it had been measured."""

import math

import numpy as np

from livepick.core.contracts.particle_measurement import (
    LADDER_ANGSTROM,
    Curves,
    ParticleEvidence,
)
from livepick.particle.decide import OVERESTIMATE

__all__ = ["EMPTY", "make_evidence"]


def make_evidence(
    diameter_angstrom: float,
    *,
    contrast: str = "dark",
    height: float = 0.8,
    second_angstrom: float | None = None,
    masked_fraction: float = 0.1,
) -> ParticleEvidence:
    """Return the evidence of a micrograph whose scores are high around one or two diameters."""
    octaves = np.log2(LADDER_ANGSTROM)
    scores = np.zeros_like(octaves)
    for angstrom in (diameter_angstrom, second_angstrom):
        if angstrom is not None:
            seen_angstrom = OVERESTIMATE * angstrom
            bump = height * np.exp(-(((octaves - math.log2(seen_angstrom)) / 0.5) ** 2))
            scores = np.maximum(scores, bump)
    low = np.full_like(scores, 0.01)
    rows = {"dark": low, "bright": low, contrast: np.clip(scores, 0.01, 0.999)}
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

"""Comparison of particles with references in Fourier space, and the poses found by it.

Shapes: M angular frequencies, R rings, A angles, S shifts, K references.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from livepick_trainer.classification.polar import Polar

__all__ = [
    "Poses",
    "ShiftedReferences",
    "best_poses",
    "displacement",
    "join_poses",
    "log_likelihood",
]


@dataclass(slots=True)
class Poses:
    """Best pose of each particle in a pass; all fields are (N,)."""

    label: Tensor
    probability: Tensor
    turn: Tensor
    """In-plane rotation, in radians, from x towards y."""
    shift: Tensor
    """Index of the shift in the shift table."""
    score: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ShiftedReferences:
    """References at all shifts, ready to be compared with particles."""

    polar: Polar
    tried: Tensor
    """Shifted references, (M, S K, R)."""
    norm: Tensor
    """Weighted power of each, (S K,)."""
    weight: Tensor
    """Weight of each ring, (R,)."""
    temperature: float

    @classmethod
    def of(
        cls, polar: Polar, references: Tensor, noise: Tensor, phases: Tensor, *, temperature: float
    ) -> Self:
        """Return references (M, K, R) moved by all shifts, weighted by a noise (R,)."""
        weight = polar.density / noise
        tried = polar.shifted(references, phases[:, None]).flatten(1, 2)
        return cls(polar, tried, polar.power(tried) @ weight * polar.angles, weight, temperature)


def best_poses(
    some: Tensor, likelihood: Tensor, by_class: Tensor, trial: ShiftedReferences
) -> Poses:
    """Return each particle's class and its best pose in that class.

    Parameters
    ----------
    some
        Coefficients of the particles, (M, n, R).
    likelihood
        Log likelihoods (n, S K, A).
    by_class
        Probability of each class, (n, K).
    trial
        References that the particles were compared with.
    """
    polar, norm = trial.polar, trial.norm
    classes = by_class.shape[1]
    own = polar.power(some) @ trial.weight
    each = torch.arange(len(likelihood), device=some.device)
    probability, label = by_class.max(1)
    of_class = likelihood.reshape(len(each), -1, classes, polar.angles)[each, :, label]
    highest, place = of_class.flatten(1).max(1)
    shift = place // polar.angles
    length = norm[shift * classes + label]
    score = (highest + 0.5 * length) / (own * polar.angles * length).clamp(min=1e-12).sqrt()
    turn = (place % polar.angles) * (2 * math.pi / polar.angles)
    return Poses(label, probability, turn, shift, score)


def join_poses(found: Sequence[Poses]) -> Poses:
    """Return the poses of several batches of particles as one."""
    return Poses(*(torch.cat([getattr(part, name) for part in found]) for name in Poses.__slots__))


def displacement(shift: Tensor, turn: Tensor) -> Tensor:
    """Return the displacement of particles whose reference was shifted, then rotated; (N, 2)."""
    y, x = shift.unbind(1)
    cosine, sine = torch.cos(turn), torch.sin(turn)
    return torch.stack([y * cosine + x * sine, x * cosine - y * sine], dim=1)


def log_likelihood(
    data: Tensor, tried: Tensor, norm: Tensor, weight: Tensor, polar: Polar
) -> Tensor:
    """Return log likelihoods (N, Q, A), up to a term that all poses of a particle share."""
    product = torch.bmm(data * weight, tried.conj().transpose(1, 2))  # (M, N, Q)
    cross: Tensor = torch.fft.irfft(product.permute(1, 2, 0), n=polar.angles)
    return cross - 0.5 * norm[:, None]

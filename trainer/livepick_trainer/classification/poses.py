"""Comparison of particles with references in Fourier space, and the poses found by it.

Shapes: M angular frequencies, R rings, A angles, S shifts, K references.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    "with_scores",
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
    against: Tensor
    """Conjugates of the shifted references, (M, R, S K)."""
    norm: Tensor
    """Weighted power of each, (S K,)."""
    weight: Tensor
    """Weight of each ring, (R,)."""
    classes: int
    temperature: float

    @classmethod
    def of(
        cls, polar: Polar, references: Tensor, noise: Tensor, phases: Tensor, *, temperature: float
    ) -> Self:
        """Return references (M, K, R) moved by all shifts, weighted by a noise (R,)."""
        weight = polar.density / noise
        tried = polar.shifted(references, phases[:, None]).flatten(1, 2)
        norm = polar.power(tried) @ weight * polar.angles
        against = tried.transpose(1, 2).conj().resolve_conj().contiguous()
        return cls(polar, against, norm, weight, references.shape[1], temperature)

    def softened(self, some: Tensor) -> Tensor:
        """Return log likelihoods (n, S K, A) of particles (M, n, R), divided by the temperature."""
        weight, norm = self.weight / self.temperature, self.norm / self.temperature
        return _compared(some, self.against, norm, weight, self.polar)


def best_poses(softened: Tensor, by_class: Tensor) -> Poses:
    """Return each particle's class and its best pose in that class.

    The score is still the softened likelihood of the pose; see ``with_scores``.

    Parameters
    ----------
    softened
        Log likelihoods (n, S K, A), divided by the temperature.
    by_class
        Probability of each class, (n, K).
    """
    count, _, angles = softened.shape
    each = torch.arange(count, device=softened.device)
    probability, label = by_class.max(1)
    of_class = softened.reshape(count, -1, by_class.shape[1], angles)[each, :, label]
    highest, place = of_class.flatten(1).max(1)
    turn = (place % angles) * (2 * math.pi / angles)
    return Poses(label, probability, turn, place // angles, highest)


def with_scores(poses: Poses, data: Tensor, trial: ShiftedReferences) -> Poses:
    """Return the poses with the correlations of particles (M, N, R) and their references."""
    own = trial.polar.power(data) @ trial.weight
    length = trial.norm[poses.shift * trial.classes + poses.label]
    highest = poses.score * trial.temperature
    score = (highest + 0.5 * length) / (own * trial.polar.angles * length).clamp(min=1e-12).sqrt()
    return replace(poses, score=score)


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
    return _compared(data, tried.conj().transpose(1, 2), norm, weight, polar)


def _compared(data: Tensor, against: Tensor, norm: Tensor, weight: Tensor, polar: Polar) -> Tensor:
    """Return the log likelihoods for conjugate references (M, R, Q)."""
    product = torch.bmm(data * weight, against)  # (M, N, Q)
    product[0] -= 0.5 * polar.angles * norm  # the same for all angles
    compared: Tensor = torch.fft.irfft(product.permute(1, 2, 0), n=polar.angles)
    return compared

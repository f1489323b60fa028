"""References in Fourier space: averages of particles, and the noise that they leave.

Shapes: M angular frequencies, R rings, N particles, K references.
"""

import torch
from torch import Tensor
from torch.nn import functional

from livepick_trainer.classification.polar import Polar

__all__ = ["average", "damped", "residual_noise"]


def average(data: Tensor, turn: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return averages (M, K, R) of particles (M, N, R) rotated back, and the group sizes (K,)."""
    order = torch.arange(len(data), device=data.device)
    phase = torch.polar(torch.ones(1, device=data.device), order[:, None] * turn)
    share = functional.one_hot(group, groups).T.to(data.dtype)
    size = torch.bincount(group, minlength=groups).float()
    return share @ (data * phase[..., None]) / size.clamp(min=1)[:, None], size


def residual_noise(polar: Polar, data: Tensor, mean: Tensor, size: Tensor) -> Tensor:
    """Return the power in each ring that the averages do not explain."""
    total = polar.power(data).mean(0)
    explained = (polar.power(mean) * size[:, None]).sum(0) / data.shape[1]
    return (total - explained).clamp(min=0.05 * total)


def damped(mean: Tensor, size: Tensor, noise: Tensor, polar: Polar) -> Tensor:
    """Return averages (M, K, R), multiplied by the signal's share of each ring's power."""
    power = polar.power(mean)
    of_noise = noise / size.clamp(min=1)[:, None]
    wide = functional.pad((power - of_noise)[:, None], (1, 1), "replicate")
    signal = functional.avg_pool1d(wide, 3, 1)[:, 0].clamp(min=0)
    return mean * (signal / (signal + of_noise).clamp(min=1e-12))

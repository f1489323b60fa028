"""Initial groups of particles: k-means of their rotation-invariant spectra."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["group_by_spectrum"]


def group_by_spectrum(
    data: Tensor, noise: Tensor, groups: int, generator: torch.Generator
) -> Tensor:
    """Return the group, (N,), of particles with coefficients (M, N, R) and the noise (R,)."""
    return _k_means(_invariants(data, noise), groups, generator)


def _invariants(data: Tensor, noise: Tensor) -> Tensor:
    """Return rotation-invariant features, (N, F), of amplitudes by angular frequency and ring."""
    features = (data[:9].abs() / noise.sqrt()).permute(1, 0, 2).flatten(1)
    features = features - features.mean(0)
    _, _, directions = torch.linalg.svd(
        features[:: max(1, len(features) // 4000)], full_matrices=False
    )
    few: Tensor = features @ directions[:12].T
    return few


def _k_means(features: Tensor, groups: int, generator: torch.Generator, passes: int = 15) -> Tensor:
    """Return the group of each row; the initial centres are drawn far apart."""
    first = int(torch.randint(len(features), (1,), generator=generator))
    centres = features[first : first + 1]
    for _ in range(1, groups):
        distance = torch.cdist(features, centres).amin(1).square().cpu().double()
        drawn = torch.multinomial(distance + 1e-12, 1, generator=generator)
        centres = torch.cat([centres, features[drawn.to(features.device)]])
    group = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    for _ in range(passes):
        group = torch.cdist(features, centres).argmin(1)
        weight = functional.one_hot(group, groups).to(features.dtype)
        size = weight.sum(0)
        mean = (weight.T @ features) / size.clamp(min=1)[:, None]
        centres = torch.where(size[:, None] > 0, mean, centres)
    return group

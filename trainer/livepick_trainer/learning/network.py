"""Picking network: a small U-Net that gives each pixel the logit of "a particle's centre".

The design has two aims: to process a micrograph of 800 x 800 prepared pixels in a tenth of a CPU
second, and to have a receptive field wide enough to distinguish a particle from something that
only looks like part of one. Therefore there are few channels at full size, where most pixels are.
The decoder adds feature maps instead of concatenating them. BatchNorm is used because it can be
folded into the convolutions at export, and nearest-neighbour upsampling because it only costs
a copy.

Only layers that ``export_onnx`` knows may be used. If they are arranged in another way,
``livepick.core.imaging.space_to_depth`` may leave the layers at full size as they are: the graph
then gives the same scores, but takes longer on the CPU.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = [
    "MULTIPLE_PX",
    "PRIOR",
    "Architecture",
    "PickingNetwork",
    "make_network",
    "reset_weight_norms",
]

MULTIPLE_PX = 16
"""Height and width of the input are multiples of this number. The levels halve them three times,
and the contract with the worker leaves room for a fourth."""

PRIOR = 0.05
"""Score that an untrained network gives everywhere. It is close to the true share of centres, so
that the first training steps need not unlearn a score of one half."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Width and depth of the network; networks with equal fields have the same architecture."""

    channels: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of each level: the first at full size, each further one at half the size."""

    deepest_convolutions: int = 2
    """Convolutions of the coarsest level; each widens the receptive field by
    ``2 * 2**(levels - 1)`` pixels."""


class PickingNetwork(nn.Module):
    """Network from images ``(B, 1, H, W)``, H and W multiples of 16, to logits of that shape."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.channels
        pairs = list(pairwise(widths))
        deeper = [_block(widths[-1], widths[-1]) for _ in range(architecture.deepest_convolutions)]
        self.stem = _block(1, widths[0])
        self.down = nn.ModuleList(_block(fine, coarse, stride=2) for fine, coarse in pairs)
        self.refine = nn.ModuleList([*(_block(n, n) for n in widths[1:-1]), nn.Sequential(*deeper)])
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, fine, 1), nn.Upsample(scale_factor=2, mode="nearest"))
            for fine, coarse in reversed(pairs)
        )
        self.merge = nn.ModuleList(_block(n, n) for n in reversed(widths[:-1]))
        self.head = nn.Conv2d(widths[0], 1, 1)
        nn.init.constant_(
            self.head.bias,  # type: ignore[arg-type]  # it has one
            float(torch.logit(torch.tensor(PRIOR))),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits for a batch of images."""
        features = self.stem(image)  # (B, C0, H, W)
        skipped = []
        for down, refine in zip(self.down, self.refine, strict=True):
            skipped.append(features)
            features = refine(down(features))  # (B, Ci, H / 2**i, W / 2**i)
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(up(features) + skipped.pop())
        logits: Tensor = self.head(features)  # (B, 1, H, W)
        return logits


def make_network(seed: int, architecture: Architecture | None = None) -> PickingNetwork:
    """Return an untrained network; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PickingNetwork(architecture or Architecture())


def reset_weight_norms(network: PickingNetwork, fresh: PickingNetwork) -> None:
    """Scale the weights of each normalized convolution to the norm that they have in ``fresh``.

    The scores stay the same, because the normalization divides by the scale, but the network learns
    as quickly as a fresh one: a training step turns a vector of weights by an angle that is
    inversely proportional to its norm (van Laarhoven 2017, arXiv:1706.05350), and a long training
    makes the norms grow, in the general model to between 2 and 11 times those at the start.
    """
    for (convolution, normalization), (like, _) in zip(
        _normalized(network), _normalized(fresh), strict=True
    ):
        with torch.no_grad():
            scale = like.weight.norm() / convolution.weight.norm().clamp(min=1e-6)
            convolution.weight *= scale
            for statistic, power in (("running_mean", 1), ("running_var", 2)):
                normalization.get_buffer(statistic).mul_(scale**power)


def _normalized(network: PickingNetwork) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return the convolutions that are followed by a normalization, and the normalizations."""
    layers = list(network.modules())
    return [
        (one, other)
        for one, other in pairwise(layers)
        if isinstance(one, nn.Conv2d) and isinstance(other, nn.BatchNorm2d)
    ]


def _block(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    """Return a block of convolution, normalization and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )

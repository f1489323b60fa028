"""Loss function of the network, and the scale on which a loss is judged.

The loss is the binary cross-entropy of each pixel, with two weights. The *weight map* is 0
where nothing may be learned (masked areas, doubtful candidates) and 1 elsewhere. The *class
weight* raises the weight of pixels near centres, which are some 5 to 10 % of a micrograph, in
proportion to their target. It trades calibration for recall: with a weight of w, a pixel that
belongs to a particle with probability p gets the score w p / (w p + 1 - p).

Cross-entropy is used instead of a focal loss because the seeds are noisy, and a focal loss gives
the highest weight to exactly those pixels whose labels are wrong.

The targets are Gaussians and not zeros and ones. Therefore even a perfect network does not reach
a loss of 0, and a good value depends on how crowded the micrographs are and on the class weight.
A loss is judged on the scale of its own labels; see ``LossScale``.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from livepick_trainer.learning.dataset import Batch
from livepick_trainer.learning.network import PRIOR

__all__ = [
    "POSITIVE_WEIGHT",
    "LossScale",
    "balanced_accuracy",
    "count_right",
    "loss_scale",
    "mean_loss",
    "weighted_cross_entropy",
]

POSITIVE_WEIGHT = 3.0
"""Number of background pixels that weigh as much as one pixel at a particle's centre."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossScale:
    """Reference losses on the same labels: without looking at the images, and at best."""

    blank: float
    """Loss of the best score that is the same everywhere."""

    floor: float
    """Loss of a network that gives each pixel its target."""

    untrained: float
    """Loss of the score that an untrained network gives everywhere, ``network.PRIOR``."""

    def progress(self, loss: float) -> float:
        """Return the progress: 0 for a network that learned nothing, 1 for a perfect one.

        It is negative for a network that is worse than a blind guess, and NaN if the loss is not
        a number or if there is nothing to learn.
        """
        way = self.blank - self.floor
        return (self.blank - loss) / way if way > 0 else float("nan")


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor, *, positive_weight: float = POSITIVE_WEIGHT
) -> Tensor:
    """Return the mean cross-entropy over the pixels that count, a scalar.

    Parameters
    ----------
    logits, target, weight
        Arrays (B, 1, H, W); ``target`` in [0, 1], ``weight`` at least 0. If all weights are 0,
        the loss is 0.
    positive_weight
        Class weight; 1 treats particles and background alike.
    """
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    weighted = each * weight * (1 + (positive_weight - 1) * target)
    return weighted.sum() / weight.sum().clamp(min=1)


def loss_scale(batches: Iterable[Batch], *, positive_weight: float) -> LossScale:
    """Return the scale of the losses on these labels.

    With pixel weights W = weight (1 + (w - 1) target), the best score that is the same everywhere
    is the mean of the targets weighted by W. At each pixel, no score has a lower cross-entropy than
    the target itself.
    """
    counted = lifted = hits = lowest = 0.0
    for batch in batches:
        lift = batch.weight * (1 + (positive_weight - 1) * batch.target)
        entropy = binary_cross_entropy(batch.target, batch.target, reduction="none")
        counted += float(batch.weight.sum(dtype=torch.float64))
        lifted += float(lift.sum(dtype=torch.float64))
        hits += float((lift * batch.target).sum(dtype=torch.float64))
        lowest += float((lift * entropy).sum(dtype=torch.float64))
    counted = max(counted, 1.0)

    def everywhere(score: float) -> float:
        return -(hits * math.log(score) + (lifted - hits) * math.log1p(-score)) / counted

    share = hits / max(lifted, 1.0)
    return LossScale(
        blank=everywhere(share) if 0 < share < 1 else 0.0,
        floor=lowest / counted,
        untrained=everywhere(PRIOR),
    )


def mean_loss(
    network: nn.Module, batches: Iterable[Batch], *, positive_weight: float = POSITIVE_WEIGHT
) -> float:
    """Return a network's mean loss over some batches, as it picks: without learning."""
    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad():
        losses = [
            weighted_cross_entropy(
                network(batch.image.to(device)),
                batch.target.to(device),
                batch.weight.to(device),
                positive_weight=positive_weight,
            )
            for batch in batches
        ]
    return float(torch.stack(losses).mean())


def count_right(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the number of correct pixels and of all pixels in each class, (4,) float64.

    In order: particle pixels classified as particle, all particle pixels, background pixels
    classified as background, all background pixels. A pixel belongs to a particle if its target is
    above one half, and is classified as particle if its score is above one half.
    """
    counts = weight > 0
    called, is_particle = logits > 0, target > 0.5
    return torch.stack(
        [
            n.sum(dtype=torch.float64)
            for there, right in ((is_particle, called), (~is_particle, ~called))
            for n in (there & right & counts, there & counts)
        ]
    )


def balanced_accuracy(right: Tensor) -> float:
    """Return the mean of the fractions of particle pixels and background pixels that are correct.

    For a network that finds nothing, plain accuracy would be 0.95; the balanced accuracy is 0.5.

    Parameters
    ----------
    right
        Sum of the results of ``count_right``. A class that is absent is left out of the mean;
        if both are absent, the accuracy is 0.
    """
    shares = [float(n / total) for n, total in right.reshape(2, 2) if total > 0]
    return sum(shares) / len(shares) if shares else 0.0

"""What the network is punished for, and how far it could get.

The loss is the binary cross-entropy of each pixel, with two weights. The *weight map* is 0
where nothing may be learned (masked areas, doubtful candidates) and 1 elsewhere. The *class
weight* lifts pixels near centres, which are some 5 to 10 % of a micrograph, in proportion to
their target; it trades calibration for recall: with a weight of w, a pixel that is a
particle's with probability p gets the score w p / (w p + 1 - p).

Cross-entropy rather than a focal loss: the seeds are noisy, and a focal loss looks hardest
at exactly the pixels whose labels are wrong.

As the targets are Gaussians and no zeros and ones, not even a perfect network reaches a loss
of 0, and what is good depends on how crowded the micrographs are and on the class weight. So
a loss is judged on the scale of its own labels, see ``LossScale``.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from livepick_trainer.learning.dataset import Batch
from livepick_trainer.learning.network import PRIOR

__all__ = [
    "POSITIVE_WEIGHT",
    "LossScale",
    "balanced_accuracy",
    "count_right",
    "loss_scale",
    "weighted_cross_entropy",
]

POSITIVE_WEIGHT = 3.0
"""How many background pixels weigh as much as one at a particle's centre."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossScale:
    """What the loss would be on the same labels without a look at the images, and at best."""

    blank: float
    """Of the best score that is the same everywhere."""

    floor: float
    """Of a network that gives each pixel its target."""

    untrained: float
    """Of the score that an untrained network gives everywhere, ``network.PRIOR``."""

    def progress(self, loss: float) -> float:
        """Return 0 for a network that learned nothing, 1 for a perfect one; negative is worse.

        NaN if the loss is not a number, or if there is nothing to learn.
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
        All (B, 1, H, W); ``target`` in [0, 1], ``weight`` at least 0. If all weights are 0,
        so is the loss.
    positive_weight
        The class weight; 1 treats particles and background alike.
    """
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    weighted = each * weight * (1 + (positive_weight - 1) * target)
    return weighted.sum() / weight.sum().clamp(min=1)


def loss_scale(batches: Iterable[Batch], *, positive_weight: float) -> LossScale:
    """Return the scale of the losses on these labels.

    With all pixels' weights W = weight (1 + (w - 1) target), the best score that is the same
    everywhere is the mean of the targets weighted by W; and at each pixel no score has a lower
    cross-entropy than the target itself.
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


def count_right(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return how many pixels are right and how many there are, of each class, (4,) float64.

    In order: particle pixels called particle, particle pixels, background pixels called
    background, background pixels. A pixel is a particle's if its target is above one half, and
    called one if its score is.
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
    """Return the mean of the shares of particle and of background pixels that are right.

    Plain accuracy would say 0.95 of a network that finds nothing, which here is one half.

    Parameters
    ----------
    right
        Sum of what ``count_right`` returned. A class that is absent is left out of the mean;
        if both are, the accuracy is 0.
    """
    shares = [float(n / total) for n, total in right.reshape(2, 2) if total > 0]
    return sum(shares) / len(shares) if shares else 0.0

"""What the network is punished for.

The loss is the binary cross-entropy of each pixel, with two weights. The *weight map* is 0
where nothing may be learned (masked areas, doubtful candidates) and 1 elsewhere. The *class
weight* ``POSITIVE_WEIGHT`` lifts pixels near centres, which are some 5 to 10 % of a
micrograph, in proportion to their target; it trades calibration for recall: with a weight
of w, a pixel that is a particle's with probability p gets the score w p / (w p + 1 - p).

Cross-entropy rather than a focal loss: the seeds are noisy, and a focal loss looks hardest
at exactly the pixels whose labels are wrong.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["POSITIVE_WEIGHT", "balanced_accuracy", "weighted_cross_entropy"]

POSITIVE_WEIGHT = 3.0
"""How many background pixels weigh as much as one at a particle's centre."""


def weighted_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean cross-entropy over the pixels that count, a scalar.

    Parameters
    ----------
    logits, target, weight
        All (B, 1, H, W); ``target`` in [0, 1], ``weight`` at least 0. If all weights are 0,
        so is the loss.
    """
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    weighted = each * weight * (1 + (POSITIVE_WEIGHT - 1) * target)
    return weighted.sum() / weight.sum().clamp(min=1)


def balanced_accuracy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of the shares of particle and of background pixels that are right.

    Plain accuracy would say 0.95 of a network that finds nothing. A pixel is a particle's if
    its target is above one half, and called one if its score is. A class that is absent is
    left out of the mean; if both are, the accuracy is 0.
    """
    counts = weight > 0
    called, is_particle = logits > 0, target > 0.5
    shares = []
    for there, right in ((is_particle, called), (~is_particle, ~called)):
        total = (there & counts).sum()
        if total > 0:
            shares.append((there & right & counts).sum() / total)
    return torch.stack(shares).mean() if shares else torch.zeros(())

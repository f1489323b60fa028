"""Learning curves of one training, as smoothed vectors over its epochs."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from livepick_trainer.learning.attempt_settings import AttemptSettings, advised_range
from livepick_trainer.learning.losses import LossScale
from livepick_trainer.learning.train import EpochFigures

__all__ = ["LEARNED_NOTHING", "LEAST_GAIN", "LearningCurves"]

Vector = NDArray[np.float64]

LEARNED_NOTHING = 0.05
"""Maximum progress of a network that has not begun to learn."""

SLOW = 1 / 3
"""Fraction of the epochs that half of the progress may take. Usual is a tenth, and a quarter if
an epoch has only a few steps."""

LEAST_FOR_SLOW = 8
"""Minimum number of epochs for which "half of the progress" is meaningful."""

LEAST_FOR_SMOOTHING = 6
"""Minimum number of epochs for smoothing; shorter curves are left unchanged."""

LEAST_GAIN = 0.02
"""Minimum gain of progress; smaller changes count as neither gain nor loss."""


class LearningCurves:
    """Figures of a training as smoothed vectors over its epochs."""

    def __init__(
        self,
        epochs: Sequence[EpochFigures],
        settings: AttemptSettings,
        training_scale: LossScale,
        held_out_scale: LossScale,
        *,
        warm: bool = False,
    ) -> None:
        self.settings = settings
        self.warm = warm
        self.untrained = held_out_scale.untrained
        self.losses = np.array([(e.training_loss, e.validation_loss) for e in epochs])
        self.is_finite = epochs[-1].is_finite
        whole = epochs if self.is_finite else epochs[:-1]
        self.count = len(whole)
        self.training = _smooth([training_scale.progress(e.training_loss) for e in whole])
        self.held_out = _smooth([held_out_scale.progress(e.validation_loss) for e in whole])
        self.training_accuracy = _smooth([e.training_accuracy for e in whole])
        self.held_out_accuracy = _smooth([e.validation_accuracy for e in whole])
        self.held_out_found = _smooth([e.validation_found for e in whole])
        self.best = float(np.max(self.held_out)) if self.count else -math.inf
        self.ended_early = self.count < settings.epochs

    def gain(self, curve: Vector) -> float:
        """Return the gain of a curve in its last third."""
        return float(curve[-1] - curve[(2 * self.count) // 3 - 1]) if self.count > 1 else 0.0

    def is_rising(self, part: float) -> bool:
        """Return True if the curves are still rising at the end, by this fraction of their maximum.

        With few epochs the held-out curve is too noisy for this limit, and only has to rise.
        """
        if self.ended_early:
            return False
        training, held_out = (
            self.gain(curve) / max(LEAST_GAIN / part, float(np.max(curve)))
            for curve in (self.training, self.held_out)
        )
        return training >= part and (held_out >= part or (self.has_few_epochs and held_out > 0))

    @property
    def has_few_epochs(self) -> bool:
        """True if the settings have fewer epochs than advised."""
        return self.settings.epochs < advised_range("epochs")[0]

    @property
    def accuracy(self) -> float:
        """Final accuracy on training or held-out patches, whichever is better; 0 without epochs."""
        both = (self.training_accuracy, self.held_out_accuracy)
        return max(float(np.median(curve[-3:])) for curve in both) if self.count else 0.0

    @property
    def half_way(self) -> int:
        """Number of epochs that half of the progress took."""
        return int(np.argmax(self.held_out >= self.best / 2)) + 1

    @property
    def is_slow(self) -> bool:
        """True if half of the progress took an unusually large part of the epochs."""
        return (
            self.count >= LEAST_FOR_SLOW
            and self.best > LEARNED_NOTHING
            and self.half_way >= SLOW * self.settings.epochs
        )


def _smooth(values: Sequence[float]) -> Vector:
    """Return the running median of three; short curves are left unchanged."""
    curve = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
    if len(curve) < LEAST_FOR_SMOOTHING:
        return curve
    smooth = np.asarray(ndimage.median_filter(curve, 3, mode="nearest"))
    smooth[0], smooth[-1] = smooth[1], smooth[-2]  # the ends have only one neighbour
    return smooth

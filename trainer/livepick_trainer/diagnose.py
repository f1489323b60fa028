"""Learning curves → what is wrong with a training, and what to set otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from livepick.core.run import FindingKind
from livepick_trainer.losses import LossScale
from livepick_trainer.train import EpochFigures

__all__ = ["Finding", "Settings", "diagnose"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Those of ``config.Training`` that a remedy may change."""

    epochs: int
    initial_learning_rate: float
    final_learning_rate: float
    class_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that the curves say."""

    kind: FindingKind
    is_fault: bool
    """Whether it is worth a rerun; else it is advice for the next time."""
    evidence: str
    """One sentence with the numbers."""
    remedy: str
    """One sentence in terms of the config's settings."""
    settings: Settings
    """What to train with next."""


def diagnose(
    epochs: Sequence[EpochFigures],
    settings: Settings,
    *,
    training_scale: LossScale,
    held_out_scale: LossScale,
) -> tuple[Finding, ...]:
    """Return what the curves of a whole training say, the most important first."""
    _ = training_scale, held_out_scale
    if epochs and not epochs[-1].is_finite:
        rate = settings.initial_learning_rate / 10
        return (
            Finding(
                kind="rate_too_high",
                is_fault=True,
                evidence=f"the loss is no number from epoch {epochs[-1].epoch} on",
                remedy=f"lower training.initial_learning_rate to {rate:g}",
                settings=replace(
                    settings,
                    initial_learning_rate=rate,
                    final_learning_rate=min(rate, settings.final_learning_rate),
                ),
            ),
        )
    return ()

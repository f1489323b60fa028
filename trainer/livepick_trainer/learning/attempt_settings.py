"""Settings of one attempt to train, which a remedy may change."""

from dataclasses import dataclass, replace
from typing import cast

from livepick.config.training_sections import Training

__all__ = ["AttemptSettings", "advised_range", "default_value"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptSettings:
    """Settings of the section ``training`` that a remedy may change."""

    epochs: int
    initial_learning_rate: float
    final_learning_rate: float
    class_weights: bool

    def scaled(self, initial: float, *, digits: int = 2) -> "AttemptSettings":
        """Return a copy with another initial rate, and the final rate changed in proportion."""
        initial = min(float(f"{initial:.{digits}g}"), 1.0)
        ratio = self.final_learning_rate / self.initial_learning_rate
        final = float(f"{initial * ratio:.{digits}g}")
        return replace(self, initial_learning_rate=initial, final_learning_rate=final)


def advised_range(setting: str) -> tuple[float, float]:
    """Return the advised range of a setting of the section ``training``."""
    extra = cast("dict[str, tuple[float, float]]", Training.model_fields[setting].json_schema_extra)
    lowest, highest = extra["advised"]
    return float(lowest), float(highest)


def default_value(setting: str) -> float:
    """Return the default of a setting of ``config.Training``."""
    return float(Training.model_fields[setting].default)

"""Which model picks, and how micrographs are to be picked."""

from dataclasses import dataclass
from pathlib import Path

from livepick.config.sections import Device, Repick
from livepick.core.contracts.bundle import ModelCard

__all__ = ["Orders"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """How micrographs are to be picked."""

    bundle: Path
    """The model that picks at the start."""
    card: ModelCard
    device: Device = "cpu"
    pixel_size_angstrom: float | None = None
    """As configured; None: each header says it."""
    threshold: float | None = None
    """As configured; None: the model's own."""
    repick: Repick = "provisional"
    """What is picked again when another model picks."""

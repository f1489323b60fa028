"""The model and the settings used for picking."""

from dataclasses import dataclass
from pathlib import Path

from livepick.config.sections import Device, Repick
from livepick.core.contracts.bundle import ModelCard

__all__ = ["Orders"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """Model and settings with which micrographs are picked."""

    bundle: Path
    """Folder of the model used at the start."""
    card: ModelCard
    device: Device = "cpu"
    pixel_size_angstrom: float | None = None
    """Pixel size from the config. None: read from the header of each micrograph."""
    threshold: float | None = None
    """Threshold from the config. None: the model's own."""
    repick: Repick = "provisional"
    """Which micrographs are picked again after a change of model."""

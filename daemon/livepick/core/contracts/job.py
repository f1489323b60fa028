"""What a worker is given, and what it gives back."""

from dataclasses import dataclass
from pathlib import Path

from livepick.config.sections import Contrast, Device
from livepick.core.formats.micrograph import FileVersion
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import Quality

__all__ = ["CPU", "CUDA", "Job", "Result", "StageSeconds"]


CUDA = "CUDAExecutionProvider"


CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs to pick one micrograph; small enough to send anywhere."""

    path: Path
    """Absolute path of the micrograph."""

    version: FileVersion | None
    """The content that was seen to be complete; None takes the file as it is."""

    bundle: Path
    """Folder of the model."""

    device: Device = "cpu"

    pixel_size_angstrom: float | None = None
    """As configured; None takes the header's."""

    threshold: float | None = None
    """Score from which on a pick counts; None takes the bundle's own."""

    diameter_angstrom: float | None = None
    """Of the particle, where the bundle was made for another one: each comes to the graph at the
    size in pixels that it knows. None takes the bundle's own."""

    contrast: Contrast | None = None
    """Of the particle in the micrograph; None takes the bundle's own."""


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Wall seconds of each stage of one job."""

    read: float
    preprocess: float
    infer: float
    peaks: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a job found."""

    picks: Picks
    """All candidates, best first, also those below the threshold (down to a low floor)."""

    threshold: float
    """Picks with at least this score count."""

    model_version: int
    model_kind: str
    shape_px: tuple[int, int]
    """Height and width of the micrograph."""

    pixel_size_angstrom: float
    quality: Quality
    seconds: StageSeconds
    provider: str
    """The onnxruntime provider that ran the graph, as ``CPUExecutionProvider``."""

    area: PickArea | None = None
    """Where the bundle may pick in this micrograph, in its pixels; None: anywhere."""

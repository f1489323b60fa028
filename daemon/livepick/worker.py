"""The work itself: a micrograph and a model bundle in, picks and quality figures out."""

from dataclasses import dataclass
from pathlib import Path

from livepick.config import Device
from livepick.core.micrograph import FileVersion
from livepick.core.picks import Picks

__all__ = ["Job", "Quality", "Result", "StageSeconds", "pick"]


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


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures that tell a good micrograph from a bad one."""

    masked_fraction: float
    """Area taken out of picking (bad borders, carbon, contamination), 0 to 1."""

    median_score: float | None
    """Of the picks above the threshold; None without any."""


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


def pick(job: Job) -> Result:
    """Pick one micrograph. Raises LivepickError subclasses only for what it foresees."""
    raise NotImplementedError

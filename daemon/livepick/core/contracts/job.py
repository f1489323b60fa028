"""Jobs of the workers, and their results."""

from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.config.sections import Contrast, Device, Trust
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.header import Note
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import Quality

__all__ = [
    "CPU",
    "CUDA",
    "CtfJob",
    "ImageKind",
    "Job",
    "RenderJob",
    "Result",
    "StageSeconds",
    "WorkerDiedError",
]


CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
"""Names of the onnxruntime providers."""

ImageKind = Literal["thumbnail", "full", "mask"]


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a worker needs to pick one micrograph; small enough to send anywhere."""

    path: Path
    """Absolute path of the micrograph."""

    version: FileVersion | None
    """The content that was seen to be complete; None: the file as it is."""

    bundle: Path
    """Folder of the model."""

    device: Device = "cpu"

    pixel_size_angstrom: float | None = None
    """Pixel size from the config; None: from the header."""

    threshold: float | None = None
    """Lowest score at which a pick counts; None: as in the bundle."""

    diameter_angstrom: float | None = None
    """Particle diameter, if the bundle was made for another particle: each is rescaled to the size
    in pixels that the graph expects. None: as in the bundle."""

    contrast: Contrast | None = None
    """Particle contrast in the micrograph; None: as in the bundle."""

    trust: Trust | None = None
    """Source of the pixel size if config and header differ; None: that is an error."""

    graph_sha256: str | None = None
    """Checksum of the model's graph, by which a node of a cluster knows that it sees the same one;
    None: any."""


CauseOfDeath = Literal["crash", "memory", "outside"]


class WorkerDiedError(BrokenExecutor):
    """The worker died while it ran the job.

    Parameters
    ----------
    cause
        ``crash``: by itself; ``memory``: killed by the system because memory ran out; ``outside``:
        killed by a person or another program, or while it was stopped.
    how
        How it ended, in words.
    """

    def __init__(self, cause: CauseOfDeath, how: str) -> None:
        super().__init__(cause, how)  # so that it survives pickling
        self.cause = cause
        self.how = how

    def __str__(self) -> str:
        return self.how


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Wall seconds of each stage of one job."""

    read: float
    preprocess: float
    infer: float
    peaks: float


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a job."""

    picks: Picks
    """All candidates, best first, including those below the threshold (down to a low floor)."""

    threshold: float
    """Lowest score at which a pick counts."""

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
    """Area in which the bundle may pick in this micrograph, in its pixels; None: anywhere."""

    notes: tuple[Note, ...] = ()
    """Oddities of a file that was read all the same."""


@dataclass(frozen=True, slots=True)
class CtfJob:
    """Everything a worker needs to fit the CTF of one micrograph."""

    path: Path
    """Absolute path of the micrograph."""

    version: FileVersion
    """Version of the content that was picked."""

    pixel_size_angstrom: float
    """Pixel size used for picking."""

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    """Settings of the microscope, as in ``core.imaging.ctf.Ctf``."""


@dataclass(frozen=True, slots=True)
class RenderJob:
    """Everything a worker needs to draw one micrograph."""

    path: Path
    """Absolute path of the micrograph."""

    version: FileVersion
    """Version of the content that was picked."""

    kind: ImageKind

    pixel_size_angstrom: float
    """Pixel size used for picking."""

    diameter_angstrom: float
    """Particle diameter."""

    contrast: Contrast
    """Particle contrast in the micrograph."""

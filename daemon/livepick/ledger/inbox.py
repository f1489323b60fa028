"""Messages to the dispatch loop, the one writer of the ledger."""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from livepick.config.sections import Repick
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.job import Result
from livepick.core.contracts.judgement import Judgement
from livepick.core.contracts.particle_state import ParticleState
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.ctf import CtfFit
from livepick.core.imaging.quality import CtfFigures
from livepick.ledger.person_verdicts import KnownVerdicts
from livepick.ledger.rows import Claim, MicrographRow, RecoveredPicks
from livepick.ledger.session_rows import ClassAveragesRow, RunState, SkippedFiles

__all__ = [
    "CallEnded",
    "ClassesMade",
    "CtfFitted",
    "CtfFound",
    "FilesSkipped",
    "Finished",
    "Inbox",
    "Landed",
    "Message",
    "ParticleChanged",
    "ParticleSeen",
    "PeopleJudged",
    "PickingChanged",
    "Promoted",
    "Recovered",
    "RecoveryEnded",
    "RootState",
    "RunChanged",
    "SetAside",
    "Stop",
]


@dataclass(frozen=True, slots=True)
class Finished:
    """The engine has finished a job, successfully or not."""

    claim: Claim
    future: Future[Result]


@dataclass(frozen=True, slots=True)
class Promoted:
    """Another model is used for picking from now on."""

    bundle: Path
    card: ModelCard
    is_fallback: bool = False
    """True if it is used because the one that should pick cannot be: nothing is picked again."""


@dataclass(frozen=True, slots=True)
class PickingChanged:
    """The picking settings that may change while the service runs."""

    threshold: float | None
    """Threshold from the config. None: the model's own."""
    repick: Repick


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A training run began or ended."""

    version: int
    fingerprint: str
    state: RunState
    reason: str = ""
    judgement: Judgement | None = None


@dataclass(frozen=True, slots=True)
class ParticleSeen:
    """The particle was measured in a micrograph, or could not be."""

    micrograph_id: int
    content: int
    """Content that was measured."""
    evidence: str | None
    """JSON of ``ParticleEvidence``; None: it could not be measured."""
    reason: str = ""
    """Why not, in words."""


@dataclass(frozen=True, slots=True)
class ParticleChanged:
    """More is known about the particle of the session."""

    state: ParticleState


@dataclass(frozen=True, slots=True)
class ClassesMade:
    """Class averages of the newest picks were made."""

    row: ClassAveragesRow


@dataclass(frozen=True, slots=True)
class CtfFound:
    """Another program has measured the CTF of a micrograph."""

    micrograph_id: int
    content: int
    """Content that the CTF was looked up for; other content has another CTF."""
    figures: CtfFigures


@dataclass(frozen=True, slots=True)
class CtfFitted:
    """A worker has finished a fit of the CTF, successfully or not."""

    row: MicrographRow
    """The micrograph, with the content that was fitted."""
    future: Future[CtfFit]
    settings: str
    """Settings of the microscope, in words."""


@dataclass(frozen=True, slots=True)
class PeopleJudged:
    """People have excluded or included micrographs."""

    verdicts: KnownVerdicts
    """All verdicts."""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call of the program ``output.on_picked`` has ended: wakes the loop, which looks itself."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Picks of some micrographs were read back from the output folder."""

    micrographs: tuple[RecoveredPicks, ...]
    taken: Callable[[], None]
    """Called when they are recorded, so that the next ones are sent."""


@dataclass(frozen=True, slots=True)
class RecoveryEnded:
    """The output folder has been read; the lists may be written again."""

    kept: int
    """Number of micrographs that kept their picks."""
    left: int
    """Number of micrographs that are picked anew, of those that had picks."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Claim no more micrographs, wait for those in progress, then return."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A micrograph is complete, or is complete with new content."""

    root: Path
    """The watched folder, as configured."""

    relative: Path
    """Path below the root. File names are arbitrary bytes, so it may contain surrogates, as
    ``os.fsdecode`` returns them."""

    version: FileVersion
    landed_at: float
    """Unix seconds: when this content was first seen."""

    at_start: bool = False
    """True if the first listing of its folder found it: its age is then unknown."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file is not a micrograph, or was not complete in time. New content brings it back."""

    root: Path
    relative: Path
    version: FileVersion
    reason: str
    """``MicrographError.reason``. After ``incomplete`` and ``io`` the file is still checked from
    time to time, and may be sent as ``Landed`` with the same version."""

    error: str
    """Description of the problem."""

    remedy: str
    landed_at: float


@dataclass(frozen=True, slots=True)
class FilesSkipped:
    """Files that a scan of a watched folder has left out; sent when the counts change."""

    root: Path
    files: tuple[SkippedFiles, ...]


@dataclass(frozen=True, slots=True)
class RootState:
    """Availability of a watched folder; sent at the start and at every change."""

    root: Path
    available: bool
    detail: str
    """Why it is unavailable; or its file system and how it is watched."""


Message = (
    Landed
    | SetAside
    | RootState
    | FilesSkipped
    | Finished
    | Promoted
    | PickingChanged
    | RunChanged
    | ParticleSeen
    | ParticleChanged
    | ClassesMade
    | PeopleJudged
    | CtfFitted
    | CtfFound
    | CallEnded
    | Recovered
    | RecoveryEnded
    | Stop
)
Inbox = queue.SimpleQueue[Message]

"""Messages to the dispatch loop, the one writer of the ledger."""

import queue
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livepick.config.sections import Repick
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.job import Result
from livepick.core.formats.micrograph import FileVersion
from livepick.core.imaging.quality import CtfFigures
from livepick.ledger.rows import Claim, RunState

__all__ = [
    "CtfFound",
    "Finished",
    "Inbox",
    "Landed",
    "Message",
    "PickingChanged",
    "Promoted",
    "RootState",
    "RunChanged",
    "SetAside",
    "Stop",
]


@dataclass(frozen=True, slots=True)
class Finished:
    """The engine is done with a job, well or badly."""

    claim: Claim
    generation: int
    """Of the pool that had it."""
    future: Future[Result]


@dataclass(frozen=True, slots=True)
class Promoted:
    """Another model picks from now on."""

    bundle: Path
    card: ModelCard


@dataclass(frozen=True, slots=True)
class PickingChanged:
    """The settings of picking that may change while the service runs."""

    threshold: float | None
    """As configured; None: the model's own."""
    repick: Repick


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A training run began or ended."""

    version: int
    fingerprint: str
    state: RunState
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CtfFound:
    """Another program has measured the CTF of a micrograph."""

    micrograph_id: int
    content: int
    """That it was looked up for; another one has another CTF."""
    figures: CtfFigures


@dataclass(frozen=True, slots=True)
class Stop:
    """Claim no more, see the rest home, return."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A micrograph is complete, or is complete with new content."""

    root: Path
    """The watched folder, as configured."""

    relative: Path
    """Below it. Names are arbitrary bytes: it may hold surrogates, as ``os.fsdecode`` gives."""

    version: FileVersion
    landed_at: float
    """Unix seconds: when this content was first seen."""

    at_start: bool = False
    """Whether the first listing of its folder found it: nobody knows how long it had been there."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file is no micrograph, or did not become whole in time. New content brings it back."""

    root: Path
    relative: Path
    version: FileVersion
    reason: str
    """``MicrographError.reason``. After ``incomplete`` and ``io`` the file is still looked at
    now and then, and may be sent as ``Landed`` with this very version."""

    error: str
    """What happened."""

    remedy: str
    landed_at: float


@dataclass(frozen=True, slots=True)
class RootState:
    """A watched folder is there, or is not; sent at the start and at every change."""

    root: Path
    available: bool
    detail: str
    """Why not; or the file system and how it is watched."""


Message = (
    Landed
    | SetAside
    | RootState
    | Finished
    | Promoted
    | PickingChanged
    | RunChanged
    | CtfFound
    | Stop
)
Inbox = queue.SimpleQueue[Message]

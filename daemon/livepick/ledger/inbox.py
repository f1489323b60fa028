"""What the dispatch loop is told, what it tells, and what it is asked to do."""

import queue
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from livepick.config.schema import Device, Repick
from livepick.core.contracts.bundle import ModelCard
from livepick.core.imaging.quality import CtfFigures
from livepick.ingest.watcher import Landed, RootState, SetAside
from livepick.ledger.rows import Claim, Counts, RunState
from livepick.picking.worker import Result

__all__ = [
    "CtfFound",
    "Finished",
    "Inbox",
    "Instruments",
    "Message",
    "Orders",
    "PickingChanged",
    "Promoted",
    "RunChanged",
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


class Instruments(Protocol):
    """What the loop tells the operator's instruments."""

    def landed(self, landed_at: float, *, collected: bool) -> None:
        """Count a micrograph that is complete, at unix seconds.

        ``collected``: whether it shows that a session collects.
        """

    def superseded(self) -> None:
        """Count new content under a known name."""

    def picked(
        self, result: Result, *, latency_seconds: float | None, export_seconds: float
    ) -> None:
        """Count a micrograph whose picks are on disk; no latency when it was picked again."""

    def ctf_found(self, figures: CtfFigures) -> None:
        """Count what another program has measured, once a micrograph."""

    def failed(self, reason: str, stage: Literal["ingest", "pick", "export"]) -> None:
        """Count a micrograph that is given up."""

    def retried(self, reason: str) -> None:
        """Count a micrograph that is queued again after an error."""

    def queue(self, counts: Counts, oldest_waiting_at: float | None) -> None:
        """Set how many are in which state, and when the oldest without picks landed."""

    def worker_crashed(self) -> None:
        """Count a worker that died."""

    def output_failed(self) -> None:
        """Count a write to the output folder that failed."""

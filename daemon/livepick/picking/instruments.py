"""Interface through which the dispatch loop updates the metrics."""

from typing import Literal, Protocol

from livepick.core.contracts.job import Result
from livepick.core.imaging.quality import CtfFigures
from livepick.ledger.rows import Counts, CtfOutcome

__all__ = ["CallInstruments", "CallOutcome", "Instruments"]

CallOutcome = Literal["success", "failure", "timeout", "not_started"]
"""Outcomes of a call of the program ``output.on_picked``."""


class Instruments(Protocol):
    """Counters and gauges that the dispatch loop updates."""

    def landed(self, landed_at: float, *, collected: bool) -> None:
        """Count a complete micrograph; ``landed_at`` is in unix seconds.

        ``collected``: True if it shows that data collection is in progress.
        """

    def superseded(self) -> None:
        """Count new content under a known name."""

    def picked(
        self, result: Result, *, latency_seconds: float | None, export_seconds: float
    ) -> None:
        """Count a micrograph whose picks are on disk; latency is None if it was picked again."""

    def ctf_found(self, figures: CtfFigures) -> None:
        """Count CTF figures, fitted or of another program, once per micrograph."""

    def ctf_fitted(self, outcome: CtfOutcome) -> None:
        """Count a fit of the CTF."""

    def failed(self, reason: str, stage: Literal["ingest", "pick", "export"]) -> None:
        """Count a micrograph that failed for good."""

    def repick_failed(self, reason: str, stage: Literal["ingest", "pick", "export"]) -> None:
        """Count a micrograph that could not be picked again, and keeps its picks."""

    def retried(self, reason: str) -> None:
        """Count a micrograph that is queued again after an error."""

    def queue(self, counts: Counts, oldest_waiting_at: float | None) -> None:
        """Set the number of micrographs in each state and the landing time of the oldest waiting.

        ``oldest_waiting_at`` is in unix seconds; None if none is waiting for its first picks.
        """

    def worker_crashed(self) -> None:
        """Count a worker that died."""

    def output_failed(self) -> None:
        """Count a write to the output folder that failed."""


class CallInstruments(Protocol):
    """Counters and gauges of the calls of ``output.on_picked``."""

    def call_ended(self, outcome: CallOutcome) -> None:
        """Count a call."""

    def calls_waiting(self, count: int) -> None:
        """Set the number of micrographs that wait for a call."""

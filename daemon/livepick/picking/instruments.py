"""What the dispatch loop tells the metrics."""

from typing import Literal, Protocol

from livepick.core.contracts.job import Result
from livepick.core.imaging.quality import CtfFigures
from livepick.ledger.rows import Counts

__all__ = ["Instruments"]


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

"""Interface through which the dispatch loop updates the metrics."""

from typing import Literal, Protocol

from livepick.core.contracts.job import Result
from livepick.core.imaging.quality import CtfFigures
from livepick.ledger.rows import Counts

__all__ = ["Instruments"]


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
        """Count CTF figures from another program, once per micrograph."""

    def failed(self, reason: str, stage: Literal["ingest", "pick", "export"]) -> None:
        """Count a micrograph that failed for good."""

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

"""How fast a session goes: landings, picks and verdicts of late."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from livepick.config.alert_thresholds import QUIET_GAPS, QUIET_SECONDS
from livepick.ledger.rows import Hourly, MicrographRow
from livepick.monitoring.quality_figures import Reason, main_reason

__all__ = ["Pace", "empty_in_row", "pace_of"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How the session goes just now."""

    hourly: Hourly
    last_landed_at: float | None = None
    """Unix seconds; None before the first, those apart that were there at the start."""
    gap_seconds: float | None = None
    """Usual time between two of them."""
    picks: float | None = None
    """Median of the latest."""
    score: float | None = None
    """Median of the latest medians."""
    failed: int = 0
    """Of the latest."""
    latest: int = 0
    """How many those are."""
    empty_in_row: int = 0
    """Latest picked micrographs without a pick, in a row."""
    judged: int = 0
    """Of the latest, those that have a verdict on their quality."""
    bad: int = 0
    doubtful: int = 0
    why_bad: Reason | None = None
    """Why most of the bad ones are so."""
    why_not_good: Reason | None = None
    """Why most of the bad and the doubtful ones are so."""


def pace_of(latest: Sequence[MicrographRow], hourly: Hourly, *, collected: Sequence[float]) -> Pace:
    """Return the pace that the latest micrographs show.

    Parameters
    ----------
    latest
        The newest first.
    collected
        When the last landed while the session was collecting.
    """
    landed = sorted(collected, reverse=True)
    gaps = [newer - older for newer, older in itertools.pairwise(landed)]
    picked = [row for row in latest if row.pick_count is not None]
    scores = [row.median_score for row in picked if row.median_score is not None]
    judged = [row for row in latest if row.quality_verdict is not None]
    bad = [row for row in judged if row.quality_verdict == "bad"]
    doubtful = [row for row in judged if row.quality_verdict == "doubtful"]
    return Pace(
        hourly=hourly,
        last_landed_at=landed[0] if landed else None,
        gap_seconds=median(gaps) if gaps else None,
        picks=median(row.pick_count or 0 for row in picked) if picked else None,
        score=median(scores) if scores else None,
        failed=sum(row.state == "failed" for row in latest),
        latest=len(latest),
        empty_in_row=empty_in_row(picked),
        judged=len(judged),
        bad=len(bad),
        doubtful=len(doubtful),
        why_bad=main_reason(bad),
        why_not_good=main_reason(bad + doubtful),
    )


def empty_in_row(picked: Sequence[MicrographRow]) -> int:
    """Return how many of picked micrographs, the newest first, have no pick until one has."""
    return sum(1 for _ in itertools.takewhile(lambda row: not row.pick_count, picked))


def is_collecting(pace: Pace, now: float) -> bool:
    if pace.last_landed_at is None:
        return False
    patience = max(QUIET_SECONDS, QUIET_GAPS * (pace.gap_seconds or 0))
    return now - pace.last_landed_at < patience

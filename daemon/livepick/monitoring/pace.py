"""Recent pace of a session: landings, picks and verdicts."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from livepick.config.alert_thresholds import QUIET_GAPS, QUIET_SECONDS
from livepick.ledger.rows import Hourly, MicrographRow
from livepick.monitoring.ctf_fits import judged_fits
from livepick.monitoring.quality_figures import Reason, main_reason

__all__ = ["Pace", "empty_in_row", "pace_of"]


@dataclass(frozen=True, slots=True)
class Pace:
    """Current pace of the session."""

    hourly: Hourly
    last_landed_at: float | None = None
    """Unix seconds; None before the first. Files present at the start do not count."""
    gap_seconds: float | None = None
    """Median time between two landings."""
    picks: float | None = None
    """Median pick count of the latest micrographs."""
    score: float | None = None
    """Median of the median scores of the latest micrographs."""
    failed: int = 0
    """Number of failed micrographs among the latest."""
    latest: int = 0
    """Number of latest micrographs."""
    empty_in_row: int = 0
    """Number of consecutive micrographs without a pick, counted back from the newest picked."""
    judged: int = 0
    """Number of the latest that have a quality verdict."""
    bad: int = 0
    doubtful: int = 0
    why_bad: Reason | None = None
    """Most frequent reason of the bad ones."""
    why_not_good: Reason | None = None
    """Most frequent reason of the bad and doubtful ones together."""
    ctf_fits: int = 0
    """Number of the latest to which livepick has fitted a CTF, trusted or not; bad micrographs and
    those without picks do not count."""
    ctf_not_trusted: int = 0
    """Number of those whose fit does not hold."""
    why_not_trusted: str = ""
    """Most frequent reason, in words."""


def pace_of(latest: Sequence[MicrographRow], hourly: Hourly, *, collected: Sequence[float]) -> Pace:
    """Return the pace computed from the latest micrographs.

    Parameters
    ----------
    latest
        Latest micrographs, newest first.
    collected
        Landing times of the last micrographs that arrived while the session was collecting.
    """
    landed = sorted(collected, reverse=True)
    gaps = [newer - older for newer, older in itertools.pairwise(landed)]
    picked = [row for row in latest if row.pick_count is not None]
    scores = [row.median_score for row in picked if row.median_score is not None]
    judged = [row for row in latest if row.quality_verdict is not None]
    bad = [row for row in judged if row.quality_verdict == "bad"]
    doubtful = [row for row in judged if row.quality_verdict == "doubtful"]
    fits = judged_fits(latest)
    why = Counter(row.ctf_reason or "" for row in fits if row.ctf_outcome == "not_trusted")
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
        ctf_fits=sum(row.ctf_outcome in ("trusted", "not_trusted") for row in fits),
        ctf_not_trusted=why.total(),
        why_not_trusted=why.most_common(1)[0][0] if why else "",
    )


def empty_in_row(picked: Sequence[MicrographRow]) -> int:
    """Return how many micrographs, from the newest back, have no picks before one that has some."""
    return sum(1 for _ in itertools.takewhile(lambda row: not row.pick_count, picked))


def is_collecting(pace: Pace, now: float) -> bool:
    """Return True if micrographs still arrive: the last one is not much older than usual."""
    if pace.last_landed_at is None:
        return False
    patience = max(QUIET_SECONDS, QUIET_GAPS * (pace.gap_seconds or 0))
    return now - pace.last_landed_at < patience

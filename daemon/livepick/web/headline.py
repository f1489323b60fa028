"""The most important sentence first: what goes on, or what is wrong and what to do.

Pure: a status, a health and a pace go in, words come out. Urgent matters come first, and what
hides others comes before them: with the folder gone, no micrograph lands.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from livepick.records import Hourly, MicrographRow
from livepick.status import Status
from livepick.web.health import Health

__all__ = ["Alert", "Headline", "Pace", "headline", "pace_of"]

QUIET_SECONDS = 900.0
"""A microscope changes its grid square within a quarter of an hour."""

QUIET_GAPS = 10
"""So many usual gaps without a micrograph are no chance either."""

LAG_SECONDS = 600.0
"""Picks that come so late no longer help to steer the session."""

LATEST = 50
"""Micrographs that "now" means."""

EMPTY_IN_ROW = 10
"""So many micrographs without a pick are no chance."""

FAILED_FRACTION = 0.1
"""Of the latest, from which on failures are no single files any more."""

NO_GPU = "There is no GPU"

Level = Literal["good", "attention", "bad"]


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know, and what to do."""

    level: Level
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the session goes just now."""

    hourly: Hourly
    last_landed_at: float | None = None
    """Unix seconds; None before the first."""
    gap_seconds: float | None = None
    """Usual time between two of the latest micrographs."""
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


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page begins with."""

    level: Level
    sentence: str
    remedy: str
    doing: str
    """What goes on; empty if ``sentence`` says it."""
    others: tuple[Alert, ...]


def pace_of(latest: Sequence[MicrographRow], hourly: Hourly) -> Pace:
    """Return the pace that the latest micrographs (the newest first) show."""
    landed = sorted((row.landed_at for row in latest), reverse=True)
    gaps = [newer - older for newer, older in itertools.pairwise(landed)]
    picked = [row for row in latest if row.pick_count is not None]
    scores = [
        row.quality.median_score
        for row in picked
        if row.quality is not None and row.quality.median_score is not None
    ]
    empty = 0
    for row in picked:
        if row.pick_count:
            break
        empty += 1
    return Pace(
        hourly=hourly,
        last_landed_at=landed[0] if landed else None,
        gap_seconds=median(gaps) if gaps else None,
        picks=median(row.pick_count or 0 for row in picked) if picked else None,
        score=median(scores) if scores else None,
        failed=sum(row.state == "failed" for row in latest),
        latest=len(latest),
        empty_in_row=empty,
    )


def headline(status: Status, health: Health, pace: Pace, *, now: float, folders: str) -> Headline:
    """Return what the page begins with.

    Parameters
    ----------
    status, health, pace
        Of the session.
    now
        Unix seconds.
    folders
        The watched folders, as they are shown.
    """
    alerts = _alerts(status, health, pace, now)
    if not alerts:
        return Headline("good", _doing(status, pace, now, folders), "", "", ())
    first, *others = alerts
    doing = _doing(status, pace, now, folders, halted=first.level == "bad")
    return Headline(first.level, first.sentence, first.remedy, doing, tuple(others))


def _alerts(status: Status, health: Health, pace: Pace, now: float) -> list[Alert]:
    alerts = []
    if not health.ok:
        silent = max(health.seconds_since, key=lambda part: health.seconds_since[part], default="")
        alerts.append(
            Alert(
                "bad",
                f"livepick does not get on: nothing is heard from {silent or 'its parts'} for"
                f" {span(health.seconds_since.get(silent, 0))}.",
                "Look at its log (journalctl -u livepick), and restart it: it loses nothing.",
            )
        )
    alerts += [Alert("bad", p) for p in status.problems if not p.startswith(NO_GPU)]
    lag = now - status.oldest_waiting_at if status.oldest_waiting_at is not None else 0.0
    if lag > LAG_SECONDS:
        waiting = status.counts.queued + status.counts.picking
        alerts.append(
            Alert(
                "attention",
                f"Picking is behind: {waiting} micrographs wait, the oldest for {span(lag)}.",
                "See whether the workers get the machine (a GPU, or more picking.workers).",
            )
        )
    if pace.failed > max(2, FAILED_FRACTION * pace.latest):
        alerts.append(
            Alert(
                "attention",
                f"{pace.failed} of the last {pace.latest} micrographs failed.",
                "Each has its reason and remedy under Failures.",
            )
        )
    if pace.empty_in_row >= EMPTY_IN_ROW:
        alerts.append(
            Alert(
                "attention",
                f"The last {pace.empty_in_row} micrographs have no picks.",
                "Look at them below: empty ice, carbon, or a threshold that is too high?",
            )
        )
    if pace.last_landed_at is not None and not _collecting(pace, now):
        usual = f"; before, one came every {span(pace.gap_seconds)}" if pace.gap_seconds else ""
        alerts.append(
            Alert(
                "attention",
                f"No micrograph has landed for {span(now - pace.last_landed_at)}{usual}.",
                "If the microscope should be collecting, look at it and at motion correction;"
                " if the session is over, all is well.",
            )
        )
    alerts += [
        Alert("attention", p, "It goes on, only slower.")
        for p in status.problems
        if p.startswith(NO_GPU)
    ]
    return alerts


def _doing(status: Status, pace: Pace, now: float, folders: str, *, halted: bool = False) -> str:
    counts = status.counts
    if not counts.total:
        return f"Waiting for the first micrograph in {folders}."
    have = counts.picked + counts.stale
    collecting = _collecting(pace, now)
    waiting = counts.queued + counts.picking + counts.stale
    if halted:
        verb = "Picked so far"
    else:
        verb = "Collecting and picking" if collecting else "Picking" if waiting else "Picked"
    parts = [f"{verb}: {have:,} of {counts.total:,} micrographs"]
    if pace.picks is not None:
        parts.append(f"{pace.picks:.0f} picks a micrograph")
    if status.model is not None:
        trained = "trained on this sample" if status.model.kind == "trained" else "provisional"
        parts.append(f"model {status.model.version} ({trained})")
    return ", ".join(parts) + "."


def _collecting(pace: Pace, now: float) -> bool:
    if pace.last_landed_at is None:
        return False
    patience = max(QUIET_SECONDS, QUIET_GAPS * (pace.gap_seconds or 0))
    return now - pace.last_landed_at < patience


def span(seconds: float) -> str:
    """Return a length of time in words that are short."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"

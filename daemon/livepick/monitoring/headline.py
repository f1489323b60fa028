"""The most important sentence first: what goes on, or what is wrong and what to do.

Pure: a status, a health and a pace go in, words come out. What is bad comes before what wants
attention, and what explains others before them: with the folder gone, no micrograph lands.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, Self

from livepick.config.alert_thresholds import (
    BAD_FRACTION,
    BAD_SINGLE,
    DOUBTFUL_FRACTION,
    DOUBTFUL_SINGLE,
    EMPTY_IN_ROW,
    FAILED_FRACTION,
    FAILED_SINGLE,
    LAG_SECONDS,
    QUIET_GAPS,
    QUIET_SECONDS,
    SESSION_SECONDS,
)
from livepick.ledger.rows import Hourly, MicrographRow
from livepick.monitoring.disk_usage import rooms_of, tight
from livepick.monitoring.health import Health
from livepick.monitoring.problem import Level, Problem
from livepick.monitoring.quality_figures import Reason, main_reason
from livepick.monitoring.status import Status

__all__ = ["Headline", "Pace", "empty_in_row", "headline", "pace_of"]


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


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page begins with."""

    level: Literal["good"] | Level
    sentence: str
    remedy: str
    doing: str
    """What goes on; empty if ``sentence`` says it."""
    others: tuple[Problem, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong, the first first."""
        if self.level == "good":
            return ()
        return (Problem(self.level, self.sentence, self.remedy), *self.others)

    def as_json(self) -> bytes:
        """Return it for other programs."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def of_json(cls, text: bytes) -> Self:
        """Return what ``as_json`` has written.

        Raises
        ------
        ValueError
            It is something else.
        """
        try:
            values = json.loads(text)
            others = tuple(Problem(**other) for other in values.pop("others"))
            return cls(**values, others=others)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no headline: {error}") from error


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
    problems = sorted(_problems(status, health, pace, now), key=lambda p: p.level != "bad")
    if not problems:
        return Headline("good", _doing(status, pace, now, folders), "", "", ())
    first, *others = problems
    doing = _doing(status, pace, now, folders, halted=first.level == "bad")
    return Headline(first.level, first.sentence, first.remedy, doing, tuple(others))


def _problems(status: Status, health: Health, pace: Pace, now: float) -> Iterator[Problem]:
    """Yield what is wrong; of those that are equally grave, what explains others first."""
    if not health.ok:
        yield _silence(health)
    yield from (problem for problem in status.problems if problem.level == "bad")
    yield from tight(rooms_of(status.disks))
    if status.oldest_waiting_at is not None and now - status.oldest_waiting_at > LAG_SECONDS:
        yield _lag(status, now)
    yield from _of_latest(pace)
    if pace.last_landed_at is not None and not _collecting(pace, now):
        usual = f"; before, one came every {span(pace.gap_seconds)}" if pace.gap_seconds else ""
        yield Problem(
            "bad" if now - pace.last_landed_at < SESSION_SECONDS else "attention",
            f"No micrograph has landed for {span(now - pace.last_landed_at)}{usual}.",
            "If the microscope should be collecting, look at it and at motion correction;"
            " if the session is over, all is well.",
        )
    if status.training.state == "failed":
        yield Problem(
            "attention",
            status.training.sentence,
            "Its log, runs/NNNN/trainer.log in the state folder, says more; once it is mended, run"
            " livepick retrain.",
        )
    yield from (problem for problem in status.problems if problem.level == "attention")


def _silence(health: Health) -> Problem:
    silent = max(health.seconds_since, key=lambda part: health.seconds_since[part], default="")
    return Problem(
        "bad",
        f"livepick does not get on: nothing is heard from {silent or 'its parts'} for"
        f" {span(health.seconds_since.get(silent, 0))}.",
        "Look at its log (journalctl -u livepick), and restart it: it loses nothing.",
    )


def _lag(status: Status, now: float) -> Problem:
    """Return what is said of picks that are late: grave if none appear at all."""
    seconds = now - (status.oldest_waiting_at or now)
    waiting = status.counts.queued + status.counts.picking
    if now - (status.last_picked_at or 0.0) > LAG_SECONDS:
        return Problem(
            "bad",
            f"Picking stands still: {waiting} micrographs wait, the oldest for {span(seconds)}.",
            "See what the workers do (top, nvidia-smi) and what the log says (journalctl -u"
            " livepick), and restart livepick: it loses nothing.",
        )
    return Problem(
        "attention",
        f"Picking is behind: {waiting} micrographs wait, the oldest for {span(seconds)}.",
        "See whether the workers get the machine (a GPU, or more picking.workers).",
    )


def _of_latest(pace: Pace) -> Iterator[Problem]:
    """Yield what the latest micrographs have in common."""
    if pace.failed > max(FAILED_SINGLE, FAILED_FRACTION * pace.latest):
        yield Problem(
            "attention",
            f"{pace.failed} of the last {pace.latest} micrographs failed.",
            "Each has its reason and remedy under Failures.",
        )
    if pace.empty_in_row >= EMPTY_IN_ROW:
        yield Problem(
            "attention",
            f"The last {pace.empty_in_row} micrographs have no picks.",
            "Look at them below: empty ice, carbon, or a threshold that is too high?",
        )
    if pace.bad > max(BAD_SINGLE, BAD_FRACTION * pace.judged):
        yield _quality(pace, pace.bad, "bad", pace.why_bad)
    elif pace.bad + pace.doubtful > max(DOUBTFUL_SINGLE, DOUBTFUL_FRACTION * pace.judged):
        words = "bad or doubtful" if pace.bad else "doubtful"
        yield _quality(pace, pace.bad + pace.doubtful, words, pace.why_not_good)


def _quality(pace: Pace, count: int, words: str, why: Reason | None) -> Problem:
    said, remedy = "", "Look at them below: each says why."
    if why is not None:
        begun = ":" if why.count == count else "; the most frequent reason:"
        said, remedy = f"{begun} {why.meaning}", why.remedy
    return Problem(
        "attention", f"{count} of the last {pace.judged} micrographs are {words}{said}.", remedy
    )


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

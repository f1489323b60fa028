"""The most important sentence first: what goes on, or what is wrong and what to do.

Pure: a status, a health and a pace go in, words come out. What is bad comes before what wants
attention, and what explains others before them: with the folder gone, no micrograph lands.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal, Self

from livepick.monitoring.health import Health
from livepick.monitoring.pace import Pace, is_collecting
from livepick.monitoring.problem import Level, Problem
from livepick.monitoring.problem_rules import problems_of
from livepick.monitoring.status import Status

__all__ = ["Headline", "headline"]


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
    problems = sorted(problems_of(status, health, pace, now), key=lambda p: p.level != "bad")
    if not problems:
        return Headline("good", _doing(status, pace, now, folders), "", "", ())
    first, *others = problems
    doing = _doing(status, pace, now, folders, halted=first.level == "bad")
    return Headline(first.level, first.sentence, first.remedy, doing, tuple(others))


def _doing(status: Status, pace: Pace, now: float, folders: str, *, halted: bool = False) -> str:
    counts = status.counts
    if not counts.total:
        return f"Waiting for the first micrograph in {folders}."
    have = counts.picked + counts.stale
    collecting = is_collecting(pace, now)
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

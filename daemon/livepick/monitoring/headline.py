"""Headline of the page: the current activity, or the most important problem and its remedy.

Pure functions from a status, a health and a pace to text. Problems of level ``bad`` come before
those of level ``attention``, and a cause before its effects: if the folder is missing, no
micrograph arrives.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import TypeAdapter

from livepick.config.alert_thresholds import PROBABLY_OVER_SECONDS
from livepick.core.contracts.cluster_view import ClusterView
from livepick.core.formats.header import printable
from livepick.host.foreign_files import parse_json
from livepick.ingest.skipped import SkippedView
from livepick.monitoring.end_status import end_remedy, end_sentence, ending_sentence
from livepick.monitoring.health import Health
from livepick.monitoring.human_units import span
from livepick.monitoring.pace import Pace, is_collecting
from livepick.monitoring.particle_status import particle_sentence
from livepick.monitoring.problem import Kind, Level, Problem
from livepick.monitoring.problem_rules import problems_of
from livepick.monitoring.status import Status

__all__ = ["Headline", "headline"]

_CLUSTER = TypeAdapter(ClusterView)


@dataclass(frozen=True, slots=True)
class Headline:
    """Headline of the page."""

    level: Literal["good"] | Level
    sentence: str
    remedy: str
    doing: str
    """Current activity; empty if ``sentence`` says it."""
    others: tuple[Problem, ...]
    kind: Kind | None
    """Kind of the problem in ``sentence``; None if there is no problem."""
    cluster: ClusterView | None = None
    """The Dask cluster that picks, if one does: not displayed on the page, but for programs."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, the most important first."""
        if self.level == "good" or self.kind is None:
            return ()
        return (Problem(self.kind, self.level, self.sentence, self.remedy), *self.others)

    def as_json(self) -> bytes:
        """Return the headline as JSON for other programs."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def of_json(cls, text: bytes) -> Self:
        """Return the headline from the output of ``as_json``.

        Raises
        ------
        ValueError
            The text is not such JSON.
        """
        try:
            values = parse_json(text)
            others = tuple(Problem(**other) for other in values.pop("others"))
            cluster = values.pop("cluster", None)
            found = cls(**values, others=others)
            _check(found)
            for other in others:
                _check(other)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a headline: {error}") from error
        if cluster is None:
            return found
        return dataclasses.replace(found, cluster=_CLUSTER.validate_python(cluster))


def _check(words: "Headline | Problem") -> None:
    """Raise TypeError if one of the texts of a headline or a problem is not a text."""
    for field in dataclasses.fields(words):
        value = getattr(words, field.name)
        if not isinstance(value, str | tuple | None):
            raise TypeError(f"{field.name} is not a text")


def headline(status: Status, health: Health, pace: Pace, *, now: float, folders: str) -> Headline:
    """Return the headline of the page.

    Parameters
    ----------
    status, health, pace
        State of the session.
    now
        Current time, in unix seconds.
    folders
        Watched folders, as display text.
    """
    problems = sorted(problems_of(status, health, pace, now), key=lambda p: p.level != "bad")
    cluster = status.cluster
    if not problems:
        doing = _doing(status, pace, now, folders)
        remedy = "" if status.end is None else end_remedy(status.end, status.counts)
        return Headline("good", doing, remedy, "", (), kind=None, cluster=cluster)
    first, *others = problems
    doing = _doing(status, pace, now, folders, halted=first.level == "bad")
    return Headline(
        first.level, first.sentence, first.remedy, doing, tuple(others), first.kind, cluster
    )


def _doing(status: Status, pace: Pace, now: float, folders: str, *, halted: bool = False) -> str:
    counts = status.counts
    if status.end is not None:
        return end_sentence(status.end, counts)
    if status.is_ending:
        return ending_sentence(counts, is_training=status.training.state == "training")
    if not counts.total:
        words = [SkippedView.of(one).words for one in status.skipped if one.kind == "waiting"]
        reason = f"; {words[0]}" if words else ""
        if status.awaited:
            missing = " and ".join(map(printable, status.awaited))
            verb = "does" if len(status.awaited) == 1 else "do"
            reason = f"; {missing} {verb} not exist yet{reason}"
        return f"Waiting for the first micrograph in {folders}{reason}."
    have = counts.picked + counts.stale
    particle = status.particle
    if not have and particle is not None and particle.is_automatic and particle.used is None:
        return particle_sentence(particle)
    collecting = is_collecting(pace, now)
    waiting = counts.queued + counts.picking + counts.stale
    if halted:
        verb = "Picked so far"
    else:
        verb = "Collecting and picking" if collecting else "Picking" if waiting else "Picked"
    parts = [f"{verb}: {have:,} of {counts.total:,} micrographs"]
    if pace.picks is not None:
        parts.append(f"{pace.picks:.0f} picks per micrograph")
    if status.model is not None:
        trained = "trained on this sample" if status.model.kind == "trained" else "provisional"
        parts.append(f"model {status.model.version} ({trained})")
    doing = ", ".join(parts) + "."
    silence = None if pace.last_landed_at is None else now - pace.last_landed_at
    if silence is not None and not collecting and silence >= PROBABLY_OVER_SECONDS:
        doing += f" No new micrograph for {span(silence)}: if the session is over, end it (livepick"
        doing += " end CONFIG), or set session.end_after_hours."
    return doing

"""Class averages of the newest picks, in words: what they show, of when they are, and the views.

Every sentence about a result says which time and which micrographs it is of. A result does not
expire: it stays until there is a newer one, with the number of micrographs picked since.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from livepick.classes.making_state import MakingState
from livepick.config.alert_thresholds import (
    CLASS_GOOD_FRACTION,
    CLASS_JUDGED_PARTICLES,
    CLASS_NOISE_FRACTION,
    SESSION_SECONDS,
)
from livepick.core.formats.header import printable
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_rows import ClassAveragesRow
from livepick.monitoring.human_units import span
from livepick.monitoring.problem import Problem

__all__ = [
    "ClassesStatus",
    "class_problems",
    "classes_as_json",
    "classes_sentence",
    "freshness_sentence",
    "noise_sentence",
    "read_classes_status",
    "view_hint",
]


@dataclass(frozen=True, slots=True)
class ClassesStatus:
    """The latest class averages of a session, and what is done about newer ones."""

    latest: ClassAveragesRow | None = None
    """None: there are none yet."""
    landed_first: float | None = None
    """Time when the first of their micrographs landed, in unix seconds."""
    landed_last: float | None = None
    """Time when the last of their micrographs landed, in unix seconds."""
    first_name: str = ""
    last_name: str = ""
    """Names of the first and the last of their micrographs; empty if they are not known."""
    newer: int = 0
    """Number of micrographs with picks that landed after these."""
    model_version: int | None = None
    """Model in use; None if there is none."""
    threshold: float | None = None
    """Threshold of the newest picks; None if there are none."""
    making: MakingState | None = None
    """Work of the running service on newer ones; None without a service."""

    @property
    def is_judged(self) -> bool:
        """True if they have enough particles for a warning."""
        return self.latest is not None and self.latest.particles >= CLASS_JUDGED_PARTICLES


def read_classes_status(ledger: LedgerReader) -> ClassesStatus:
    """Return what the ledger knows about class averages. Raises LedgerError."""
    model = ledger.model()
    version = None if model is None else model.version
    latest = next(iter(ledger.class_averages()), None)
    if latest is None:
        return ClassesStatus(model_version=version)
    first, last = ledger.get(latest.first_id), ledger.get(latest.last_id)
    return ClassesStatus(
        latest,
        landed_first=None if first is None else first.landed_at,
        landed_last=None if last is None else last.landed_at,
        first_name="" if first is None else printable(first.relative.name),
        last_name="" if last is None else printable(last.relative.name),
        newer=ledger.picked_after(latest.last_id),
        model_version=version,
        threshold=newest[0].threshold if (newest := ledger.newest_picked(1)) else None,
    )


def classes_sentence(status: ClassesStatus) -> str:
    """Return what the latest class averages show, and of what they are, as sentences."""
    row = status.latest
    if row is None:
        return _none_yet(status.making)
    when = "" if status.landed_last is None else f", the last of {_date(status.landed_last)}"
    return (
        f"{100 * row.good_fraction:.0f} % of the picks are in class averages that show a particle"
        f" ({row.good_classes} of {row.classes} classes; {row.particles:,} picks of"
        f" {_micrographs(row.micrographs)}{when})."
    )


def noise_sentence(row: ClassAveragesRow | None) -> str:
    """Return that most picks are in class averages like noise, and what to do; empty if not so."""
    if not _is_noise(row):
        return ""
    return (
        f"The class averages of {100 * row.noise_fraction:.0f} % of the picks cannot be told from"
        f" averages of noise. {_NOISE_REMEDY}"
        + ("" if row.particles >= CLASS_JUDGED_PARTICLES else " Those of more picks are clearer.")
    )


_NOISE_REMEDY = (
    "If many picks lie where no particle is, raise picking.threshold. If they lie on particles, the"
    " signal is too weak for class averages: check the dose and the ice, and"
    " particle.diameter_angstrom."
)


def _is_noise(row: ClassAveragesRow | None) -> TypeGuard[ClassAveragesRow]:
    return (
        row is not None
        and row.good_fraction < CLASS_GOOD_FRACTION
        and row.noise_fraction >= CLASS_NOISE_FRACTION
    )


def _none_yet(making: MakingState | None) -> str:
    if making is None or not (making.is_off or making.fault or making.since or making.waits):
        return "Class averages are made as soon as ten micrographs have picks."
    if making.is_off:
        return "Class averages are switched off (class_averages.enabled)."
    if making.fault:
        return f"There are no class averages: {making.fault}. {making.remedy}".strip()
    if making.waits:
        return f"Class averages wait: {making.waits}."
    return "The first class averages are being made."


def freshness_sentence(status: ClassesStatus) -> str:
    """Return how old the latest class averages are, and what is done about it.

    Empty if there are none, or if no micrograph is newer and nothing is done.
    """
    row, making = status.latest, status.making or MakingState()
    if row is None:
        return ""
    parts = []
    if status.newer:
        were = "was" if status.newer == 1 else "were"
        parts.append(f"{_micrographs(status.newer)} {were} picked since")
    if status.model_version is not None and status.model_version != row.model_version:
        parts.append(f"they are of picks by model {row.model_version}")
    elif None not in (row.threshold, status.threshold) and row.threshold != status.threshold:
        parts.append(
            f"they are of picks above {row.threshold:.2f}, and the threshold is"
            f" {status.threshold:.2f} now"
        )
    if making.is_off:
        parts.append("no more are made (class_averages.enabled)")
    elif making.since is not None:
        parts.append("new ones are being made")
    elif making.waits:
        parts.append(f"new ones wait: {making.waits}")
    elif making.fault:
        parts.append(f"new ones cannot be made: {making.fault}")
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def view_hint(row: ClassAveragesRow | None) -> str:
    """Return what the good classes say about the orientation of the particles; empty if nothing."""
    if row is None or row.view_fraction is None:
        return ""
    share = f"{100 * row.view_fraction:.0f} % of the particles in good classes show one view"
    match row.view_state:
        case "one_view":
            return (
                f"{share}. If the particle is not the same from all sides, it prefers an"
                " orientation: consider tilting the stage (20 to 40°), or another support film or"
                " detergent."
            )
        case "round":
            return (
                f"{share}, and it is round. A spherical particle looks like that from all sides; a"
                " barrel or a ring seen only from its end does, too."
            )
        case _:
            return ""


def class_problems(status: ClassesStatus, *, now: float) -> Iterator[Problem]:
    """Yield the problem of few picks in good classes, unless the classes are of another session.

    ``now``: unix seconds.
    """
    row = status.latest
    if row is None or not status.is_judged or row.good_fraction >= CLASS_GOOD_FRACTION:
        return
    if now - row.made_at > SESSION_SECONDS:
        return
    what = (
        f"Only {100 * row.good_fraction:.0f} % of the picks are in class averages that show a"
        f" particle ({_micrographs(row.micrographs)}, {span(max(0.0, now - row.made_at))} ago)."
    )
    if _is_noise(row):
        what += f" Those of {100 * row.noise_fraction:.0f} % cannot be told from averages of noise."
        yield Problem("few_good_classes", "attention", what, _NOISE_REMEDY)
        return
    yield Problem(
        "few_good_classes",
        "attention",
        what,
        "Look at the class averages on the page. Junk among the picks: raise picking.threshold, or"
        " let livepick train. Blurred classes: check particle.diameter_angstrom, and whether the"
        " grid has particles that are whole.",
    )


def classes_as_json(status: ClassesStatus) -> dict[str, Any] | None:
    """Return the latest class averages as JSON-serializable values; None without any."""
    row = status.latest
    if row is None:
        return None
    return {
        "number": row.number,
        "made_at": row.made_at,
        "model_version": row.model_version,
        "threshold": row.threshold,
        "micrographs": row.micrographs,
        "first_micrograph": status.first_name,
        "last_micrograph": status.last_name,
        "landed_last": status.landed_last,
        "newer_micrographs": status.newer,
        "particles": row.particles,
        "good_particles": row.good_particles,
        "good_fraction": row.good_fraction,
        "noise_fraction": row.noise_fraction,
        "classes": row.classes,
        "good_classes": row.good_classes,
        "views": {
            "state": row.view_state,
            "largest_fraction": row.view_fraction,
            "number": row.views,
        },
        "sentence": classes_sentence(status),
        "noise": noise_sentence(row),
        "hint": view_hint(row),
    }


def _micrographs(count: int) -> str:
    return f"{count} micrograph{'' if count == 1 else 's'}"


def _date(at: float) -> str:
    return time.strftime("%d %b %H:%M %z", time.localtime(at))

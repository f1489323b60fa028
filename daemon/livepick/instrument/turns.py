"""Choice of the sessions that pick now.

A session that collects comes before one that is quiet, and of several the one that began last: its
user is at the microscope. A quiet session with work left, such as micrographs that arrived while
another one was picked, comes before one that may still train a model, and that before one without
work. A session that only has to write its closing report does not wait for a turn; one of these
runs beside the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Candidate", "choose"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session that is not over."""

    name: str
    found_at: float
    """Time when it began, in unix seconds."""
    newest_at: float | None
    """Time when the last file came into its folder, in unix seconds; None: there is none."""
    has_work: bool
    """True if it has micrographs to pick, trains, or can be ended."""
    is_running: bool
    is_closing: bool = False
    """True if it is to be ended, and only its report is left to do."""
    may_train: bool = False
    """True if no model was trained on its micrographs."""


def choose(
    candidates: Sequence[Candidate], *, at_once: int, quiet_seconds: float, now: float
) -> list[str]:
    """Return the names of the sessions that run now, the most important first.

    There are at most ``at_once``, and one more if a session is to be closed.
    """

    def rank(each: Candidate) -> tuple[int, float, bool, float, str]:
        collects = each.newest_at is not None and now - each.newest_at < quiet_seconds
        group = 0 if collects else 1 if each.has_work else 2 if each.may_train else 3
        return (group, -each.found_at, not each.is_running, -(each.newest_at or 0.0), each.name)

    ordered = sorted(candidates, key=rank)
    closing = [each for each in ordered[at_once:] if each.is_closing]
    closing.sort(key=lambda each: not each.is_running)
    return [each.name for each in (*ordered[:at_once], *closing[:1])]

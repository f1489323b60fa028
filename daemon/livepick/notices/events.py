"""Events of a session that are worth a notice. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from livepick.monitoring.class_status import classes_sentence
from livepick.monitoring.end_status import end_remedy, end_sentence
from livepick.monitoring.headline import Headline
from livepick.monitoring.problem import Kind
from livepick.monitoring.status import Status

__all__ = ["Notice", "events_of"]

QUALITY: tuple[Kind, ...] = ("poor_quality", "few_good_classes", "drift", "no_picks")
"""Problems that say that the quality of micrographs or picks fell."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message."""

    key: str
    """Kind of the event. There is at most one of each in a session."""
    subject: str
    body: str
    is_bad: bool = False


def events_of(status: Status, top: Headline) -> Iterator[Notice]:
    """Yield a notice for each event that has happened by now."""
    if status.classes.latest is not None:
        yield Notice("first_classes", "first class averages", classes_sentence(status.classes))
    if status.model is not None and status.model.kind == "trained":
        sentence = f"Model {status.model.version}, trained on this sample, picks from now on."
        yield Notice("model_ready", "a trained model picks", f"{sentence} {status.verdict}".strip())
    for problem in top.problems:
        words = f"{problem.sentence} {problem.remedy}".strip()
        if problem.kind == "disk_full":
            yield Notice("disk", "a disk is nearly full", words, is_bad=problem.level == "bad")
        elif problem.kind in QUALITY:
            yield Notice("quality", "the quality fell", words)
        elif problem.level == "bad":
            yield Notice(f"problem {problem.kind}", "livepick needs help", words, is_bad=True)
    if status.end is not None:
        words = f"{end_sentence(status.end, status.counts)}"
        words += f" {end_remedy(status.end, status.counts)}"
        yield Notice("session_over", "the session is over", words)

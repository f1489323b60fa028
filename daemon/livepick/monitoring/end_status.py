"""Headline of a session that is ending or over."""

from livepick.ledger.rows import Counts
from livepick.ledger.session_end import SessionEnd
from livepick.monitoring.human_units import clock

__all__ = ["end_remedy", "end_sentence", "ending_sentence", "how_it_ended"]


def how_it_ended(end: SessionEnd) -> str:
    """Return by whom or what a session was ended."""
    if end.reason == "idle":
        return "ended by itself, as no more micrographs came"
    return f"ended by {end.by}" if end.by else "ended by a person who edited its config"


def end_sentence(end: SessionEnd, counts: Counts) -> str:
    """Return the sentence that heads the page of a session that is over."""
    return (
        f"Session over since {clock(end.at)} ({how_it_ended(end)}): {counts.picked:,} of"
        f" {counts.total:,}"
        " micrographs picked."
    )


def end_remedy(end: SessionEnd, counts: Counts) -> str:
    """Return where the report is, what has landed since, and how to reopen the session."""
    parts = []
    if end.report is not None:
        parts.append(f"Report: {end.report}.")
    elif end.report_fault:
        parts.append(f"The report was not written: {end.report_fault.rstrip('.')}.")
    waiting = counts.queued + counts.picking
    if since := max(0, waiting - end.left):
        was = "micrograph has" if since == 1 else "micrographs have"
        parts.append(f"{since:,} {was} landed since, and will not be picked.")
    if end.left:
        was = "micrograph was" if end.left == 1 else "micrographs were"
        parts.append(f"{end.left:,} {was} left without picks.")
    how = "" if end.reason == "person" else "The next micrograph reopens it, or "
    reopen = "livepick end --undo CONFIG" + (" does." if how else " reopens it.")
    return " ".join([*parts, how + reopen])


def ending_sentence(counts: Counts, *, is_training: bool) -> str:
    """Return the sentence that heads the page of a session that is ending."""
    waiting = counts.queued + counts.picking + counts.stale
    if waiting:
        left = f"{waiting:,} micrograph{'' if waiting == 1 else 's'} will still be picked"
    elif is_training:
        left = "the training in progress is finished first"
    else:
        left = "the closing report is being written"
    return f"The session is ending: {left}."

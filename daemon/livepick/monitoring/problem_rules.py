"""Rules that turn the state of a session into problems for the operator."""

from collections.abc import Iterator

from livepick.config.alert_thresholds import (
    BAD_FRACTION,
    BAD_SINGLE,
    CTF_FITS,
    CTF_NOT_TRUSTED_FRACTION,
    DOUBTFUL_FRACTION,
    DOUBTFUL_SINGLE,
    EMPTY_IN_ROW,
    FAILED_FRACTION,
    FAILED_SINGLE,
    LAG_SECONDS,
    PROBABLY_OVER_SECONDS,
    SESSION_SECONDS,
    UNREADABLE,
)
from livepick.ingest.skipped import SkippedView
from livepick.monitoring.class_status import class_problems
from livepick.monitoring.disk_usage import disk_problems, disk_usages
from livepick.monitoring.health import Health
from livepick.monitoring.human_units import span
from livepick.monitoring.pace import Pace, is_collecting
from livepick.monitoring.particle_status import particle_problems
from livepick.monitoring.problem import Kind, Problem
from livepick.monitoring.quality_figures import Reason
from livepick.monitoring.status import Status

UNTAKEN = ("link", "empty", "not_included", "excluded", "product", "stack", "other_format")
"""Kinds of files left out that are a fault if there is no micrograph at all."""

AFTER_THE_END: tuple[Kind, ...] = (
    "config_refused",
    "ledger_not_writable",
    "notices_not_sent",
    "unexpected_errors",
    "web_config_refused",
    "web_insecure",
)
"""Problems of a session that is over; all others are about its micrographs, or pass by."""

SEE_LOG = "See the log (journalctl -u livepick)"


def problems_of(status: Status, health: Health, pace: Pace, now: float) -> Iterator[Problem]:
    """Yield the current problems; within a level, causes come before their effects.

    Problems of the latest micrographs end six hours after the last one came or was picked, as their
    alerts do: until then somebody may act on them. A session that is over has none of them.
    """
    if not health.ok:
        yield _not_responding(health)
    if status.end is not None:
        yield from (problem for problem in status.problems if problem.kind in AFTER_THE_END)
        return
    yield from (problem for problem in status.problems if problem.level == "bad")
    particle = list(particle_problems(status.particle, now=now))
    yield from (problem for problem in particle if problem.level == "bad")
    yield from disk_problems(disk_usages(status.disks))
    if status.oldest_waiting_at is not None and now - status.oldest_waiting_at > LAG_SECONDS:
        yield _lag(status, now)
    yield from (problem for problem in particle if problem.level == "attention")
    yield from _files_left_out(status)
    if now - max(pace.last_landed_at or 0.0, status.last_picked_at or 0.0) < SESSION_SECONDS:
        yield from _of_latest(pace)
    if (silence := _silence_seconds(pace, now)) and silence < PROBABLY_OVER_SECONDS:
        usual = f"; before that, one every {span(pace.gap_seconds)}" if pace.gap_seconds else ""
        yield Problem(
            "no_new_micrographs",
            "attention",
            f"No new micrograph for {span(silence)}{usual}.",
            "If the microscope should be collecting, check it and the motion correction."
            " If the session is over, end it: livepick end CONFIG.",
        )
    yield from class_problems(status.classes, now=now)
    if status.training.state == "failed":
        yield Problem(
            "training_failed",
            "attention",
            status.training.sentence,
            "See runs/NNNN/trainer.log in the state folder. Once the cause is fixed, run"
            " livepick retrain.",
        )
    yield from (problem for problem in status.problems if problem.level == "attention")


def _silence_seconds(pace: Pace, now: float) -> float:
    """Return the time since the last micrograph, if it is longer than usual; 0: it is not."""
    if pace.last_landed_at is None or is_collecting(pace, now):
        return 0.0
    return now - pace.last_landed_at


def _not_responding(health: Health) -> Problem:
    silent = max(health.seconds_since, key=lambda part: health.seconds_since[part], default="")
    return Problem(
        "service_not_responding",
        "bad",
        f"livepick is not responding: no heartbeat from {silent or 'its threads'} for"
        f" {span(health.seconds_since.get(silent, 0))}.",
        f"{SEE_LOG}, then restart it. Nothing is lost.",
    )


def _lag(status: Status, now: float) -> Problem:
    """Return the problem for delayed picks: level ``bad`` if no picks appear at all."""
    seconds = now - (status.oldest_waiting_at or now)
    count = status.counts.queued + status.counts.picking
    waiting = "1 micrograph is" if count == 1 else f"{count} micrographs are"
    if now - (status.last_picked_at or 0.0) > LAG_SECONDS:
        return Problem(
            "picking_stopped",
            "bad",
            f"Picking has stopped: {waiting} waiting, the oldest for {span(seconds)}.",
            f"Check the workers (top, nvidia-smi). {SEE_LOG}, then restart livepick. Nothing is"
            " lost.",
        )
    return Problem(
        "picking_behind",
        "attention",
        f"Picking is falling behind: {waiting} waiting, the oldest for {span(seconds)}.",
        "Check the load of the machine (top, nvidia-smi). A GPU or more picking.workers would"
        " help.",
    )


def _files_left_out(status: Status) -> Iterator[Problem]:
    """Yield the problem of files that cannot be read or, if nothing is taken, of any left out."""
    nothing = status.counts.total == 0
    kinds = (*UNREADABLE, *UNTAKEN) if nothing else UNREADABLE
    files = [files for files in status.skipped if files.kind in kinds]
    if not files:
        return
    view = SkippedView.of(max(files, key=lambda one: one.count))
    begun = "There is no micrograph yet, but files were" if nothing else "Files were"
    yield Problem("files_left_out", "attention", f"{begun} left out: {view.words}.", view.remedy)


def _of_latest(pace: Pace) -> Iterator[Problem]:
    """Yield the problems of the latest micrographs as a group."""
    if pace.failed > max(FAILED_SINGLE, FAILED_FRACTION * pace.latest):
        yield Problem(
            "many_failures",
            "attention",
            f"{pace.failed} of the last {pace.latest} micrographs failed.",
            "See the reasons and remedies under Failures.",
        )
    if pace.empty_in_row >= EMPTY_IN_ROW:
        yield Problem(
            "no_picks",
            "attention",
            f"The last {pace.empty_in_row} micrographs have no picks.",
            "Look at them below: empty ice, carbon film, or a threshold that is too high?",
        )
    if pace.bad > max(BAD_SINGLE, BAD_FRACTION * pace.judged):
        yield _quality(pace, pace.bad, "bad", pace.why_bad)
    elif pace.bad + pace.doubtful > max(DOUBTFUL_SINGLE, DOUBTFUL_FRACTION * pace.judged):
        words = "bad or doubtful" if pace.bad else "doubtful"
        yield _quality(pace, pace.bad + pace.doubtful, words, pace.why_not_good)
    yield from _ctf(pace)


def _ctf(pace: Pace) -> Iterator[Problem]:
    """Yield the problem of CTF fits that do not hold."""
    if pace.ctf_fits < CTF_FITS:
        return
    if pace.ctf_not_trusted > CTF_NOT_TRUSTED_FRACTION * pace.ctf_fits:
        yield Problem(
            "ctf_not_trusted",
            "attention",
            f"The CTF fit does not hold for {pace.ctf_not_trusted} of the last {pace.ctf_fits}"
            f" micrographs; most often: {pace.why_not_trusted}.",
            "Empty holes, thick ice or drift? Check microscope.voltage_kv and the pixel size, too."
            " With a phase plate, or a dose too low for Thon rings, set micrograph.ctf to off.",
        )


def _quality(pace: Pace, count: int, words: str, why: Reason | None) -> Problem:
    reason, remedy = "", "Look at them below; each shows its reason."
    if why is not None:
        begun = ":" if why.count == count else "; most often:"
        reason, remedy = f"{begun} {why.meaning}", why.remedy
    return Problem(
        "poor_quality",
        "attention",
        f"{count} of the last {pace.judged} micrographs are {words}{reason}.",
        remedy,
    )

"""Sessions of an instrument as the overview and ``livepick list`` show them."""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from livepick.config.instrument_config import Instrument
from livepick.errors import ConfigError, PortsTakenError, SessionStateError
from livepick.instrument.session_folders import Listing
from livepick.instrument.session_record import STATES, Cause, SessionRecord, SessionState

__all__ = ["WORDS", "Level", "SessionView", "Snapshot", "printable", "view_of"]

Level = Literal["good", "attention", "bad"]

WORDS: Final[dict[SessionState, str]] = {
    "picking": "picking",
    "starting": "starting",
    "stopping": "stopping",
    "not_responding": "not responding",
    "waiting": "waiting",
    "crashed": "crashed",
    "config_fault": "config fault",
    "over": "over",
    "old": "not picked",
    "incomplete": "no micrographs yet",
    "gone": "folder gone",
    "unreadable": "not readable",
    "same": "link",
}
"""States in words."""

Words = tuple[Level, str, str]
"""Level of a problem, a sentence, and a remedy."""

HANGS_SECONDS = 60.0
"""A search that takes longer is reported."""


def printable(text: object) -> str:
    """Return a text in which what is not printable is escaped."""
    raw = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in raw)


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session."""

    name: str
    folder: str
    state: SessionState
    level: Level
    sentence: str
    """Current activity, or the reason why there is none."""
    remedy: str
    found_at: float
    newest_at: float | None
    """Time when the last file came into its folder, in unix seconds."""
    picked: int | None = None
    waiting: int | None = None
    failed: int | None = None
    particles: int | None = None
    picked_last_hour: int | None = None
    good_share: float | None = None
    """Share of the picks that are in class averages that show a particle, 0 to 1."""
    good_micrographs: float | None = None
    """Share of the micrographs that are good, 0 to 1."""
    model: str = ""
    disk_free_bytes: int | None = None
    disk_is_low: bool = False
    port: int | None = None
    """Port of its page; None: it is not to run now."""
    has_page: bool = False
    """True if its page answers."""
    has_report: bool = False
    config: str = ""
    """Its config file."""
    ended_at: float | None = None
    not_picked: Cause | None = None
    """Why it is not picked until somebody acts; None: it is, or need not be."""
    is_refused: bool = False
    """True if its ``livepick.yaml`` or a change for it has a fault, so that its last good config
    stays in use."""
    waits_for_turn: bool = False
    """True if it collects, and others pick."""

    @property
    def folder_name(self) -> str:
        """Name of its folder, from which its own name may differ."""
        return self.folder.rpartition("/")[2]

    @property
    def words(self) -> str:
        """Its state in words."""
        return WORDS[self.state]

    def as_json(self) -> dict[str, Any]:
        """Return the session as JSON-serializable values. Scripts rely on this format."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All sessions of an instrument at one time."""

    instrument: str
    at: float
    """Unix seconds."""
    level: Level
    sentence: str
    remedy: str = ""
    sessions: tuple[SessionView, ...] = ()
    """The newest first."""
    hidden: int = 0
    """Number of folders that are no sessions: of the system, or with a dot before their name."""
    counts: dict[SessionState, int] = field(default_factory=dict)
    """Number of sessions in each state."""
    root_is_away: bool = False
    """True if the folder of the sessions cannot be listed, has vanished, or does not answer."""

    @classmethod
    def of(
        cls,
        instrument: Instrument,
        views: Sequence[SessionView],
        *,
        listing: Listing | None,
        was_there: bool = False,
        hangs_seconds: float = 0.0,
        fault: ConfigError | None = None,
    ) -> "Snapshot":
        """Return a snapshot, with a headline that says what matters most.

        Parameters
        ----------
        instrument, views
            The instrument, and its sessions.
        listing
            Result of the last search; None: there was none yet.
        was_there
            True if an earlier search has found the folder of the sessions.
        hangs_seconds
            Duration of the search under way.
        fault
            Fault of the instrument's config, for which the previous one stays in use.
        """
        ordered = tuple(sorted(views, key=lambda view: (-view.found_at, view.name)))
        found = Counter(view.state for view in ordered)
        counts = {state: found[state] for state in STATES}
        level, sentence, remedy = (
            _fault(listing, hangs_seconds, fault, was_there=was_there)
            or _worst(ordered)
            or _activity(ordered)
        )
        return cls(
            instrument.name,
            time.time(),
            level,
            sentence,
            remedy,
            ordered,
            hidden=0 if listing is None else listing.hidden,
            counts=counts,
            root_is_away=hangs_seconds > HANGS_SECONDS or _is_away(listing, was_there=was_there),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the snapshot as JSON-serializable values. Scripts rely on this format."""
        return {
            "instrument": self.instrument,
            "at": self.at,
            "headline": {"level": self.level, "sentence": self.sentence, "remedy": self.remedy},
            "counts": self.counts,
            "sessions": [view.as_json() for view in self.sessions],
        }


def _fault(
    listing: Listing | None, hangs_seconds: float, fault: ConfigError | None, *, was_there: bool
) -> Words | None:
    """Return what is wrong with the config or the folder of all sessions; None: nothing."""
    if fault is not None:
        what = f"The config was not applied, and the previous one stays in use: {fault.what}"
        return "bad", what, fault.remedy
    if hangs_seconds > HANGS_SECONDS:
        return (
            "bad",
            f"The folder of the sessions has not answered for {hangs_seconds / 60:.0f} min.",
            "Its file server may hang. Sessions that pick now go on as far as they can.",
        )
    if listing is None:
        return "good", "The first search for sessions is under way.", ""
    if not listing.fault:
        return None
    return _root_fault(listing, was_there=was_there)


def _root_fault(listing: Listing, *, was_there: bool) -> Words:
    """Return why the folder of the sessions cannot be listed; before it exists, that is calm."""
    root = printable(listing.root)
    if not listing.is_missing:
        what = f"{root} cannot be listed: {listing.fault}."
        return "bad", what, "Give livepick's user the right to read it."
    if was_there:
        remedy = "Check the mount. Sessions that pick now go on as soon as it is back."
        return "bad", f"{root} has vanished.", remedy
    what = f"{root} does not exist yet. Sessions are found as soon as it does."
    return "good", what, "If it should be there, check the mount."


def _is_away(listing: Listing | None, *, was_there: bool) -> bool:
    """Return True if the folder of the sessions cannot be used, although it was there before."""
    return listing is not None and bool(listing.fault) and (was_there or not listing.is_missing)


def _worst(views: Sequence[SessionView]) -> Words | None:
    """Return the problem of the newest session that has a severe one; None: there is none."""
    ill = [view for view in views if view.level == "bad"]
    if not ill:
        return None
    others = f" ({len(ill) - 1} more below)" if len(ill) > 1 else ""
    return "bad", f"{ill[0].name}{others}: {ill[0].sentence}", ill[0].remedy


def _activity(views: Sequence[SessionView]) -> Words:
    """Return what the sessions do."""
    picking = [view.name for view in views if view.state in ("picking", "starting")]
    waiting = sum(view.state == "waiting" for view in views)
    over = sum(view.state == "over" for view in views)
    if not picking and not waiting:
        count = f"; {over} {'is' if over == 1 else 'are'} over" if over else ""
        return "good", f"No session is open{count}. A new folder becomes a session by itself.", ""
    verb = "picks" if len(picking) == 1 else "pick"
    parts = [f"{' and '.join(picking[:3])} {verb}"] if picking else []
    parts += [f"{waiting} wait{'s' if waiting == 1 else ''}"] if waiting else []
    parts += [f"{over} {'is' if over == 1 else 'are'} over"] if over else []
    return "good", f"{', '.join(parts)}.", ""


def view_of(
    record: SessionRecord,
    *,
    is_paused: bool = False,
    chosen: Sequence[str] | None = (),
    quiet_seconds: float = 0.0,
) -> SessionView:
    """Return what is shown of one session.

    Parameters
    ----------
    record
        The session.
    is_paused
        True while the pause after a crash lasts.
    chosen
        Names of the sessions that pick now; None: the service of the instrument does not run.
    quiet_seconds
        Time without a micrograph after which a session does not collect any more.
    """
    state = record.state(is_paused=is_paused)
    level, sentence, remedy = _words(record, state, chosen)
    seen, summary = record.sighting, record.summary
    quality = _number_of(summary.get("quality"))
    disk = summary.get("disk") if isinstance(summary.get("disk"), dict) else None
    model = summary.get("model") if isinstance(summary.get("model"), dict) else None
    return SessionView(
        name=record.name,
        folder=printable(seen.place.folder),
        state=state,
        level=level,
        sentence=sentence,
        remedy=remedy,
        found_at=record.found_at,
        newest_at=record.newest_at,
        picked=summary.get("picked"),
        waiting=summary.get("waiting"),
        failed=summary.get("failed"),
        particles=summary.get("particles"),
        picked_last_hour=summary.get("picked_last_hour") if record.process is not None else None,
        good_share=summary.get("class_good_fraction"),
        good_micrographs=quality,
        model="" if model is None else f"{model.get('version')} {model.get('kind')}",
        disk_free_bytes=None if disk is None else disk.get("free_bytes"),
        disk_is_low=bool(disk and disk.get("is_low")),
        port=seen.place.port if _should_run(record, state) else None,
        has_page=record.process is not None and record.answered_at is not None,
        has_report=seen.end is not None and seen.end.report is not None,
        config=printable(record.config_path),
        ended_at=None if seen.end is None else seen.end.at,
        not_picked=record.not_picked(is_paused=is_paused),
        is_refused=_is_refused(seen.override_fault) and state not in ("config_fault", "over"),
        waits_for_turn=state == "waiting"
        and chosen is not None
        and bool(chosen)
        and record.name not in chosen
        and time.time() - (record.newest_at or 0.0) < quiet_seconds,
    )


def _is_refused(fault: ConfigError | None) -> bool:
    """Return True for a fault of what people have written."""
    return fault is not None and not isinstance(fault, PortsTakenError | SessionStateError)


def _should_run(record: SessionRecord, state: SessionState) -> bool:
    """Return True if Prometheus is to scrape a session: it runs, or is kept from it."""
    is_kept = state in ("crashed", "config_fault")
    return record.sighting.place.port > 0 and (record.process is not None or is_kept)


def _number_of(quality: object) -> float | None:
    """Return the share of good micrographs."""
    if not isinstance(quality, dict) or not sum(quality.values()):
        return None
    return float(quality.get("good", 0)) / sum(quality.values())


def _words(record: SessionRecord, state: SessionState, chosen: Sequence[str] | None) -> Words:
    """Return how serious a state is, what it means, and what to do."""
    fault = record.sighting.override_fault
    if state == "config_fault":
        return _config_fault(record)
    if state == "crashed":
        return (
            "bad",
            f"It ended unexpectedly: {record.reason}.",
            "It is started again by itself; see the log for the cause.",
        )
    if state == "not_responding":
        remedy = "It is started again by itself if this lasts; see the log."
        return "bad", "Its page does not answer.", remedy
    level, sentence, remedy = (
        _reported(record) if state == "picking" else ("good", *_calm(record, state, chosen))
    )
    if fault is not None and level == "good":
        return "attention", f"Its last good config stays in use: {fault.what}", fault.remedy
    return level, sentence, remedy


def _reported(record: SessionRecord) -> Words:
    """Return the headline of the session's own page."""
    top = record.summary.get("headline")
    top = top if isinstance(top, dict) else {}
    sentence, remedy = str(top.get("sentence", "")), str(top.get("remedy", ""))
    match top.get("level"):
        case "bad":
            return "bad", sentence, remedy
        case "attention":
            return "attention", sentence, remedy
    return "good", sentence, remedy


def _config_fault(record: SessionRecord) -> Words:
    error = record.sighting.config_fault or record.sighting.override_fault
    if error is not None:
        return "bad", error.what, error.remedy
    remedy = f"{record.remedy} Its config is {printable(record.config_path)}.".strip()
    return "bad", f"{record.reason.rstrip('.')}.", remedy


def _calm(
    record: SessionRecord, state: SessionState, chosen: Sequence[str] | None
) -> tuple[str, str]:
    """Return what a state means that needs nobody, and what can be done about it."""
    found = record.sighting.found
    detail = "" if found is None else printable(found.detail)
    said = "" if record.process is None else record.process.notify.sentence
    waits = ""
    if chosen is None:
        waits = "It is picked once the service runs."
    elif chosen and record.name not in chosen:
        waits = f"It waits for {' and '.join(chosen)} (sessions.at_once)."
    words: dict[SessionState, tuple[str, str]] = {
        "starting": (f"It is {said}." if said else "It is starting.", ""),
        "stopping": ("It stops.", ""),
        "waiting": (waits or "It is picked next.", ""),
        "over": _over(record),
        "old": (
            "It has old files only, and is not picked until a micrograph lands in it.",
            f"To pick it: livepick new CONFIG {record.name}",
        ),
        "gone": ("Its folder was removed or renamed.", "Its picks and its state are kept."),
        "unreadable": (
            f"Its folder cannot be read: {detail}.",
            "Give livepick's user the right to read it."
            if found is not None and found.state == "denied"
            else "Rename the folder; it is picked then.",
        ),
        "same": (f"It is not picked: {detail}.", ""),
        "incomplete": (f"{detail}.", ""),
    }
    return words.get(state, ("", ""))


def _over(record: SessionRecord) -> tuple[str, str]:
    end = record.sighting.end
    if end is None:
        return "It is over.", ""
    by = "by itself" if end.reason == "idle" else f"by {end.by}" if end.by else "by a person"
    late = (record.newest_at or 0.0) > end.at and end.reason == "person"
    more = " Files have come since then, which are not picked." if late else ""
    undo = f"To continue it: livepick end --undo CONFIG {record.name}" if late else ""
    return f"It was ended {by}.{more}", undo

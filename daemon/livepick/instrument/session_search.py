"""The thread that finds sessions and writes their configs.

It is a thread of its own because the folders are usually on a network file system, which may hang:
the sessions that run, the watchdog and the overview go on meanwhile.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from livepick.config.instrument_config import Instrument, Place, load_instrument, session_text
from livepick.config.reload import FileStamp, file_stamp
from livepick.config.schema import WrittenConfig
from livepick.config.session_config_file import SESSION_CONFIG, write_session_config
from livepick.config.sessions_section import PLACEHOLDER, SESSION_FILE, folder_above
from livepick.errors import (
    ConfigError,
    LedgerError,
    LivepickError,
    SessionStateError,
)
from livepick.instrument.session_configs import SessionConfigs, known_sessions
from livepick.instrument.session_folders import FoundSession, Listing, SessionFolders
from livepick.instrument.session_names import session_name
from livepick.ledger.session_end import SessionEnd, read_session_end

__all__ = [
    "Look",
    "SessionSearch",
    "Sighting",
    "end_of",
    "place_of",
    "search_once",
]

SETTLE_SECONDS = 1.0
"""Time for which a file that people edit must not change before it is read."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A session as the last search has seen it."""

    place: Place
    found: FoundSession | None
    """None: the folder has gone; only the state folder is there."""
    is_known: bool
    """True if it has a config, so that it is picked or was."""
    config: WrittenConfig | None = None
    """Its config; None if it has none, or a fault."""
    config_fault: ConfigError | None = None
    """Fault of its config, so that it cannot be picked."""
    override_fault: ConfigError | None = None
    """Fault of ``livepick.yaml`` or of the instrument's config, which keeps the last good config
    in use."""
    end: SessionEnd | None = None
    """End of the session; None: it is not over."""

    @property
    def name(self) -> str:
        """Name of the session."""
        return self.place.name


@dataclass(frozen=True, slots=True)
class Look:
    """Result of one search."""

    listing: Listing
    sightings: tuple[Sighting, ...]
    at: float
    """Time when it ended, on the monotonic clock."""


def place_of(instrument: Instrument, folders: SessionFolders, found: FoundSession) -> Place:
    """Return the place of a session without its port, which is 0."""
    sessions = instrument.sessions
    raw = folders.name_of(found.folder)
    name = session_name(raw)
    root = folder_above(sessions.pattern)

    def filled(pattern: Path) -> Path:
        inside = folder_above(pattern) == root
        return Path(str(pattern).replace(PLACEHOLDER, raw if inside else name))

    return Place(
        name, found.folder, found.directory, filled(sessions.state), filled(sessions.output), 0
    )


def end_of(state: Path, name: str) -> SessionEnd | None:
    """Return how a session ended; None if it is not over, or if that cannot be read."""
    try:
        return read_session_end(state, name)
    except LedgerError:  # its own process says so
        return None


class SessionSearch:
    """Finds sessions again and again, in a thread.

    Parameters
    ----------
    instrument
        Settings of the instrument.
    seen
        Called with each result, in the thread.
    writes
        False to change nothing, for a command that only shows what is there.
    """

    def __init__(
        self, instrument: Instrument, seen: Callable[[Look], None], *, writes: bool = True
    ) -> None:
        self.instrument = instrument
        """Settings in use; another thread may replace them."""
        self._seen = seen
        self._folders = SessionFolders(instrument.sessions.pattern)
        self._wake = threading.Event()
        self._writes = writes
        self._configs = SessionConfigs()
        self._said: dict[Path, str] = {}
        self._faults: dict[Path, ConfigError | None] = {}
        self._stamps: dict[Path, tuple[FileStamp, ...]] = {}
        self._waits_for_edit = False
        self.began_at: float | None = None
        """Time when the search under way began, on the monotonic clock; None: none is."""

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="session search", daemon=True).start()

    def soon(self) -> None:
        """Search again at once."""
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            self._waits_for_edit = False
            self.began_at = time.monotonic()
            try:
                self._seen(self.look())
            except Exception:  # noqa: BLE001 - the next search may succeed
                _log.exception("sessions: the search failed; it is repeated")
            self.began_at = None
            pause = self.instrument.sessions.rescan_seconds
            self._wake.wait(min(pause, SETTLE_SECONDS) if self._waits_for_edit else pause)

    def look(self) -> Look:
        """Search now, and write the configs of the sessions that are to be picked."""
        instrument = self.instrument
        listing = self._folders.search()
        known = known_sessions(instrument)
        taken: dict[str, Path] = {}
        sightings = []
        for found in listing.sessions:
            place = place_of(instrument, self._folders, found)
            if place.name in taken:
                detail = f"its name leads to that of {taken[place.name].name}"
                found = replace(found, state="same", detail=detail)  # noqa: PLW2901
                place = replace(place, name=f"{place.name}~{found.folder.name}"[:100])
            taken[place.name] = found.folder
            sightings.append(self._one(instrument, place, found, is_known=place.state in known))
        present = {each.place.state for each in sightings}
        sightings += [self._gone(instrument, state) for state in known if state not in present]
        return Look(listing, tuple(sightings), time.monotonic())

    def _one(
        self, instrument: Instrument, place: Place, found: FoundSession, *, is_known: bool
    ) -> Sighting:
        """Return what is seen of one session; whatever goes wrong is a fault of it alone."""
        try:
            return self._sighting(instrument, place, found, is_known=is_known)
        except Exception as error:  # noqa: BLE001 - the others must be found
            words = f"{type(error).__name__}: {error}"
            fault = SessionStateError(
                f"{place.state} cannot be used: {words}", "Check its permissions."
            )
            self._say(place, fault, has_config=False)
            return Sighting(place, found, is_known=True, config_fault=fault)

    def begin(self, found: FoundSession) -> Sighting:
        """Write the config of a session whatever its age, and return it."""
        place = place_of(self.instrument, self._folders, found)
        return self._sighting(self.instrument, place, found, is_known=True)

    def _sighting(
        self, instrument: Instrument, place: Place, found: FoundSession, *, is_known: bool
    ) -> Sighting:
        if found.state != "ready":
            seen = Sighting(place, found, is_known)
            return self._read(seen) if is_known else seen
        if not is_known and not _is_recent(found, instrument.sessions.ignore_older_than_hours):
            return Sighting(place, found, is_known=False)
        # The config of a session that is over stays, unless it could not go on with its port.
        is_over = end_of(place.state, place.name) is not None
        may_write = not is_over or self._configs.has_port_of_another(instrument, place.state)
        override_fault = None
        if self._writes and may_write:
            if self._is_settled(place):
                self._faults[place.state] = self._write(instrument, place)
            override_fault = self._faults.get(place.state)
        seen = self._read(Sighting(place, found, is_known=True, override_fault=override_fault))
        self._say(place, override_fault, has_config=seen.config is not None)
        if seen.config is None and override_fault is not None and seen.config_fault is None:
            return replace(seen, config_fault=override_fault)
        return seen

    def _is_settled(self, place: Place) -> bool:
        """Return True unless a file that people edit has changed since the last search.

        It may be half written, above all on a file server: half of its settings would be merged.
        """
        now = _stamps(place)
        before = self._stamps.get(place.state)
        self._stamps[place.state] = now
        is_settled = before in (None, now)
        self._waits_for_edit |= not is_settled
        return is_settled

    def _write(self, instrument: Instrument, place: Place) -> ConfigError | None:
        """Write or merge the config of a session; its folders and its port stay as they are.

        A fault is returned.
        """
        path = place.state / SESSION_CONFIG
        try:
            port = self._configs.port_for(instrument, place.state)
            merged = write_session_config(
                place.state, session_text(instrument, replace(place, port=port))
            )
        except ConfigError as error:
            return error
        self._stamps[place.state] = _stamps(place)
        if merged.changed:
            _log.info("%s: %s changed in %s", place.name, ", ".join(merged.changed), path)
        if merged.kept:
            _log.info("%s: %s stay as edited in %s", place.name, ", ".join(merged.kept), path)
        return None

    def _say(self, place: Place, fault: LivepickError | None, *, has_config: bool) -> None:
        """Log a fault once."""
        words = "" if fault is None else str(fault)
        if words and self._said.get(place.state) != words:
            effect = "its last good config stays in use" if has_config else "it cannot be picked"
            _log.error("%s: %s: %s", place.name, effect, words)
        self._said[place.state] = words

    def _read(self, seen: Sighting) -> Sighting:
        """Return a sighting with what the state folder says."""
        state = seen.place.state
        path = state / SESSION_CONFIG
        end = end_of(state, seen.name)
        if not path.exists():
            return replace(seen, end=end)
        try:
            config = self._configs.load(path)
        except ConfigError as error:
            return replace(seen, end=end, config_fault=error)
        if config.state.directory != state:
            fault = ConfigError(
                f"{path}: state.directory is {config.state.directory}",
                f"It must stay {state}: livepick looks for the session there.",
            )
            return replace(seen, end=end, config_fault=fault)
        place = replace(
            seen.place,
            directory=config.watch.directories[0],
            output=config.output.directory,
            port=config.web.port,
        )
        return replace(seen, place=place, config=config, end=end)

    def _gone(self, instrument: Instrument, state: Path) -> Sighting:
        """Return a session of which only the state folder is there."""
        named = Path(str(instrument.sessions.pattern).replace(PLACEHOLDER, state.name))
        seen = self._read(
            Sighting(Place(state.name, named, named, state, state, 0), None, is_known=True)
        )
        if seen.config is None:
            return seen
        levels = len(instrument.sessions.pattern.parts) - len(
            folder_above(instrument.sessions.pattern).parts
        )
        folder = seen.place.directory
        for _ in range(levels - 1):
            folder = folder.parent
        return replace(
            seen, place=replace(seen.place, name=seen.config.session.name, folder=folder)
        )


def _stamps(place: Place) -> tuple[FileStamp, ...]:
    """Return the states of the files of a session that people edit."""
    edited = (place.folder / SESSION_FILE, place.state / SESSION_CONFIG)
    return tuple(file_stamp(path) for path in edited)


def _is_recent(found: FoundSession, hours: float | None) -> bool:
    newest_at = found.newest_at if found.newest_at is not None else found.changed_at
    return hours is None or time.time() - newest_at < hours * 3600


def search_once(path: Path) -> Look:
    """Return what a search finds now, for commands."""
    return SessionSearch(load_instrument(path), lambda _: None, writes=False).look()

"""The service of an instrument: finds its sessions, and runs a process for each that picks now.

::

    session search (thread) ──Look──► main thread ──starts, stops──► livepick run SESSION (process)
                                       │      ▲ ends, notifications, logs ─────┘        │
                                       ▼      └── figures (thread per process) ─────────┘
                                    overview (thread): page, metrics, targets

A process for each session, and not one for all: a crash, a hang or a full memory of one session
touches no other; a session that is over gives back all memory and the GPU; and a session is the
same program that a single config has, with the same page, ledger and tests. Children are used
instead of units of systemd because they need no rights on the service manager, run in a container
as well, and share the limits and the log of one unit.

A killed supervisor takes its sessions with it (``host.run_with_parent``); the next start finds all
sessions again by their folders.
"""

import dataclasses
import logging
import queue
import signal
import time
from pathlib import Path
from types import FrameType

from livepick.config.instrument_config import Instrument, load_instrument
from livepick.config.reload import ConfigFile, compare, file_stamp
from livepick.config.session_config_file import SESSION_CONFIG
from livepick.config.sessions_section import folder_above
from livepick.errors import EXIT_CONFIG, ConfigError
from livepick.host.lock import StateLock
from livepick.host.systemd import Systemd, machine_is_stopping
from livepick.instrument.figures import FigureReader
from livepick.instrument.notify_socket import NotifySockets
from livepick.instrument.overview import Overview
from livepick.instrument.session_configs import known_sessions
from livepick.instrument.session_process import STOP_SECONDS, SessionProcess
from livepick.instrument.session_record import SessionRecord, read_summary, save_summary
from livepick.instrument.session_search import Look, SessionSearch, Sighting, end_of
from livepick.instrument.session_view import Snapshot, view_of
from livepick.instrument.turns import choose

__all__ = ["SessionSupervisor"]

TICK_SECONDS = 0.5

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 600.0
"""First and longest pause before a session is started again after a crash; it doubles."""

STEADY_SECONDS = 600.0
"""A session that has run for this long has no crash behind it."""

SCRAPE_SECONDS = 20.0
"""Longest time that a stop waits for Prometheus to see that it is on purpose."""

SAVE_SECONDS = 60.0
"""Time between two savings of the figures of a session that picks."""

_log = logging.getLogger(__name__)


class SessionSupervisor:
    """Runs the sessions of one instrument.

    Parameters
    ----------
    instrument
        Settings of the instrument.
    config_file
        File that they were read from; its edits are applied.
    systemd
        Service manager to report to.

    Raises
    ------
    BusyError
        Another supervisor uses the folder above the state folders.
    ConfigError
        The address of the overview cannot be used.
    """

    def __init__(self, instrument: Instrument, config_file: ConfigFile, systemd: Systemd) -> None:
        self._instrument = instrument
        self._config_file = config_file
        self._systemd = systemd
        self._root = folder_above(instrument.sessions.state)
        self._lock = StateLock(self._root / "sessions")
        self._looks: queue.SimpleQueue[Look] = queue.SimpleQueue()
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._search = SessionSearch(instrument, self._looks.put)
        self._sockets = NotifySockets()
        self._figures = FigureReader()
        self._records: dict[Path, SessionRecord] = {}
        self._look: Look | None = None
        # Sessions that are known were in it: after a restart without its mount, it has vanished.
        self._root_was_there = bool(known_sessions(instrument))
        self._config_error: ConfigError | None = None
        self._saved_at = time.monotonic()
        self._overview = Overview(instrument, self._root)
        self._chosen: list[str] = []

    def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._overview.start()
        self._search.start()
        self._systemd.ready()
        _log.info(
            "%s: ready, sessions in %s", self._instrument.name, self._instrument.sessions.pattern
        )
        try:
            while self._is_wanted():
                self._tick()
        finally:
            self._systemd.stopping()
            give_up = time.monotonic() + SCRAPE_SECONDS
            if not machine_is_stopping():  # after a restart of it, the service may not come back
                self._overview.say_stopped()
            self._stop_all()
            while self._overview.waits_for_scrape and time.monotonic() < give_up:
                time.sleep(0.1)
            self._overview.stop()
            self._sockets.close()
            self._lock.release()
        _log.info("%s: stopped", self._instrument.name)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.put(number)

    def _is_wanted(self) -> bool:
        """Wait for a tick, and handle signals; return False if one says to stop."""
        try:
            number = self._signals.get(timeout=TICK_SECONDS)
        except queue.Empty:
            return True
        if number == signal.SIGHUP:
            self._config_file.take()
            self._reload()
            for record in self._running():
                if record.process is not None:
                    record.process.reload()
            self._search.soon()
            return True
        _log.info("%s: stopping", signal.Signals(number).name)
        return False

    def _tick(self) -> None:
        if self._config_file.is_due():
            self._reload()
        while not self._looks.empty():
            self._take(self._looks.get())
        for record in list(self._records.values()):
            self._watch(record)
        self._figures.take(self._records.values())
        self._give_turns()
        self._save()
        snapshot = self._snapshot()
        states = {record.name: state for state, record in self._records.items()}
        self._overview.show(snapshot, states, is_applied=self._config_error is None)
        self._systemd.status(snapshot.sentence)
        self._systemd.alive()

    # --- what the search has found -----------------------------------------------------------

    def _take(self, look: Look) -> None:
        """Use the result of a search. If the folder cannot be listed, no session is gone."""
        self._look = look
        self._root_was_there |= not look.listing.is_missing
        if look.listing.fault and self._records:
            look = Look(look.listing, tuple(map(self._as_before, look.sightings)), look.at)
        states = {seen.place.state for seen in look.sightings}
        for seen in look.sightings:
            record = self._records.get(seen.place.state)
            if record is None:
                self._records[seen.place.state] = self._new(seen)
            else:
                record.sighting = seen
        for state, record in list(self._records.items()):
            if state not in states and record.process is None:
                del self._records[state]

    def _as_before(self, seen: Sighting) -> Sighting:
        record = self._records.get(seen.place.state)
        return seen if record is None or seen.found is not None else record.sighting

    def _new(self, seen: Sighting) -> SessionRecord:
        summary, at, found_at = read_summary(seen.place.state)
        if found_at is None:
            changed_at = time.time() if seen.found is None else seen.found.changed_at
            found_at = min(time.time(), changed_at or time.time())
        record = SessionRecord(seen, found_at, summary=summary, summary_at=at)
        if seen.is_known and seen.end is None:
            _log.info("%s: found in %s", seen.name, seen.place.folder)
        elif seen.found is not None and seen.found.state == "ready" and seen.end is None:
            _log.info("%s: old, not picked unless a micrograph lands in it", seen.name)
        return record

    # --- processes ---------------------------------------------------------------------------

    def _running(self) -> list[SessionRecord]:
        return [record for record in self._records.values() if record.process is not None]

    def _give_turns(self) -> None:
        """Start the sessions that pick now, and stop the others."""
        sessions, now = self._instrument.sessions, time.time()
        for record in self._records.values():
            if record.is_refused and record.refused != self._stamp(record):
                record.is_refused = False
        able = [record for record in self._records.values() if record.can_run]
        by_name = {record.name: record for record in able}
        self._chosen = choose(
            [
                record.candidate(now, sessions.end_after_hours)
                for record in able
                if record.process is not None or time.monotonic() >= record.start_after
            ],
            at_once=sessions.at_once,
            quiet_seconds=sessions.quiet_minutes * 60,
            now=now,
        )
        for record in self._running():
            process = record.process
            if process is None or process.stop_at is not None:
                continue
            if record.is_over:
                continue  # it ends by itself
            if record.name not in self._chosen:
                verb = "picks" if len(self._chosen) == 1 else "pick"
                _log.info("%s: stops; %s %s now", record.name, " and ".join(self._chosen), verb)
                process.stop()
            elif self._needs_restart(record):
                _log.info("%s: starts again, because a setting needs it", record.name)
                process.stop()
        free = max(sessions.at_once, len(self._chosen)) - len(self._running())
        for name in self._chosen:
            if free > 0 and by_name[name].process is None:
                self._start(by_name[name])
                free -= 1

    def _needs_restart(self, record: SessionRecord) -> bool:
        config, used = record.sighting.config, record.config_used
        if config is None or used is None or config == used:
            return False
        changes = compare(used, config)
        if any(change.effect == "restart" for change in changes):
            return True
        record.config_used = config
        return False

    def _start(self, record: SessionRecord) -> None:
        place, config = record.sighting.place, record.sighting.config
        path = place.state / SESSION_CONFIG
        record.config_used, record.answered_at = config, None
        try:
            record.process = SessionProcess(record.name, path, self._sockets.make())
        except OSError as error:  # no memory, or no processes left
            self._crashed(record, f"it could not be started: {error.strerror}")
            return
        _log.info("%s: started as process %d", record.name, record.process.pid)
        self._figures.follow(place.state, record.process)

    def _watch(self, record: SessionRecord) -> None:
        """Notice the end of a process."""
        process = record.process
        if process is None:
            return
        process.watch()
        status = process.ended()
        if status is None:
            if record.crashes and time.monotonic() - process.started_at > STEADY_SECONDS:
                record.crashes = 0
            return
        record.process = None
        process.close()
        self._figures.forget(record.sighting.place.state)
        end = end_of(record.sighting.place.state, record.name)
        record.sighting = dataclasses.replace(record.sighting, end=end)
        if record.summary:
            save_summary(record)
        if end is not None and status == 0:
            record.crashes = 0
            record.over_checked_at = time.time() - (time.monotonic() - process.started_at)
            _log.info("%s: over", record.name)
        elif process.stop_at is not None and not process.is_hung:
            record.crashes = 0
        elif status == EXIT_CONFIG:
            record.is_refused, record.refused = True, self._stamp(record)
            record.reason, record.remedy = process.reason(), process.remedy()
            _log.error("%s: %s", record.name, record.reason)
        else:
            self._crashed(record, process.reason())
        self._search.soon()

    def _crashed(self, record: SessionRecord, reason: str) -> None:
        pause = min(PAUSE_SECONDS * 2**record.crashes, LONGEST_PAUSE_SECONDS)
        record.crashes += 1
        record.reason = reason
        record.start_after = time.monotonic() + pause
        self._overview.count_crash()
        _log.error(
            "%s: ended unexpectedly (%s); started again in %.0f s", record.name, reason, pause
        )

    def _stop_all(self) -> None:
        for record in self._running():
            if record.process is not None:
                record.process.stop()
        give_up = time.monotonic() + STOP_SECONDS + 2
        while (running := self._running()) and time.monotonic() < give_up:
            self._systemd.alive()
            for record in running:
                self._watch(record)
            time.sleep(0.05)
        for record in self._running():
            if record.process is not None:
                record.process.kill()

    @staticmethod
    def _stamp(record: SessionRecord) -> tuple[int, int, int] | None:
        return file_stamp(record.sighting.place.state / SESSION_CONFIG)

    # --- config and overview -----------------------------------------------------------------

    def _reload(self) -> None:
        """Apply an edit of the instrument's config, as a whole or not at all."""
        self._systemd.reloading()
        try:
            fresh = load_instrument(self._config_file.path)
            _refuse_restart(self._instrument, fresh)
        except ConfigError as error:
            self._config_error = error
            _log.error("reload: failed, the previous config stays in use: %s", error)
        else:
            self._config_error = None
            self._instrument = self._search.instrument = fresh
            self._search.soon()
            _log.info("reload: %s is in use", fresh.path)
        self._systemd.ready()

    def _save(self) -> None:
        now = time.monotonic()
        if now - self._saved_at < SAVE_SECONDS:
            return
        self._saved_at = now
        for record in self._running():
            if record.summary:
                save_summary(record)

    def _snapshot(self) -> Snapshot:
        since = self._search.began_at
        now = time.monotonic()
        views = [
            view_of(
                record,
                is_paused=now < record.start_after,
                chosen=self._chosen,
                quiet_seconds=self._instrument.sessions.quiet_minutes * 60,
            )
            for record in self._records.values()
        ]
        return Snapshot.of(
            self._instrument,
            views,
            listing=None if self._look is None else self._look.listing,
            was_there=self._root_was_there,
            hangs_seconds=0.0 if since is None else now - since,
            fault=self._config_error,
        )


def _refuse_restart(old: Instrument, new: Instrument) -> None:
    """Raise ConfigError if a setting has changed that is read only at the start."""
    late = [
        f"sessions.{name}"
        for name in ("pattern", "state", "ports", "external_url")
        if getattr(old.sessions, name) != getattr(new.sessions, name)
    ]
    late += ["web"] if old.web != new.web else []
    late += ["overview.instruments"] if old.overview != new.overview else []
    if late:
        raise ConfigError(
            f"{new.path} needs a restart for {', '.join(late)}",
            "Restart the service, or undo the change.",
        )

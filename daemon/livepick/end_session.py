"""The end of a session: when it is over, and the steps from there to a service at rest.

::

    open ──► ending ──► closing report ──► session_end.json ──► over
      ▲         │              │                                 │
      └─────────┴──── undone ──┴──────────── reopened ───────────┘

A person ends it (``session.ended``), or it ends by itself (``session.end_after_hours``). While it
is ending, what has landed is picked, a training in progress is finished, and no other one begins.
Each step can be taken again: a service that is killed between two steps goes on at its next start.

The file ``session_end.json`` decides. A service that finds it starts no workers; it watches the
folders, counts what lands, and serves its page.
"""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from livepick.config.schema import WrittenConfig
from livepick.config.sections import Session as SessionSettings
from livepick.host.run_with_parent import with_parent
from livepick.ingest.watch_health import WatchHealth
from livepick.ledger.history import SESSION_ENDED, SESSION_REOPENED, Event, History
from livepick.ledger.session_end import (
    EndReason,
    SessionEnd,
    read_session_end,
    remove_session_end,
    write_session_end,
)
from livepick.ledger.session_end_queries import SessionEndQueries
from livepick.ledger.writer import LedgerWriter

__all__ = ["ReportWriter", "SessionEnding", "record_end", "session_is_over"]

PATIENCE_SECONDS = 900.0
"""A session that is ending does not wait for micrographs if nothing has happened for this long: the
particle may be unknown, the folder gone, or the output folder full."""

SCAN_SECONDS = 120.0
"""Maximum time that it waits for a listing of the folders that began after it was to end."""

LOOK_SECONDS = 30.0
"""Longest time between two looks for a session that ends by itself."""

REPORT_SECONDS = 1800.0
"""Time limit of the closing report, which reads twelve micrographs."""

QUIET_SECONDS = 3.0
"""After a start of a service that is to exit if the session is over: time from the first listing of
the folders until what it has found is in the ledger."""

Turn = Literal["ended", "reopened"]
"""Next step of the service: rest, exit, or start again."""

_log = logging.getLogger(__name__)


def session_is_over(written: WrittenConfig, ledger: LedgerWriter) -> SessionEnd | None:
    """Return the end of the session, which this start keeps; None if it is not over.

    One that was reopened is recorded as such. To be called before the ledger has another writer.

    Raises
    ------
    LedgerWriteError
        The state folder cannot be written to.
    """
    state, name = written.state.directory, written.session.name
    history = History(ledger.database)
    end = read_session_end(state, name)
    if end is None:
        last = history.last_of(SESSION_ENDED, SESSION_REOPENED)
        session = ledger.reader.session()
        is_same = session is not None and last is not None and last.at >= session.started_at
        if is_same and last is not None and last.kind == SESSION_ENDED:
            _reopen(history, last.at, "a person asked for it")
        remove_session_end(state)  # of another session in this state folder, or damaged
        return None
    record_end(history, end)
    why = _why_reopened(end, written.session, SessionEndQueries(ledger.database))
    if why is None:
        return end
    _reopen(history, end.at, why)
    remove_session_end(state)
    return None


def record_end(history: History, end: SessionEnd) -> None:
    """Add an end to the history; one that is there already is not added again.

    Raises
    ------
    LedgerWriteError
        Writing to the ledger failed.
    """
    how = "no new micrograph for a long time" if end.reason == "idle" else "a person ended it"
    event = Event(end.at, SESSION_ENDED, f"The session ended: {how}.", end.by or "")
    history.add(event, key=f"{SESSION_ENDED} {end.at:.6f}")


def _reopen(history: History, ended_at: float, why: str) -> None:
    _log.info("session: reopened: %s", why)
    event = Event(time.time(), SESSION_REOPENED, f"The session was reopened: {why}.")
    history.add(event, key=f"{SESSION_REOPENED} {ended_at:.6f}")


def _why_reopened(
    end: SessionEnd, settings: SessionSettings, queries: SessionEndQueries
) -> str | None:
    """Return why a session is not over any more; None if it still is."""
    if settings.ended:
        return None
    if end.reason == "person":
        return "session.ended is false again"
    return "a micrograph has landed" if queries.has_landed_since(end.at) else None


class ReportWriter:
    """Writes the closing report in a process of its own, as ``livepick report`` does.

    Parameters
    ----------
    config
        The config file.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: subprocess.Popen[str] | None = None
        self._give_up = 0.0

    def turn(self, end: SessionEnd) -> tuple[Path | None, str] | None:
        """Begin to write, or look if it is written.

        Parameters
        ----------
        end
            The end of the session, which the report says on top.

        Returns
        -------
        tuple or None
            The file and an empty text, or None and the fault; None while it is being written.
        """
        if self._process is None:
            words = ["report", "--end", json.dumps(end.as_json()), str(self._config)]
            command = with_parent([sys.executable, "-m", "livepick", *words])
            try:
                self._process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            except OSError as error:
                return None, error.strerror or str(error)
            self._give_up = time.monotonic() + REPORT_SECONDS
        if self._process.poll() is None:
            if time.monotonic() < self._give_up:
                return None
            self.stop()
            return None, f"it took longer than {REPORT_SECONDS / 60:.0f} minutes"
        process, self._process = self._process, None
        out, err = process.communicate()
        place = out.strip().rpartition(" (")[0]
        if place:
            return Path(place), ""
        lines = [line.removeprefix("livepick: ").strip() for line in err.splitlines() if line]
        return None, ". ".join(lines[-2:]) or f"status {process.returncode}"

    def stop(self) -> None:
        """End the process, if there is one. What it has written is complete, or is not there."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class SessionEnding:
    """Takes the steps to the end of a session, and notices that it was reopened.

    For the main thread, except for ``is_ending``.

    Parameters
    ----------
    settings
        Returns the settings of the session that apply now.
    state
        The state folder.
    end
        End of the session, if it is over already.
    ledger
        Read-only queries.
    watching
        Returns the health of watching.
    scan
        Asks for a listing of the folders now.
    is_training
        Returns True while a training runs.
    changes
        Returns a number that changes with each write to the ledger.
    report
        Writes the closing report.
    exits
        True if the service is to exit once the session is over.
    clock
        Monotonic clock, in seconds.
    """

    def __init__(
        self,
        settings: Callable[[], SessionSettings],
        state: Path,
        *,
        end: SessionEnd | None,
        ledger: SessionEndQueries,
        watching: Callable[[], WatchHealth],
        scan: Callable[[], None],
        is_training: Callable[[], bool],
        changes: Callable[[], int],
        report: ReportWriter,
        exits: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._state = state
        self.end = end
        """End of the session; None if it is not over."""
        self._ledger = ledger
        self._watching = watching
        self._scan = scan
        self._is_training = is_training
        self._changes = changes
        self._report = report
        self._exits = exits
        self._clock = clock
        self._began_at = time.time()
        self._reason: EndReason | None = None
        self._wanted_at = 0.0
        self._wanted_clock = 0.0
        self._progress: tuple[int, float] | None = None
        self._closing: SessionEnd | None = None
        self._written: tuple[Path | None, str] | None = None
        self._look_clock = float("-inf")
        self._quiet_since: float | None = None

    @property
    def is_ending(self) -> bool:
        """True from the moment at which the session is to end, until it is over."""
        return self._reason is not None and self.end is None

    def training_waits(self) -> str | None:
        """Return why no training may begin; None if one may."""
        return "the session is ending" if self.is_ending else None

    def turn(self) -> Turn | None:
        """Take the next step; call it every second.

        Raises
        ------
        LedgerError
            The ledger cannot be read, or the state folder cannot be written to.
        """
        if self.end is not None:
            return self._turn_over(self.end)
        wish = self._wish()
        if wish != self._reason:
            self._change_to(wish)
        if wish is None or (wish == "person" and not self._is_done()):
            return None
        end = self._closing = self._closing or self._end_now(wish)
        if self._written is None:
            self._written = self._report.turn(end)
            if self._written is None:
                return None
            if self._written[1]:
                _log.error("session: the closing report was not written: %s", self._written[1])
        report, fault = self._written
        end = replace(end, report=report, report_fault=fault, left=self._ledger.waiting())
        write_session_end(self._state, end)
        self.end = end
        _log.info("session %s: over (%s); report: %s", end.session, wish, report or fault)
        return "ended"

    def _end_now(self, reason: EndReason) -> SessionEnd:
        settings = self._settings()
        by = settings.ended_by if reason == "person" else None
        return SessionEnd(settings.name, time.time(), reason, by, left=self._ledger.waiting())

    def stop(self) -> None:
        """End what is in progress; it is done again at the next start."""
        self._report.stop()

    # ---- before the end ------------------------------------------------------------------------

    def _change_to(self, wish: EndReason | None) -> None:
        if wish is None:
            _log.info("session: it goes on")
            self._report.stop()
        elif self._reason is None:
            _log.info("session: ending (%s)", wish)
        self._reason, self._progress, self._closing, self._written = wish, None, None, None
        self._wanted_at, self._wanted_clock = time.time(), self._clock()
        if wish == "person":
            self._scan()

    def _wish(self) -> EndReason | None:
        settings = self._settings()
        if settings.ended:
            return "person"
        if settings.end_after_hours is None:
            return None
        quiet_seconds = 3600 * settings.end_after_hours
        now = self._clock()
        if self._reason is None and now < self._look_clock:
            return None
        self._look_clock = now + min(LOOK_SECONDS, quiet_seconds / 4)
        return "idle" if self._is_idle(quiet_seconds) else None

    def _is_idle(self, quiet_seconds: float) -> bool:
        """Return True if nothing has landed for so long, and nothing is left to do."""
        watching = self._watching()
        has_seen_all = (
            _listed_since(watching, self._began_at)
            and watching.watching == 0
            and all(folder.available for folder in watching.folders)
        )
        if not has_seen_all or self._is_training():
            return False
        last = self._ledger.last_event_at()
        return (
            last is not None
            and time.time() - last >= quiet_seconds
            and self._ledger.picked() > 0
            and self._ledger.waiting() == 0
        )

    def _is_done(self) -> bool:
        """Return True if all that has landed is picked, or cannot be."""
        if self._is_training():
            self._progress = None
            return False
        now, changes = self._clock(), self._changes()
        if self._progress is None or self._progress[0] != changes:
            self._progress = (changes, now)
        watching = self._watching()
        has_waited = now - self._wanted_clock > SCAN_SECONDS
        if not has_waited and not _listed_since(watching, self._wanted_at):
            return False
        if watching.watching == 0 and self._ledger.waiting() == 0:
            return True
        return now - self._progress[1] > PATIENCE_SECONDS

    # ---- after the end -------------------------------------------------------------------------

    def _turn_over(self, end: SessionEnd) -> Turn | None:
        settings = self._settings()
        if read_session_end(self._state, end.session) is None:
            if not settings.ended:
                return "reopened"
            write_session_end(self._state, end)
        if _why_reopened(end, settings, self._ledger) is not None:
            return "reopened"
        if end.reason == "idle" and settings.ended:  # a person agrees: nothing reopens it now
            by = settings.ended_by
            self.end = SessionEnd(
                end.session, end.at, "person", by, end.report, end.report_fault, end.left
            )
            write_session_end(self._state, self.end)
        if self._exits and (settings.ended or self._is_quiet()):
            return "ended"
        return None

    def _is_quiet(self) -> bool:
        """Return True if the folders have been listed, and what was found is in the ledger."""
        watching = self._watching()
        gone = all(folder.available is False for folder in watching.folders)
        if not gone and (watching.watching or not _listed_since(watching, self._began_at)):
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = self._clock()
        return self._clock() - self._quiet_since > QUIET_SECONDS


def _listed_since(watching: WatchHealth, at: float) -> bool:
    """Return True if the last listing of the folders began after a time in unix seconds."""
    return watching.last_scan_at - watching.last_scan_seconds > at

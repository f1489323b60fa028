"""The program that is called for each micrograph whose picks are written (``output.on_picked``).

The dispatch thread has the queue; each call has a thread of its own, so a program that hangs delays
nothing but other calls. The queue holds the numbers of micrographs, each once: one that is picked
again while it waits is described once, as it is then, and two calls for one micrograph never run at
the same time. So the queue is never longer than the session, and nothing is dropped.

The ledger keeps the time up to which all calls have ended. After a restart, also after a kill, the
program is called for every micrograph picked since then: perhaps twice, but none is left out. A
call that fails is not repeated.
"""

import json
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from livepick.core.contracts.bundle import PROVISIONAL_KINDS
from livepick.core.formats.header import printable
from livepick.errors import LedgerError
from livepick.host.program import Program
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.rows import MicrographRow
from livepick.ledger.session_rows import Called
from livepick.ledger.writer import LedgerWriter
from livepick.picking.finality import Finality
from livepick.picking.instruments import CallInstruments, CallOutcome

__all__ = ["Description", "OnPicked", "description"]

STOP_SECONDS = 1.5
"""Time that running programs get at a stop."""

KILLED_SECONDS = 0.3
"""Time in which a killed program should end."""

RECORD_SECONDS = 1.0
"""Shortest interval between updates of the ledger and the gauge."""

Description = Mapping[str, object]
"""Input of the program: one JSON object."""

_REMEDIES: dict[CallOutcome, str] = {
    "failure": "What it printed is in this log",
    "timeout": "Make it faster, or raise output.on_picked_timeout_seconds",
    "not_started": "Run livepick check as the service's user",
}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Call:
    """A call in progress."""

    micrograph: Path
    recorded_from: float
    """Unix seconds; the picks were recorded then or a little later."""
    thread: threading.Thread | None = None
    program: Program | None = None
    detail: str = ""
    """Outcome, in words that follow the name of the program."""
    outcome: CallOutcome | None = None
    """Outcome. None: still running. It is set last."""


class OnPicked:
    """Calls the program. For the dispatch thread.

    Parameters
    ----------
    command
        The program and its arguments.
    parallel
        Maximum number of calls at a time.
    timeout_seconds
        Time after which a call is killed.
    ledger
        Source of the micrographs; keeps the time up to which all calls have ended.
    describe
        Function that returns what the program reads about a micrograph, given if its picks are
        final.
    finality
        Tells which picks are final.
    instruments
        Metrics to update.
    wake
        Called in another thread when a call has ended, so that the next one starts soon.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        parallel: int,
        timeout_seconds: float,
        ledger: LedgerWriter,
        describe: Callable[[MicrographRow, bool], Description],
        finality: Finality,
        instruments: CallInstruments,
        wake: Callable[[], None],
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._unexpected = unexpected or UnexpectedErrors()
        self._command = command
        self._parallel = parallel
        self._timeout_seconds = timeout_seconds
        self._ledger = ledger
        self._describe = describe
        self._finality = finality
        self._instruments = instruments
        self._wake = wake
        self._waiting: dict[int, float] = {}
        self._running: dict[int, _Call] = {}
        self._logged: set[CallOutcome] = set()
        self._picked_until = 0.0
        self._told_final = False
        self._recorded_at = float("-inf")

    def begin(self) -> None:
        """Queue the micrographs whose calls had not ended when the service did."""
        called = self._ledger.reader.called()
        self._picked_until, self._told_final = called.until, called.final
        self._waiting.update(self._ledger.reader.picked_since(called.until))
        self._queue_final()
        if self._waiting:
            _log.info("on_picked: called for %d micrographs picked before", len(self._waiting))

    def picked(self, micrograph_id: int, recorded_from: float) -> None:
        """Queue a micrograph whose picks were recorded between ``recorded_from`` and now."""
        self._waiting.pop(micrograph_id, None)  # it goes to the end
        self._waiting[micrograph_id] = recorded_from
        self._picked_until = time.time()

    def turn(self) -> None:
        """Record the calls that have ended, and start as many as may run.

        Raises
        ------
        LedgerWriteError
            Writing to the ledger failed.
        """
        self._collect()
        self._queue_final()
        while len(self._running) < self._parallel:
            ready = (number for number in self._waiting if number not in self._running)
            micrograph_id = next(ready, None)
            if micrograph_id is None:
                break
            row = self._ledger.reader.get(micrograph_id)
            if row is not None and row.pick_count is not None:
                with self._unexpected.passing_over("on_picked", printable(row.relative)):
                    self._start(row, self._waiting[micrograph_id])
            del self._waiting[micrograph_id]
        if time.monotonic() - self._recorded_at >= RECORD_SECONDS:
            self._record()

    def stop(self) -> None:
        """Give running calls a moment, and kill the rest; the next start repeats those."""
        self._join(STOP_SECONDS)
        self._collect()
        left = len(self._running) + len(self._waiting)
        for call in self._running.values():
            if call.program is not None:
                call.program.kill()
        self._join(KILLED_SECONDS)
        try:
            self._record()
        except LedgerError as error:  # the next start repeats more calls than it must
            _log.error("ledger: %s", error)
        if left:
            _log.info("on_picked: %d micrographs are called for after the next start", left)

    def _queue_final(self) -> None:
        """Queue the micrographs whose provisional picks have become final."""
        is_final = self._finality.no_better_to_come()
        if is_final and not self._told_final:
            provisional = self._ledger.reader.picked_since(0.0, kinds=PROVISIONAL_KINDS)
            self._waiting = dict(provisional) | self._waiting
        self._told_final = is_final

    def _start(self, row: MicrographRow, recorded_from: float) -> None:
        final = self._finality.is_final(row.model_kind)
        data = json.dumps(self._describe(row, final)).encode() + b"\n"
        call = _Call(row.relative, recorded_from)
        call.thread = threading.Thread(
            target=self._run, args=(call, data), name="on_picked", daemon=True
        )
        call.thread.start()
        self._running[row.id] = call

    def _run(self, call: _Call, data: bytes) -> None:
        """Run the program in the thread of a call."""
        try:
            call.program = Program(self._command)
            status = call.program.finish(data, timeout_seconds=self._timeout_seconds)
            call.detail = f"ended with status {status}"
            call.outcome = "failure" if status else "success"
        except subprocess.TimeoutExpired:
            call.detail = f"was killed after {self._timeout_seconds:g} s"
            call.outcome = "timeout"
        except (OSError, ValueError) as error:
            call.detail = f"could not be started: {error}"
            call.outcome = "not_started"
        except Exception as error:  # noqa: BLE001 - otherwise this call would never end
            self._unexpected.passed_over("on_picked", printable(call.micrograph), error)
            call.detail = f"was given up: {error}"
            call.outcome = "failure"
        self._wake()

    def _collect(self) -> None:
        """Count the calls that have ended; a failure is logged once of each kind."""
        for number, call in list(self._running.items()):
            if call.outcome is None:
                continue
            del self._running[number]
            self._instruments.call_ended(call.outcome)
            if call.outcome != "success" and call.outcome not in self._logged:
                self._logged.add(call.outcome)
                _log.warning(
                    "%s: on_picked: %s %s. %s; other such failures are counted only",
                    call.micrograph,
                    self._command[0],
                    call.detail,
                    _REMEDIES[call.outcome],
                )

    def _record(self) -> None:
        running = (call.recorded_from for call in self._running.values())
        until = min([*self._waiting.values(), *running], default=self._picked_until)
        self._ledger.session.called(Called(until, self._told_final))
        self._instruments.calls_waiting(len(self._waiting))
        self._recorded_at = time.monotonic()

    def _join(self, seconds: float) -> None:
        """Wait until all running calls have ended, but no longer than this."""
        give_up = time.monotonic() + seconds
        for call in self._running.values():
            if call.thread is not None:
                call.thread.join(max(0.0, give_up - time.monotonic()))


def description(
    row: MicrographRow,
    *,
    session: str,
    coordinates: Mapping[str, Path],
    diameter_angstrom: float,
    final: bool,
    page: str,
) -> Description:
    """Return what the program reads about a micrograph.

    Parameters
    ----------
    row
        The micrograph.
    session
        Name of the session.
    coordinates
        Coordinates files of the micrograph by format.
    diameter_angstrom
        Diameter of the particle.
    final
        True if no better picks are to come.
    page
        URL of livepick's page, with a slash at the end.
    """
    height_px, width_px = row.shape_px or (None, None)
    return {
        "session": session,
        "micrograph": str(row.root / row.relative),
        "coordinates": {name: str(path) for name, path in coordinates.items()},
        "pick_count": row.pick_count,
        "threshold": row.threshold,
        "diameter_angstrom": diameter_angstrom,
        "pixel_size_angstrom": row.pixel_size_angstrom,
        "width_px": width_px,
        "height_px": height_px,
        "model_version": row.model_version,
        "model_kind": row.model_kind,
        "final": final,
        "verdict": row.quality_verdict,
        "reason": row.quality_reason,
        "picked_at": row.picked_at,
        "thumbnail": None,
        "thumbnail_url": f"{page}micrographs/{row.id}/thumbnail.png",
    }

"""The dispatch loop: ledger → engine → output folder → ledger. It is the only writer of all three.

Every other thread reports to it by putting a message into the inbox. The loop keeps the engine full
of the most urgent micrographs; ``take_arrivals`` records new files, a few in each turn, and
``settle_jobs`` handles the jobs that come back. New arrivals are picked before micrographs that are
picked again for a newer model.

Every start is a recovery, so there is no separate clean shutdown that has to be correct. ``Stop``
gives jobs in progress a few seconds. Those that are not done by then are queued again at the next
start, as after a kill.

This is one file because every step of the loop is seen here, in the order in which it is taken.
"""

import dataclasses
import itertools
import logging
import queue
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from livepick.core.contracts.job import Job, Result
from livepick.core.formats.header import printable
from livepick.errors import (
    EngineError,
    LedgerError,
    LedgerWriteError,
    LivepickError,
    MemoryLimitError,
)
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.inbox import (
    CtfFound,
    FilesSkipped,
    Finished,
    Inbox,
    Landed,
    Message,
    PickingChanged,
    Promoted,
    Recovered,
    RecoveryEnded,
    RootState,
    RunChanged,
    SetAside,
    Stop,
)
from livepick.ledger.rows import Claim
from livepick.ledger.writer import LedgerWriter
from livepick.picking.backlog import Backlog
from livepick.picking.engine import Engine
from livepick.picking.instruments import Instruments
from livepick.picking.model_in_use import CurrentModel, Replacement
from livepick.picking.on_picked import OnPicked
from livepick.picking.output_sync import Outputs
from livepick.picking.settle_jobs import JobSettler, NotFound, nobody_watches
from livepick.picking.take_arrivals import take_arrivals

__all__ = ["Dispatch"]

IDLE_SECONDS = 1.0
"""Longest wait for a message, and so the longest delay of a retry or a check of the disk."""

STOP_SECONDS = 5.0
"""Time that jobs in progress get at a stop."""

LEDGER_RETRY_SECONDS = 30.0
"""Time between tries while writing to the ledger fails."""

ALONE_SECONDS = 20.0
"""Time that others wait for a micrograph that is to be tried alone: before it, for jobs in progress
to end, and while it runs. Then they continue beside it, so that one file that hangs cannot stop the
session. For one that needs much memory they wait until it has ended."""

ENGINE_PAUSE_SECONDS = 10.0
"""Time between tries while no worker can be started."""

STEP_SECONDS = 5.0
"""Most that one turn adds to the time without a finished job, as the machine may be suspended."""

COUNT_SECONDS = 1.0
"""Shortest interval between updates of the gauges."""

BATCH = 100
"""Maximum number of arrivals, and of CTF figures, handled in one turn. Each batch is one commit."""

TAKEN = 10_000
"""Maximum number of messages moved from the inbox to the backlog at once."""

_log = logging.getLogger(__name__)


class Dispatch:
    """The dispatch loop; call ``run`` in the dispatch thread.

    Parameters
    ----------
    inbox
        Queue on which the messages of all threads arrive.
    ledger, engine, outputs
        Owned by the loop from now on; it stops the engine when it ends.
    work
        Function that a worker calls with a job; it must be importable in the worker.
    model
        Model and settings to pick with.
    instruments
        Metrics to update.
    not_found
        Called when a micrograph could not be read.
    on_picked
        Calls a program for each picked micrograph. None: there is none.
    replacement
        Sets a model aside that fails on every micrograph, and returns another one.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        ledger: LedgerWriter,
        engine: Engine,
        outputs: Outputs,
        work: Callable[[Job], Result],
        model: CurrentModel,
        instruments: Instruments,
        not_found: NotFound = nobody_watches,
        on_picked: OnPicked | None = None,
        replacement: Replacement = lambda *_: None,
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._inbox = inbox
        self._unexpected = unexpected or UnexpectedErrors()
        self._ledger = ledger
        self._engine = engine
        self._outputs = outputs
        self._work = work
        self._model = model
        self._instruments = instruments
        self._on_picked = on_picked
        self._jobs = JobSettler(
            ledger=ledger,
            outputs=outputs,
            instruments=instruments,
            engine=engine,
            model=model,
            not_found=not_found,
            on_picked=on_picked,
            replacement=replacement,
        )
        self._backlog = Backlog()
        self._in_flight: set[Claim] = set()
        self._engine_retry_at = 0.0
        self._wait_for_suspect_until = 0.0
        self._others_first = False
        self._turn_at = time.monotonic()
        self.unfinished_seconds = 0.0
        """Time for which there have been jobs in progress, or no workers, and no job has finished.
        """
        self.longest_seconds = 0.0
        """Time limit of the jobs in progress."""
        self._unavailable: set[Path] = set()
        self._ledger_retry_at = 0.0
        self.ledger_fault: LedgerWriteError | None = None
        """Why writing to the ledger failed; kept during retries, until a write succeeds."""
        self._counted_at = float("-inf")
        self._stop_at: float | None = None
        self.progress_at = time.monotonic()
        """Time of the loop's last turn, in monotonic seconds; the watchdog checks it. A turn that
        meets an unexpected error does not count."""

    @property
    def engine_fault(self) -> EngineError | None:
        """Why no worker can be started; None if workers run."""
        return self._jobs.engine_fault

    @property
    def left_behind(self) -> int:
        """Number of killed workers that do not end, because a file system does not answer."""
        return self._engine.left_behind

    def run(self) -> None:
        """Recover, then work until ``Stop``.

        Raises
        ------
        ProviderError
            The GPU is required but not available.
        ModelError
            The model fails on every micrograph.
        LedgerError
            The ledger is damaged.
        """
        try:
            has_begun = False
            while not self._done():
                if not has_begun and not self._backing_off:
                    has_begun = self._try_to_begin()
                self._collect()
                self._count_time()
                with self._unexpected.passing_over("dispatch", "a turn of the loop"):
                    if has_begun and not self._backing_off:
                        self._turn()
                    self.progress_at = time.monotonic()
        finally:
            self._engine.stop()
            self._finish_outputs()

    # ---- a turn of the loop --------------------------------------------------------------------

    def _try_to_begin(self) -> bool:
        """Recover; return False if writing to the ledger failed, and it is to be tried again."""
        try:
            self._begin()
        except LedgerWriteError as error:
            self._back_off(error)
            return False
        return True

    def _begin(self) -> None:
        if recovered := self._ledger.requeue.recover():
            _log.info("ledger: %d micrographs were in progress, queued again", recovered)
        self._model.begin()
        with self._unexpected.passing_over("output", "the output folder"):
            self._outputs.begin()
        if self._on_picked is not None:
            with self._unexpected.passing_over("on_picked", "output.on_picked"):
                self._on_picked.begin()

    def _finish_outputs(self) -> None:
        try:
            if self._on_picked is not None:
                with self._unexpected.passing_over("on_picked", "output.on_picked"):
                    self._on_picked.stop()
            with self._unexpected.passing_over("output", "the output folder"):
                self._outputs.finish()
        except LedgerError as error:  # must not hide why the loop ended; written at the next start
            _log.error("ledger: %s", error)

    def _back_off(self, error: LedgerWriteError) -> None:
        _log.error("ledger: %s", error)
        self.ledger_fault = error
        self._ledger_retry_at = time.monotonic() + LEDGER_RETRY_SECONDS

    @property
    def _backing_off(self) -> bool:
        """True while the ledger back-off is running."""
        return time.monotonic() < self._ledger_retry_at

    def _done(self) -> bool:
        if self._stop_at is None:
            return False
        if self._in_flight and time.monotonic() >= self._stop_at:
            _log.warning("%d micrographs are left for the next start", len(self._in_flight))
            return True
        return not self._in_flight

    def _turn(self) -> None:
        try:
            while self._backlog.urgent:
                self._handle()
            self._model.turn()
            self._fill()
            if self._backlog.bulk:
                self._handle_bulk()
                self._fill()
            with self._unexpected.passing_over("output", "the output folder"):
                self._outputs.sync()
            if self._on_picked is not None and self._stop_at is None:
                with self._unexpected.passing_over("on_picked", "output.on_picked"):
                    self._on_picked.turn()
            if time.monotonic() - self._counted_at >= COUNT_SECONDS:
                queries = self._ledger.reader
                self._instruments.queue(queries.counts(), queries.oldest_waiting_at())
                self._counted_at = time.monotonic()
        except LedgerWriteError as error:
            # The message stays in the backlog and is handled again.
            self._back_off(error)
        else:
            self.ledger_fault = None

    def _collect(self) -> None:
        """Move messages from the inbox to the backlog; wait briefly if there are none."""
        handled = not self._backlog or self._backing_off
        wait_seconds = IDLE_SECONDS if handled and not self._outputs.busy else 0.0
        if self._stop_at is not None:
            wait_seconds = min(wait_seconds, max(0.0, self._stop_at - time.monotonic()))
        try:
            message = self._inbox.get(timeout=wait_seconds)
            for _ in range(TAKEN):
                if isinstance(message, Stop):
                    self._begin_to_stop()
                else:
                    self._backlog.add(message)
                message = self._inbox.get_nowait()
            self._backlog.add(message)
        except queue.Empty:
            pass

    def _begin_to_stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic() + STOP_SECONDS

    # ---- jobs ----------------------------------------------------------------------------------

    def _count_time(self) -> None:
        now = time.monotonic()
        elapsed, self._turn_at = min(now - self._turn_at, STEP_SECONDS), now
        is_waiting = bool(self._in_flight) or self.engine_fault is not None
        self.unfinished_seconds = self.unfinished_seconds + elapsed if is_waiting else 0.0

    def _fill(self) -> None:
        """Give the engine as many jobs as it has slots for."""
        slots = self._free_slots()
        if slots < 1:
            return
        suspect_is_due = not self._suspects() and self._ledger.suspects(without=self._unavailable)
        claims: list[Claim] = []
        if not suspect_is_due or self._others_first:
            claims = self._ledger.claim(slots, without=self._unavailable)
            self._others_first = False
        if suspect_is_due and not claims:
            claims = self._claim_suspect()
        for claim in claims:
            self._in_flight.add(claim)
            try:
                self._start(claim)
            except LivepickError:
                raise
            except Exception as error:  # noqa: BLE001 - a fault of one micrograph
                self._abandon(claim, error)

    def _claim_suspect(self) -> list[Claim]:
        """Claim a suspect once it can run alone, or has waited for that for long enough."""
        now = time.monotonic()
        if not self._wait_for_suspect_until:
            self._wait_for_suspect_until = now + ALONE_SECONDS
        if self._in_flight and now < self._wait_for_suspect_until:
            return []
        self._wait_for_suspect_until = now + ALONE_SECONDS  # from now on, while it runs
        return self._ledger.claim(1, suspects=True, without=self._unavailable)

    def _suspects(self) -> list[Claim]:
        return [claim for claim in self._in_flight if claim.crashes]

    def _free_slots(self) -> int:
        """Return the number of jobs that may be started now."""
        now = time.monotonic()
        if self._stop_at is not None or self._outputs.waiting or now < self._engine_retry_at:
            return 0
        suspects = self._suspects()
        if suspects and now < self._wait_for_suspect_until:
            return 0
        if any(claim.last_reason == MemoryLimitError.reason for claim in suspects):
            return 0
        most = 1 if self._outputs.down else self._engine.capacity
        return most - len(self._in_flight)

    def _start(self, claim: Claim) -> None:
        size_bytes = claim.version.size_bytes
        alone = claim.crashes > 0 and self._in_flight == {claim}
        future = self._engine.submit_sized(
            self._work, self._model.job(claim), size_bytes=size_bytes, alone=alone
        )
        limits = self._engine.limits.limits(size_bytes)
        self.longest_seconds = max(limits.seconds, self.longest_seconds)
        self._jobs.count_deaths()
        future.add_done_callback(lambda done: self._inbox.put(Finished(claim, done)))

    # ---- messages ------------------------------------------------------------------------------

    def _handle(self) -> None:
        """Handle the oldest urgent message, and drop it unless the ledger is at fault."""
        message = self._backlog.urgent[0]
        try:
            self._apply(message)
        except LivepickError:
            raise
        except Exception as error:  # noqa: BLE001 - the other messages must be handled
            if isinstance(message, Finished):
                self._abandon(message.claim, error)
            else:
                self._unexpected.passed_over("dispatch", type(message).__name__, error)
        self._backlog.urgent.popleft()

    def _handle_bulk(self) -> None:
        """Handle the oldest arrivals and CTF figures, and drop them on success."""
        if batch := self._backlog.arrivals(BATCH):
            self._take_arrivals(batch)
            return
        bulk, recorded = self._backlog.bulk, 0
        with self._ledger.database.transaction():
            for message in itertools.islice(bulk, BATCH):
                if not isinstance(message, CtfFound):
                    break
                with self._unexpected.passing_over("dispatch", "CTF figures"):
                    self._record_ctf(message)
                recorded += 1
        for _ in range(recorded):
            bulk.popleft()

    def _record_ctf(self, found: CtfFound) -> None:
        if self._ledger.ctf_found(found.micrograph_id, found.content, found.figures):
            self._outputs.figures_changed()
            self._instruments.ctf_found(found.figures)

    def _apply(self, message: Message) -> None:
        match message:
            case Finished():
                self._finish(message)
            case Promoted(bundle, card, is_fallback):
                if is_fallback:
                    self._model.fall_back(bundle, card)
                else:
                    self._model.promote(bundle, card)
                self._jobs.forgive_model()
            case PickingChanged():
                self._model.change_settings(message)
            case Recovered(micrographs, taken):
                self._ledger.recovered(micrographs, repick=self._model.repicks)
                taken()
            case RecoveryEnded(kept, left):
                self._end_recovery(kept, left)
            case RootState(root, available):
                self._update_root(root, available=available)
            case RunChanged() | FilesSkipped():
                self._record_session(message)
            case Stop():
                self._begin_to_stop()

    def _record_session(self, message: RunChanged | FilesSkipped) -> None:
        """Record in the ledger what other threads have found."""
        if isinstance(message, FilesSkipped):
            self._ledger.session.skipped(message.root, message.files)
            return
        self._ledger.session.run_changed(
            message.version,
            message.fingerprint,
            message.state,
            reason=message.reason,
            judgement=message.judgement,
        )

    def _end_recovery(self, kept: int, left: int) -> None:
        """Record that all picks in the output folder have been read, and write lists again."""
        rebuilt = self._ledger.reader.rebuilt()
        if rebuilt is not None:
            done = dataclasses.replace(rebuilt, done=True, kept=kept, left=left)
            self._ledger.session.rebuilt(done)
        self._outputs.is_recovering = False
        self._outputs.recovered()
        _log.warning(
            "ledger: rebuilt from the output folder: %d micrographs keep the picks in their files"
            " and are picked again behind all others, %d are picked anew",
            kept,
            left,
        )

    def _abandon(self, claim: Claim, error: Exception) -> None:
        """Give up a micrograph after an unexpected error outside the worker."""
        self._in_flight.discard(claim)
        self._unexpected.passed_over("dispatch", printable(claim.relative), error)
        with self._unexpected.passing_over("dispatch", printable(claim.relative)):
            self._jobs.give_up(claim, error)

    def _take_arrivals(self, batch: Sequence[Landed | SetAside]) -> None:
        """Record the arrivals at the head of the backlog in one commit.

        If that meets an unexpected error, each is recorded alone, to find the one at fault.
        """
        bulk = self._backlog.bulk
        try:
            self._record(batch)
        except LivepickError:
            raise
        except Exception as error:  # noqa: BLE001 - the other arrivals must be recorded
            if len(batch) == 1:
                name = printable(batch[0].root / batch[0].relative)
                self._unexpected.passed_over("dispatch", name, error)
                bulk.popleft()
                return
            for message in batch:
                with self._unexpected.passing_over(
                    "dispatch", printable(message.root / message.relative)
                ):
                    self._record([message])
                bulk.popleft()
            return
        for _ in batch:
            bulk.popleft()

    def _record(self, batch: Sequence[Landed | SetAside]) -> None:
        take_arrivals(
            batch, ledger=self._ledger, outputs=self._outputs, instruments=self._instruments
        )

    def _finish(self, message: Finished) -> None:
        self._jobs.settle(
            message, stopping=self._stop_at is not None, unavailable=self._unavailable
        )
        self._in_flight.discard(message.claim)
        if self._jobs.engine_fault is not None:
            self._engine_retry_at = time.monotonic() + ENGINE_PAUSE_SECONDS
            return  # not a sign of life
        self.unfinished_seconds = 0.0
        if not self._in_flight:
            self.longest_seconds = 0.0
        if message.claim.crashes:
            self._wait_for_suspect_until = 0.0
            self._others_first = True  # many suspects in a row must not stop the session

    def _update_root(self, root: Path, *, available: bool) -> None:
        if not available:
            self._unavailable.add(root)
        elif root in self._unavailable:
            if count := self._ledger.requeue.vanished(root):
                _log.info("%s: available again, %d micrographs are tried again", root, count)
            self._unavailable.discard(root)

"""The dispatch loop: ledger → engine → output folder → ledger. It is the only writer of all three.

Every other thread reports to it by putting a message into the inbox. The loop keeps the engine full
of the most urgent micrographs (``jobs_in_progress``), handles the jobs that come back
(``settle_jobs``), and records new files, a batch in each turn (``record_bulk``). New arrivals are
picked before micrographs that are picked again for a newer model.

Every start is a recovery, so there is no separate clean shutdown that has to be correct. ``Stop``
gives jobs in progress a few seconds. Those that are not done by then are queued again at the next
start, as after a kill.

This is one file because every step of the loop is seen here, in the order in which it is taken.
"""

import dataclasses
import logging
import queue
import time
from collections.abc import Callable
from pathlib import Path

from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.contracts.job import Job, Result
from livepick.core.formats.header import printable
from livepick.errors import (
    EngineError,
    LedgerError,
    LedgerWriteError,
    LivepickError,
)
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.inbox import (
    ClassesMade,
    CtfFitted,
    CtfFound,
    FilesSkipped,
    Finished,
    Inbox,
    Landed,
    Message,
    ParticleChanged,
    ParticleSeen,
    PeopleJudged,
    PickingChanged,
    Promoted,
    Recovered,
    RecoveryEnded,
    RootState,
    RunChanged,
    SetAside,
    Stop,
)
from livepick.ledger.person_verdicts import KnownVerdicts
from livepick.ledger.rows import Claim, Counts
from livepick.ledger.writer import LedgerWriter
from livepick.picking.backlog import Backlog
from livepick.picking.ctf_fitting import CtfFitting
from livepick.picking.engine import Engine
from livepick.picking.instruments import Instruments
from livepick.picking.jobs_in_progress import JobsInProgress
from livepick.picking.model_in_use import CurrentModel, Replacement
from livepick.picking.on_picked import OnPicked
from livepick.picking.output_sync import Outputs
from livepick.picking.record_bulk import BulkRecorder
from livepick.picking.settle_jobs import JobSettler, NotFound, nobody_watches

__all__ = ["Dispatch"]

IDLE_SECONDS = 1.0
"""Longest wait for a message, and so the longest delay of a retry or a check of the disk."""

STOP_SECONDS = 5.0
"""Time that jobs in progress get at a stop."""

LEDGER_RETRY_SECONDS = 30.0
"""Time between tries while writing to the ledger fails."""

COUNT_SECONDS = 1.0
"""Shortest interval between updates of the gauges."""

UNCHANGED_SECONDS = 5.0
"""The same while the ledger stays as it is."""

AT_ONCE = 32
"""Maximum number of results recorded in one commit."""

TOGETHER_SECONDS = 0.5
"""Shortest time between two turns for new files and results while no worker waits for work: those
that come in between share a commit. After a longer pause the next one is handled at once."""

TAKEN = 10_000
"""Maximum number of messages moved from the inbox to the backlog at once."""

_CAN_WAIT = (CtfFound, FilesSkipped, Finished, Landed, ParticleSeen, RunChanged, SetAside)
"""Messages for which nobody notices ``TOGETHER_SECONDS``."""

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
    fitting
        Fits the CTF of picked micrographs. None: nothing does.
    replacement
        Sets a model aside that fails on every micrograph, and returns another one.
    is_held
        Returns True while no micrograph is to be picked, because the particle is not known yet.
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
        fitting: CtfFitting | None = None,
        replacement: Replacement = lambda *_: None,
        is_held: Callable[[], bool] = lambda: False,
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._is_held = is_held
        self._inbox = inbox
        self._unexpected = unexpected or UnexpectedErrors()
        self._ledger = ledger
        self._engine = engine
        self._outputs = outputs
        self._work = work
        self._model = model
        self._instruments = instruments
        self._on_picked = on_picked
        self._fitting = fitting
        self._counts = Counts()
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
        self._bulk = BulkRecorder(
            self._backlog,
            ledger=ledger,
            outputs=outputs,
            instruments=instruments,
            unexpected=self._unexpected,
        )
        self._in_progress = JobsInProgress(ledger)
        self._unavailable: set[Path] = set()
        self._ledger_retry_at = 0.0
        self.ledger_fault: LedgerWriteError | None = None
        """Reason why writing to the ledger failed; kept during retries, until a write succeeds."""
        self._counted_at = self._taken_at = float("-inf")
        self._queue_as_of, self._queue_at = -1, float("-inf")
        self._stop_at: float | None = None
        self.progress_at = time.monotonic()
        """Time of the loop's last turn, in monotonic seconds; the watchdog checks it. A turn that
        meets an unexpected error does not count."""

    @property
    def engine_fault(self) -> EngineError | None:
        """Reason why no worker can run a job; None if workers run."""
        return self._engine.fault or self._jobs.engine_fault

    @property
    def unfinished_seconds(self) -> float:
        """Time for which jobs have been in progress, or no workers, and no job has finished."""
        return self._in_progress.unfinished_seconds

    @property
    def longest_seconds(self) -> float:
        """Time limit of the jobs in progress."""
        return self._in_progress.longest_seconds

    @property
    def left_behind(self) -> int:
        """Number of killed workers that do not end, because a file system does not answer."""
        return self._engine.left_behind

    @property
    def devices_aside(self) -> tuple[DeviceAside, ...]:
        """GPUs of this machine that have failed, and get no jobs for a while."""
        return self._engine.devices_aside

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
                self._in_progress.count_time(has_workers=self.engine_fault is None)
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
        if self._in_progress and time.monotonic() >= self._stop_at:
            _log.warning("%d micrographs are left for the next start", len(self._in_progress))
            return True
        return not self._in_progress

    def _turn(self) -> None:
        try:
            while self._backlog.urgent:
                if not self._handle_results():
                    self._handle()
            self._model.turn()
            self._fill()
            if self._backlog.bulk:
                self._bulk.turn()
                self._fill()
            self._fit()
            with self._unexpected.passing_over("output", "the output folder"):
                self._outputs.sync()
            if self._on_picked is not None and self._stop_at is None:
                with self._unexpected.passing_over("on_picked", "output.on_picked"):
                    self._on_picked.turn()
            if time.monotonic() - self._counted_at >= COUNT_SECONDS:
                if count := self._ledger.requeue.late():
                    _log.info("%d micrographs are tried again after an I/O error", count)
                self._count_queue()
                self._counted_at = time.monotonic()
        except LedgerWriteError as error:
            # The message stays in the backlog and is handled again.
            self._back_off(error)
        else:
            self.ledger_fault = None

    def _count_queue(self) -> None:
        """Set the gauges of the queue, if the ledger has changed: counting reads a whole index.

        From time to time without a change, too, as the number of workers may have changed.
        """
        changes, now = self._ledger.changes, time.monotonic()
        if changes != self._queue_as_of or now - self._queue_at >= UNCHANGED_SECONDS:
            queries = self._ledger.reader
            self._counts = queries.counts()
            self._instruments.queue(self._counts, queries.oldest_waiting_at())
            self._queue_as_of, self._queue_at = changes, now

    def _collect(self) -> None:
        """Move messages from the inbox to the backlog; wait briefly if there are none."""
        handled = not self._backlog or self._backing_off
        wait_seconds = IDLE_SECONDS if handled and not self._outputs.busy else 0.0
        if self._stop_at is not None:
            wait_seconds = min(wait_seconds, max(0.0, self._stop_at - time.monotonic()))
        try:
            message = self._inbox.get(timeout=wait_seconds)
            if wait_seconds and isinstance(message, _CAN_WAIT):
                self._wait_for_more()
            self._taken_at = time.monotonic()
            for _ in range(TAKEN):
                if isinstance(message, Stop):
                    self._begin_to_stop()
                else:
                    self._backlog.add(message)
                message = self._inbox.get_nowait()
            self._backlog.add(message)
        except queue.Empty:
            pass

    def _wait_for_more(self) -> None:
        """Wait until ``TOGETHER_SECONDS`` after the last messages, if no worker waits for work."""
        if self._in_progress.all_are_claimed and self._stop_at is None:
            time.sleep(max(0.0, self._taken_at + TOGETHER_SECONDS - time.monotonic()))

    def _begin_to_stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic() + STOP_SECONDS

    # ---- jobs ----------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Give the engine as many jobs as it has slots for."""
        if self._stop_at is not None or self._outputs.waiting or self._is_held():
            return
        slots = self._in_progress.free_slots(1 if self._outputs.down else self._engine.capacity)
        if slots < 1:
            return
        for claim in self._in_progress.claim(slots, without=self._unavailable):
            self._in_progress.begin(claim)
            try:
                self._start(claim)
            except LivepickError:
                raise
            except Exception as error:  # noqa: BLE001 - a fault of one micrograph
                self._abandon(claim, error)

    def _fit(self) -> None:
        """Give the engine CTF fits, if it has nothing more urgent to do."""
        if self._fitting is None or self._stop_at is not None or self._in_progress.has_suspect:
            return
        with self._unexpected.passing_over("ctf", "the CTF fits"):
            self._fitting.turn(
                picks=len(self._in_progress),
                new_picks_wait=self._counts.queued > 0,
                without=self._unavailable,
            )

    def _start(self, claim: Claim) -> None:
        size_bytes = claim.version.size_bytes
        future = self._engine.submit_sized(
            self._work,
            self._model.job(claim),
            size_bytes=size_bytes,
            alone=self._in_progress.is_alone(claim),
        )
        self._in_progress.limited_to(self._engine.limits.limits(size_bytes).seconds)
        self._jobs.count_deaths()
        future.add_done_callback(lambda done: self._inbox.put(Finished(claim, done)))

    # ---- messages ------------------------------------------------------------------------------

    def _handle_results(self) -> bool:
        """Handle the results of several jobs in one commit; return False if that is not possible.

        With many workers several jobs finish while the last ones are recorded.
        """
        group = self._backlog.results(AT_ONCE)
        if len(group) < 2:
            return False
        if self._jobs.settle_results(group, stopping=self._stop_at is not None):
            for message in group:
                if self._fitting is not None:
                    self._fitting.picked()
                self._in_progress.finished(message.claim)
                self._backlog.urgent.popleft()
        else:
            for _ in group:
                self._handle()
        return True

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
                self._ledger.people.use()
                taken()
            case PeopleJudged(verdicts):
                self._use_verdicts(verdicts)
            case RecoveryEnded(kept, left):
                self._end_recovery(kept, left)
            case RootState(root, available):
                self._update_root(root, available=available)
            case Stop():
                self._begin_to_stop()
            case _:
                self._record_session(message)

    def _use_verdicts(self, verdicts: KnownVerdicts) -> None:
        """Bring ledger and lists up to date with the verdicts of people."""
        for relative, verdict in self._ledger.people.use(verdicts):
            words = "verdict of the figures again" if verdict is None else verdict.reason
            _log.info("%s: %s", printable(relative), words)
            self._outputs.verdicts_changed()

    def _record_session(self, message: Message) -> None:
        """Record in the ledger what other threads and the workers have found."""
        session = self._ledger.session
        match message:
            case FilesSkipped(root, files):
                session.skipped(root, files)
            case ParticleSeen(micrograph_id, content, evidence, reason):
                session.particle_seen(micrograph_id, content, evidence, reason)
            case ParticleChanged(state):
                session.particle_changed(state)
            case ClassesMade(row):
                session.classes_made(row)
            case CtfFitted() if self._fitting is not None:
                self._fitting.settle(message)
            case RunChanged(version, fingerprint, state, reason, judgement):
                session.run_changed(version, fingerprint, state, reason=reason, judgement=judgement)

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
        self._in_progress.drop(claim)
        self._unexpected.passed_over("dispatch", printable(claim.relative), error)
        with self._unexpected.passing_over("dispatch", printable(claim.relative)):
            self._jobs.give_up(claim, error)

    def _finish(self, message: Finished) -> None:
        self._jobs.settle(
            message, stopping=self._stop_at is not None, unavailable=self._unavailable
        )
        if self._fitting is not None:
            self._fitting.picked()
        if self._jobs.engine_fault is None:
            self._in_progress.finished(message.claim)
        else:
            self._in_progress.engine_failed(message.claim)

    def _update_root(self, root: Path, *, available: bool) -> None:
        if not available:
            self._unavailable.add(root)
        elif root in self._unavailable:
            if count := self._ledger.requeue.vanished(root):
                _log.info("%s: available again, %d micrographs are tried again", root, count)
            self._unavailable.discard(root)

"""The dispatch loop: ledger → engine → output folder → ledger. It is the only writer of all three.

Every other thread reports to it by putting a message into the inbox. The loop keeps the engine full
of the most urgent micrographs and settles each one that comes back: it writes the coordinates, then
records *picked* in the ledger. New arrivals are picked before micrographs that are picked again for
a newer model.

A worker that dies takes its pool and all jobs in it along, and it is not known which job was the
cause. Each of them is queued again and then runs alone, so that the job that crashes its worker on
every try is found and the others are not blamed.

Every start is a recovery, so there is no separate clean shutdown that has to be correct. ``Stop``
gives jobs in progress a few seconds. Those that are not done by then are queued again at the next
start, as after a kill.
"""

import dataclasses
import logging
import queue
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from pathlib import Path
from typing import Literal

from livepick.config.alert_thresholds import SESSION_SECONDS
from livepick.config.sections import Repick
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.job import Job, Result
from livepick.errors import (
    ChangedFileError,
    IncompleteFileError,
    LedgerError,
    LedgerWriteError,
    LivepickError,
    MicrographError,
    ModelError,
    OutputError,
    ProviderError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.ledger.inbox import (
    CtfFound,
    Finished,
    Inbox,
    Landed,
    Message,
    PickingChanged,
    Promoted,
    RootState,
    RunChanged,
    SetAside,
    Stop,
)
from livepick.ledger.rows import Arrival, Claim
from livepick.ledger.writer import Ledger
from livepick.picking.engine import Engine
from livepick.picking.instruments import Instruments
from livepick.picking.model_in_use import Orders
from livepick.picking.output_sync import Outputs

__all__ = ["Dispatch"]

IDLE_SECONDS = 1.0
"""Longest wait for a message, and so the longest delay of a retry or a check of the disk."""

STOP_SECONDS = 5.0
"""Time that jobs in progress get at a stop."""

LEDGER_RETRY_SECONDS = 30.0
"""Time between tries while writing to the ledger fails."""

COUNT_SECONDS = 1.0
"""Shortest interval between updates of the gauges."""

MAX_TRIES = 3
"""A micrograph is given up after this many transient errors."""

RETRY_DELAYS_SECONDS = (2.0, 10.0)
"""Delays before the second and the third try."""

CHANGED_DELAY_SECONDS = 30.0
"""Delay before retrying a file that changed since the watcher saw it; the watcher sends a message
once it has settled."""

MODEL_FAULTS = 3
"""If the model fails on this many micrographs in a row, the model is at fault."""

BATCH = 256
"""Maximum number of messages taken at once; arrivals of a batch are one commit."""

_log = logging.getLogger(__name__)


class Dispatch:
    """The dispatch loop; ``run`` is to be called in the dispatch thread.

    Parameters
    ----------
    inbox
        Queue on which the messages of all threads arrive.
    ledger, engine, outputs
        Owned by the loop from now on; it stops the engine when it ends.
    work
        Function that a worker calls with a job; it must be importable in the worker.
    orders
        Model and settings to pick with.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        ledger: Ledger,
        engine: Engine,
        outputs: Outputs,
        work: Callable[[Job], Result],
        orders: Orders,
        instruments: Instruments,
    ) -> None:
        self._inbox = inbox
        self._ledger = ledger
        self._engine = engine
        self._outputs = outputs
        self._work = work
        self._orders = orders
        self._bundle = orders.bundle
        self._card = orders.card
        self._instruments = instruments
        self._generation = engine.generation
        self._backlog: deque[Message] = deque()
        self._in_flight: set[Claim] = set()
        self._away: set[Path] = set()
        self._model_faults: set[int] = set()
        self._ledger_retry_at = 0.0
        self.ledger_fault: LedgerWriteError | None = None
        """Why writing to the ledger failed; kept during retries, until a write succeeds."""
        self._counted_at = float("-inf")
        self._stop_at: float | None = None
        self.progress_at = time.monotonic()
        """Time of the loop's last turn, in monotonic seconds; the watchdog checks it."""

    @property
    def _ledger_rests(self) -> bool:
        """True while the ledger back-off is running."""
        return time.monotonic() < self._ledger_retry_at

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
        LivepickError
            Workers cannot be started.
        """
        try:
            self._begin()
            while not self._done():
                self.progress_at = time.monotonic()
                self._collect()
                if not self._ledger_rests:
                    self._turn()
        finally:
            self._engine.stop()
            self._last_list()

    # ---- a turn of the loop --------------------------------------------------------------------

    def _begin(self) -> None:
        recovered = self._ledger.recover()
        if recovered:
            _log.info("ledger: %d micrographs were under way, queued again", recovered)
        if stale := self._use(self._card):
            _log.info("model %d: %d micrographs are due again", self._card.version, stale)
        self._outputs.begin()

    def _last_list(self) -> None:
        try:
            self._outputs.tend(now=True)
        except LedgerError as error:  # must not hide why the loop ended; written at the next start
            _log.error("ledger: %s", error)

    def _done(self) -> bool:
        if self._stop_at is None:
            return False
        if self._in_flight and time.monotonic() >= self._stop_at:
            _log.warning("%d micrographs are left for the next start", len(self._in_flight))
            return True
        return not self._in_flight

    def _turn(self) -> None:
        try:
            while self._backlog:
                self._handle()
            self._fill()
            self._outputs.tend()
            if time.monotonic() - self._counted_at >= COUNT_SECONDS:
                self._instruments.queue(self._ledger.counts(), self._ledger.oldest_waiting_at())
                self._counted_at = time.monotonic()
        except LedgerWriteError as error:
            # The message stays in the backlog and is handled again.
            _log.error("ledger: %s", error)
            self.ledger_fault = error
            self._ledger_retry_at = time.monotonic() + LEDGER_RETRY_SECONDS
        else:
            self.ledger_fault = None

    def _collect(self) -> None:
        """Move messages from the inbox to the backlog; wait briefly if there are none."""
        handled = not self._backlog or self._ledger_rests
        wait_seconds = IDLE_SECONDS if handled and not self._outputs.busy else 0.0
        if self._stop_at is not None:
            wait_seconds = min(wait_seconds, max(0.0, self._stop_at - time.monotonic()))
        try:
            message = self._inbox.get(timeout=wait_seconds)
            for _ in range(BATCH):
                if isinstance(message, Stop):
                    if self._stop_at is None:
                        self._stop_at = time.monotonic() + STOP_SECONDS
                else:
                    self._backlog.append(message)
                message = self._inbox.get_nowait()
            self._backlog.append(message)
        except queue.Empty:
            pass

    def _fill(self) -> None:
        """Give the engine as many jobs as it has room for."""
        room = self._room()
        if room < 1:
            return
        if self._ledger.suspects(without=self._away):
            if self._in_flight:
                return  # a suspect waits until it can run alone; the others wait for it
            claims = self._ledger.claim(1, suspects=True, without=self._away)
        else:
            claims = self._ledger.claim(room, without=self._away)
        for claim in claims:
            self._start(claim)

    def _room(self) -> int:
        if self._stop_at is not None or self._outputs.waiting:
            return 0
        if any(claim.crashes for claim in self._in_flight):
            return 0
        most = 1 if self._outputs.down else self._engine.capacity
        return most - len(self._in_flight)

    def _start(self, claim: Claim) -> None:
        job = Job(
            path=claim.path,
            version=claim.version,
            bundle=self._bundle,
            device=self._orders.device,
            pixel_size_angstrom=self._orders.pixel_size_angstrom,
            threshold=self._orders.threshold,
        )
        generation = self._engine.generation
        future = self._engine.submit(self._work, job)
        self._in_flight.add(claim)
        self._count_deaths()
        future.add_done_callback(lambda done: self._inbox.put(Finished(claim, generation, done)))

    # ---- messages ------------------------------------------------------------------------------

    def _handle(self) -> None:
        """Handle the oldest message of the backlog, and drop it on success."""
        message = self._backlog[0]
        match message:
            case Landed() | SetAside():
                self._handle_arrivals()
                return
            case Finished():
                self._finish(message)
            case Promoted(bundle, card):
                self._promote(bundle, card)
            case PickingChanged():
                self._change(message)
            case RootState(root, available):
                self._root(root, available=available)
            case RunChanged():
                self._ledger.run_changed(
                    message.version,
                    message.fingerprint,
                    message.state,
                    reason=message.reason,
                    figures=message.figures,
                )
            case CtfFound(micrograph_id, content, figures):
                if self._ledger.ctf_found(micrograph_id, content, figures):
                    self._outputs.figures_changed()
                    self._instruments.ctf_found(figures)
            case Stop():
                self._stop_at = self._stop_at or time.monotonic() + STOP_SECONDS
        self._backlog.popleft()

    def _handle_arrivals(self) -> None:
        """Record all arrivals at the head of the backlog in one commit."""
        batch: list[Landed | SetAside] = []
        for message in self._backlog:
            if not isinstance(message, Landed | SetAside):
                break
            batch.append(message)
        with self._ledger.transaction():
            outcomes = [self._record(message) for message in batch]
            collected = self._collected(
                message
                for message, (arrival, failure) in zip(batch, outcomes, strict=True)
                if failure is None and arrival in (Arrival.NEW, Arrival.CHANGED)
            )
        for message, (arrival, failure) in zip(batch, outcomes, strict=True):
            self._backlog.popleft()
            if arrival is Arrival.KNOWN:
                continue
            if arrival is Arrival.CHANGED:
                self._instruments.superseded()
            if failure is None:
                if arrival is not Arrival.AGAIN:
                    self._instruments.landed(message.landed_at, collected=message in collected)
                _log.debug("%s: %s", message.relative, arrival.value)
            else:
                reason, error, remedy = failure
                sentences = f"{error}. {remedy}".rstrip()
                _log.warning("%s: failed: %s", _shown(message.relative), sentences)
                self._instruments.failed(reason, "ingest")
                self._outputs.remove(message.root, Path(_shown(message.relative)))

    def _collected(self, landed: Iterable[Landed | SetAside]) -> frozenset[Landed | SetAside]:
        """Record and return the micrographs that show that data collection is in progress.

        Files found by the first listing may be years old, so they count only if the session is
        continuing: then they landed while the service was down.
        """
        last = max(self._ledger.last_collected(), default=float("-inf"))
        collected = frozenset(
            message
            for message in landed
            if not (isinstance(message, Landed) and message.at_start)
            or message.landed_at - last < SESSION_SECONDS
        )
        if collected:
            self._ledger.collected(sorted(message.landed_at for message in collected))
        return collected

    def _record(self, message: Landed | SetAside) -> tuple[Arrival, tuple[str, str, str] | None]:
        root, relative = message.root, message.relative
        failure = _name_failure(relative)
        if failure is not None:
            relative = Path(_shown(relative))
        elif isinstance(message, SetAside):
            failure = (message.reason, message.error, message.remedy)
        elif (twin := self._ledger.namesake(root, relative)) is not None:
            failure = (
                MicrographError.reason,
                f"{relative} would have the same coordinates file as {twin}",
                "Rename one of them, or leave one out by watch.exclude.",
            )
        if failure is None:
            return self._ledger.landed(root, relative, message.version, message.landed_at), None
        arrival = self._ledger.set_aside(
            root, relative, message.version, message.landed_at, failure
        )
        return arrival, failure

    def _root(self, root: Path, *, available: bool) -> None:
        if not available:
            self._away.add(root)
        elif root in self._away:
            if count := self._ledger.queue_vanished(root):
                _log.info("%s: is back, %d micrographs are tried again", root, count)
            self._away.discard(root)

    def _promote(self, bundle: Path, card: ModelCard) -> None:
        self._bundle, self._card = bundle, card
        count = self._use(card)
        self._model_faults.clear()
        _log.info(
            "model %d (%s): picks from now on, %d are due again", card.version, card.kind, count
        )

    def _change(self, change: PickingChanged) -> None:
        with self._ledger.transaction():
            if change.repick != self._orders.repick:
                self._ledger.leave_stale()  # queued under the previous policy
            count = self._queue_stale(change.repick, change.threshold)
        self._orders = dataclasses.replace(
            self._orders, threshold=change.threshold, repick=change.repick
        )
        _log.info(
            "picking: threshold %s, repick %s from now on, %d are due again",
            "auto" if change.threshold is None else f"{change.threshold:g}",
            change.repick,
            count,
        )

    def _use(self, card: ModelCard) -> int:
        """Record the model in use, queue the micrographs that are due for it; return how many.

        Picks by a model trained for another particle count as provisional.
        """
        with self._ledger.transaction():
            another = self._ledger.use_model(card.version, card.kind, card.particle_fingerprint)
            repick = self._orders.repick
            repick = "all" if another and repick != "none" else repick
            return self._queue_stale(repick, self._orders.threshold)

    def _queue_stale(self, repick: Repick, wanted: float | None) -> int:
        """Queue the micrographs due for the current model and threshold; return how many."""
        return self._ledger.queue_stale(
            self._card.version,
            repick=repick,
            threshold=self._threshold(wanted),
            for_all=wanted is not None,
        )

    def _threshold(self, wanted: float | None) -> float:
        """Return the lowest score at which a pick counts."""
        return self._card.threshold if wanted is None else wanted

    # ---- results -------------------------------------------------------------------------------

    def _finish(self, message: Finished) -> None:
        """Settle a finished job, whatever its outcome."""
        claim, outcome = message.claim, _outcome(message.future)
        crashed = isinstance(outcome, self._engine.crashes)
        if self._stop_at is not None:
            pass  # the signal that stops the service may have ended the workers too
        elif isinstance(outcome, BrokenExecutor):
            self._engine.renew(message.generation)
            self._count_deaths()
        elif crashed:  # a cluster replaces its workers itself
            self._instruments.worker_crashed()
        if not self._ledger.holds(claim):
            _log.debug("%s: has new content, this result is of the old", claim.relative)
        elif isinstance(outcome, Result):
            self._keep(claim, outcome)
        elif isinstance(outcome, CancelledError) or (crashed and self._stop_at is not None):
            self._ledger.released(claim)
        elif crashed:
            self._crashed(claim)
        else:
            self._error(claim, outcome)
        self._in_flight.discard(claim)

    def _count_deaths(self) -> None:
        while self._generation < self._engine.generation:
            self._generation += 1
            _log.error("a worker died; what was under way is tried again, one by one")
            self._instruments.worker_crashed()

    def _keep(self, claim: Claim, result: Result) -> None:
        """Write the coordinates, then record them."""
        started_at = time.perf_counter()
        try:
            self._outputs.write(claim, result)
        except OutputError as error:
            self._outputs.refused(error)
            self._ledger.released(claim)
            return
        except Exception as error:  # noqa: BLE001 - a fault of one file must not end the session
            self._give_up(claim, error, "export")
            return
        export_seconds = time.perf_counter() - started_at
        self._ledger.picked(claim, result)
        self._model_faults.clear()
        wanted = self._orders.threshold
        made = (result.model_version, result.threshold)
        if made != (self._card.version, self._threshold(wanted)):  # it began with the old ones
            self._queue_stale(self._orders.repick, wanted)
        latency_seconds = None if claim.repick else time.time() - claim.landed_at
        self._instruments.picked(
            result, latency_seconds=latency_seconds, export_seconds=export_seconds
        )
        count = len(result.picks.above(result.threshold))
        _log.info("%s: %d particles (model %d)", claim.relative, count, result.model_version)

    def _crashed(self, claim: Claim) -> None:
        if self._ledger.crashed(claim):
            _log.error("%s: failed: it ended its worker on every try", claim.relative)
            self._instruments.failed("poison", "pick")
            self._outputs.remove(claim.root, claim.relative)
        else:
            self._instruments.retried("poison")

    def _error(self, claim: Claim, error: BaseException) -> None:
        """Retry transient errors, fail on permanent ones, and raise those not due to the file."""
        if isinstance(error, ProviderError):
            self._ledger.released(claim)
            raise error
        if isinstance(error, ModelError):
            self._model_faults.add(claim.id)
            if len(self._model_faults) >= MODEL_FAULTS:
                self._ledger.released(claim)
                raise error
        elsewhere = claim.root in self._away and isinstance(
            error, VanishedFileError | UnreadableFileError
        )
        if elsewhere:
            self._ledger.released(claim)
        elif isinstance(error, LivepickError) and _may_pass(error) and claim.tries + 1 < MAX_TRIES:
            delay_seconds = RETRY_DELAYS_SECONDS[claim.tries]
            if isinstance(error, ChangedFileError | IncompleteFileError):
                delay_seconds = CHANGED_DELAY_SECONDS
            self._ledger.retry(claim, error, delay_seconds=delay_seconds)
            self._instruments.retried(error.reason)
            _log.warning("%s: tried again in %g s: %s", claim.relative, delay_seconds, error.what)
        else:
            self._give_up(claim, error, "pick")

    def _give_up(
        self, claim: Claim, error: BaseException, stage: Literal["pick", "export"]
    ) -> None:
        if isinstance(error, LivepickError):
            known = error
            _log.warning("%s: failed: %s", claim.relative, error)
        else:
            last_line = traceback.format_exception_only(error)[-1].strip()
            known = LivepickError(
                f"{claim.relative}: {last_line}",
                "This is a fault in livepick: please report it with the lines of the log.",
            )
            _log.error("%s: failed", claim.relative, exc_info=error)
        self._ledger.failed(claim, known)
        self._instruments.failed(known.reason, stage)
        self._outputs.remove(claim.root, claim.relative)


def _outcome(future: Future[Result]) -> Result | BaseException:
    try:
        error = future.exception()
    except CancelledError as cancelled:
        return cancelled
    return future.result() if error is None else error


def _may_pass(error: LivepickError) -> bool:
    # A model error on a single micrograph is retried with a new session.
    return error.retryable or isinstance(error, ModelError)


def _shown(relative: Path) -> str:
    """Return a name with unprintable characters and undecodable bytes escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(relative)
    )


def _name_failure(relative: Path) -> tuple[str, str, str] | None:
    """Return why a micrograph of this name cannot be picked, or None."""
    if str(relative).isprintable():
        return None
    return (
        MicrographError.reason,
        f"{_shown(relative)} has a character that no coordinates file can hold",
        "Rename it: no line breaks, and UTF-8.",
    )

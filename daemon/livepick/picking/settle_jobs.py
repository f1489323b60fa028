"""Outcomes of jobs: write the picks, retry, or fail the micrograph, and record it in the ledger.

A micrograph that ends its worker, or exceeds the time limit or the memory limit of a job, is tried
again alone: the machine may have been too busy. If it does the same again, it fails. Other jobs are
not affected, because each worker has one job at a time. A micrograph whose worker was killed from
outside, by a person, another program or a stop signal, is not to blame: it is tried again, as often
as a restart of the service would allow.

This is one file because each outcome is a case of ``JobSettler.settle``, and they share the record.
"""

import logging
import time
import traceback
from collections.abc import Collection, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from livepick.core.contracts.job import Result, WorkerDiedError
from livepick.core.formats.header import Note, NoteKind
from livepick.errors import (
    ChangedFileError,
    EngineError,
    IncompleteFileError,
    LivepickError,
    MemoryLimitError,
    ModelError,
    OutputError,
    PoisonError,
    ProviderError,
    TimeLimitError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.ledger.inbox import Finished
from livepick.ledger.requeue import MAX_CRASHES, MAX_INTERRUPTIONS
from livepick.ledger.rows import Claim, LateTry
from livepick.ledger.writer import LedgerWriter
from livepick.picking.engine import Engine
from livepick.picking.instruments import Instruments
from livepick.picking.model_in_use import CurrentModel, Replacement
from livepick.picking.on_picked import OnPicked
from livepick.picking.output_sync import Outputs

__all__ = ["JobSettler", "NotFound", "nobody_watches"]

MAX_TRIES = 3
"""A micrograph is given up after this many transient errors."""

RETRY_DELAYS_SECONDS = (2.0, 10.0)
"""Delays before the second and the third try."""

CHANGED_DELAY_SECONDS = 30.0
"""Delay before retrying a file that changed since the watcher saw it; the watcher sends a message
once it has settled."""

LATE_DELAYS_SECONDS = (600.0, 3600.0, 6 * 3600.0, 24 * 3600.0)
"""Delays of the late tries of a micrograph that has failed because of the file system: one that
stays available may be at fault for a while."""

MAX_EXCESSES = 2
"""A micrograph is given up after exceeding a limit this many times: the second time it is alone."""

LONGEST_DELAY_SECONDS = 60.0
"""Longest delay before the next try of a micrograph whose workers are killed from outside."""

MODEL_FAULTS = 3
"""If the model fails on this many micrographs in a row, the model is at fault."""

_log = logging.getLogger(__name__)


class NotFound(Protocol):
    """Makes the watcher check a folder in which a worker could not read a file."""

    def __call__(self, root: Path, relative: Path, /, *, gone: bool) -> None:
        """Check a watched folder; ``gone``: the file was not there, so it is awaited again."""


def nobody_watches(root: Path, relative: Path, /, *, gone: bool) -> None:
    """Do nothing: there is no watcher."""
    del root, relative, gone


class JobSettler:
    """Settles the jobs that come back from the engine.

    Parameters
    ----------
    ledger, outputs, instruments
        Where the outcome is recorded, written and counted.
    engine
        Engine that ran the jobs.
    model
        Model in use, which may have changed since a job began.
    not_found
        Called when a micrograph could not be read.
    on_picked
        Calls a program for each picked micrograph. None: there is none.
    replacement
        Sets a model aside that fails on every micrograph, and returns another one.
    """

    def __init__(
        self,
        *,
        ledger: LedgerWriter,
        outputs: Outputs,
        instruments: Instruments,
        engine: Engine,
        model: CurrentModel,
        not_found: NotFound = nobody_watches,
        on_picked: OnPicked | None = None,
        replacement: Replacement = lambda *_: None,
    ) -> None:
        self._replacement = replacement
        self._ledger = ledger
        self._outputs = outputs
        self._instruments = instruments
        self._engine = engine
        self._model = model
        self._not_found = not_found
        self._on_picked = on_picked
        self._deaths = engine.deaths
        self.engine_fault: EngineError | None = None
        """Reason why no worker can be started; None once a job has finished."""
        self._model_faults: set[int] = set()
        self._noted: set[NoteKind] = set()

    def settle(self, finished: Finished, *, stopping: bool, unavailable: Collection[Path]) -> None:
        """Settle a finished job, whatever its outcome.

        Parameters
        ----------
        finished
            Message that the job is done.
        stopping
            True while the service stops: the signal may have ended the workers too.
        unavailable
            Watched folders that cannot be read now; their micrographs are not blamed.

        Raises
        ------
        ProviderError
            The GPU is required but not available.
        ModelError
            The model fails on every micrograph.
        LedgerWriteError
            Writing to the ledger failed; the job can be settled again.
        """
        claim, outcome = finished.claim, _outcome(finished.future)
        crashed = isinstance(outcome, BrokenExecutor)
        if not stopping:
            self.count_deaths()
        if isinstance(outcome, EngineError):
            self._engine_failed(claim, outcome)
            return
        self.engine_fault = None
        if not self._holds(claim):
            return
        if isinstance(outcome, Result):
            self._keep(claim, outcome)
        elif isinstance(outcome, CancelledError) or (crashed and stopping):
            self._ledger.released(claim)
        elif isinstance(outcome, WorkerDiedError) and outcome.cause == "outside":
            self._interrupted(claim, outcome)
        elif crashed:
            self._suspect(claim, _as_failure(claim, outcome), MAX_CRASHES)
        elif isinstance(outcome, TimeLimitError | MemoryLimitError):
            self._suspect(claim, outcome, MAX_EXCESSES)
        else:
            self._error(claim, outcome, unavailable)

    def settle_results(self, group: Sequence[Finished], *, stopping: bool) -> bool:
        """Settle jobs that all have a result: write the coordinates of all, then record all.

        ``stopping`` as in ``settle``.

        Returns
        -------
        bool
            False if that met any error: nothing is recorded, and ``settle`` of each tells which one
            is at fault. Files that were written have the content that ``settle`` finds right.
        """
        try:
            with self._ledger.database.transaction():
                kept = [
                    self._record(finished.claim, finished.future.result())
                    for finished in group
                    if self._holds(finished.claim)
                ]
        except Exception:  # noqa: BLE001 - see above
            return False
        if not stopping:
            self.count_deaths()
        self.engine_fault = None
        for one in kept:
            self._count(one)
        return True

    def count_deaths(self) -> None:
        """Count the workers that have died since the last call."""
        while self._deaths < self._engine.deaths:
            self._deaths += 1
            self._instruments.worker_crashed()

    def give_up(self, claim: Claim, error: Exception) -> None:
        """Fail a micrograph after an unexpected error, unless it is settled already."""
        if self._ledger.holds(claim):
            self._give_up(claim, error, "pick")

    def forgive_model(self) -> None:
        """Forget the errors of the previous model, after a promotion."""
        self._model_faults.clear()

    def _holds(self, claim: Claim) -> bool:
        """Return True if the outcome of a job is still that of the micrograph's content."""
        holds = self._ledger.holds(claim)
        if not holds:
            _log.debug("%s: result discarded, the file has new content", claim.relative)
        return holds

    def _keep(self, claim: Claim, result: Result) -> None:
        """Write the coordinates, then record them."""
        try:
            kept = self._record(claim, result)
        except OutputError as error:
            self._outputs.write_failed(error)
            self._outputs.reconcile(claim.root, claim.relative)  # some formats may be written
            self._ledger.released(claim)
        except _ExportError as error:
            self._give_up(claim, error.reason, "export")
        else:
            self._count(kept)

    def _record(self, claim: Claim, result: Result) -> "_Kept":
        """Write the coordinates, then record them.

        Raises
        ------
        OutputError
            Writing to the output folder failed.
        _ExportError
            The coordinates of this micrograph cannot be written.
        LedgerError
            Writing to the ledger failed.
        """
        started_at = time.perf_counter()
        try:
            self._outputs.write(claim, result)
        except OutputError:
            raise
        except Exception as error:  # a fault of one file must not end the session
            raise _ExportError(error) from error
        export_seconds = time.perf_counter() - started_at
        recorded_from = time.time()
        self._ledger.picked(claim, result)
        self._model.queue_if_outdated(result)
        return _Kept(claim, result, export_seconds, recorded_from)

    def _count(self, kept: "_Kept") -> None:
        """Count and log a micrograph whose picks are recorded, and have its program called."""
        claim, result = kept.claim, kept.result
        if self._on_picked is not None:
            self._on_picked.picked(claim.id, kept.recorded_from)
        self._model_faults.clear()
        latency_seconds = None if claim.repick else time.time() - claim.landed_at
        self._instruments.picked(
            result, latency_seconds=latency_seconds, export_seconds=kept.export_seconds
        )
        self._log_notes(claim, result.notes)
        count = result.picks.count_above(result.threshold)
        _log.info("%s: %d particles (model %d)", claim.relative, count, result.model_version)

    def _log_notes(self, claim: Claim, notes: Sequence[Note]) -> None:
        """Log what was odd about a file, once of each kind."""
        for note in notes:
            if note.kind not in self._noted:
                self._noted.add(note.kind)
                _log.warning(
                    "%s: %s; other micrographs with such a note are only counted",
                    claim.relative,
                    note.text,
                )

    def _engine_failed(self, claim: Claim, error: EngineError) -> None:
        """Queue a micrograph again, because no worker can be started."""
        if self.engine_fault is None:
            _log.error("picking waits: %s", error)
        self.engine_fault = error
        if self._ledger.holds(claim):
            self._ledger.released(claim)

    def _suspect(self, claim: Claim, error: LivepickError, most: int) -> None:
        """Try a micrograph again alone, or give it up if it has done this ``most`` times."""
        if claim.crashes + 1 >= most:
            self._give_up(claim, error, "pick")
            return
        self._ledger.suspected(claim, error)
        self._instruments.retried(error.reason)
        _log.warning("%s: tried again alone: %s", claim.relative, error.what)

    def _interrupted(self, claim: Claim, death: WorkerDiedError) -> None:
        """Try a micrograph again whose worker was killed from outside."""
        if claim.interruptions + 1 >= MAX_INTERRUPTIONS:
            error = PoisonError(
                f"{claim.relative}: its worker was killed {MAX_INTERRUPTIONS} times: {death}",
                "Find out what kills the processes of livepick. The micrograph is tried once more"
                " after the next start.",
            )
            self._give_up(claim, error, "pick")
            return
        delay_seconds = min(2.0**claim.interruptions - 1, LONGEST_DELAY_SECONDS)
        self._ledger.interrupted(claim, delay_seconds=delay_seconds)
        self._instruments.retried("poison")
        _log.warning("%s: tried again, its worker died: %s", claim.relative, death)

    def _error(self, claim: Claim, error: BaseException, unavailable: Collection[Path]) -> None:
        """Retry transient errors, fail on permanent ones, and raise those not due to the file."""
        if isinstance(error, ModelError) and self._is_due_to_model(claim, error):
            self._ledger.released(claim)
            return
        if claim.root in unavailable and isinstance(error, VanishedFileError | UnreadableFileError):
            self._ledger.released(claim)
            return
        if isinstance(error, VanishedFileError | UnreadableFileError):
            gone = isinstance(error, VanishedFileError)
            self._not_found(claim.root, claim.relative, gone=gone)
        if isinstance(error, LivepickError) and _may_pass(error) and claim.tries + 1 < MAX_TRIES:
            delay_seconds = RETRY_DELAYS_SECONDS[claim.tries]
            if isinstance(error, ChangedFileError | IncompleteFileError):
                delay_seconds = CHANGED_DELAY_SECONDS
            self._ledger.retry(claim, error, delay_seconds=delay_seconds)
            self._instruments.retried(error.reason)
            _log.warning("%s: retry in %g s: %s", claim.relative, delay_seconds, error.what)
        else:
            self._give_up(claim, error, "pick")

    def _is_due_to_model(self, claim: Claim, error: ModelError) -> bool:
        """Return True if another model is used now, after errors with several micrographs in a row.

        Raises
        ------
        ModelError
            There is no other model; or ``ProviderError``, at once: the GPU is missing.
        """
        self._model_faults.add(claim.id)
        if isinstance(error, ProviderError):
            self._ledger.released(claim)
            raise error
        if len(self._model_faults) < MODEL_FAULTS:
            return False
        replacement = self._replacement(self._model.version, error)
        if replacement is None:
            self._ledger.released(claim)
            raise error
        self._model.fall_back(*replacement)
        self._model_faults.clear()
        return True

    def _give_up(
        self, claim: Claim, error: BaseException, stage: Literal["pick", "export"]
    ) -> None:
        if isinstance(error, LivepickError):
            known = error
            _log.warning("%s: %s: %s", claim.relative, _verdict(claim), error)
        else:
            last_line = traceback.format_exception_only(error)[-1].strip()
            known = LivepickError(
                f"{claim.relative}: {last_line}",
                "This is a bug in livepick: please report it with the log lines.",
            )
            _log.error("%s: %s", claim.relative, _verdict(claim), exc_info=error)
        late = _late_try(claim, known)
        if late is not None:
            again = f"livepick tries it again after {late.delay_seconds / 60:g} min."
            known = UnreadableFileError(known.what, f"{known.remedy} {again}".lstrip())
        self._ledger.failed(claim, known, late=late)
        self._count_failure(claim, known.reason, stage)

    def _count_failure(self, claim: Claim, reason: str, stage: Literal["pick", "export"]) -> None:
        """Count a failure that the ledger has recorded, and settle the files.

        The failure of a late try is counted already.
        """
        if claim.tries >= MAX_TRIES:
            self._instruments.retried(reason)
        elif claim.repick:
            self._instruments.repick_failed(reason, stage)
        else:
            self._instruments.failed(reason, stage)
        self._outputs.reconcile(claim.root, claim.relative)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A micrograph whose picks are written and recorded."""

    claim: Claim
    result: Result
    export_seconds: float
    """Time that writing the coordinates took."""
    recorded_from: float
    """Unix seconds: the picks were recorded then or a little later."""


class _ExportError(Exception):
    """The coordinates of one micrograph cannot be written, for this reason."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


def _late_try(claim: Claim, error: LivepickError) -> LateTry | None:
    """Return when a micrograph is tried again that has failed, or None."""
    number = max(0, claim.tries - MAX_TRIES + 1)
    if not isinstance(error, UnreadableFileError) or number >= len(LATE_DELAYS_SECONDS):
        return None
    return LateTry(MAX_TRIES + number, LATE_DELAYS_SECONDS[number])


def _verdict(claim: Claim) -> str:
    return "not picked again, it keeps its picks" if claim.repick else "failed"


def _outcome(future: Future[Result]) -> Result | BaseException:
    try:
        error = future.exception()
    except CancelledError as cancelled:
        return cancelled
    return future.result() if error is None else error


def _as_failure(claim: Claim, death: BaseException) -> LivepickError:
    """Return the failure of a micrograph that ends its worker on every try."""
    if isinstance(death, WorkerDiedError) and death.cause == "memory":
        return MemoryLimitError(
            f"{claim.relative}: {death}, on every try",
            "Close other programs, lower picking.workers, or set picking.memory_limit_gib. It is"
            " tried once more after the next start.",
        )
    return PoisonError(
        f"{claim.relative} ends its worker process on every try: {death}",
        "Open it in another program; if it is a good image, please report this. It is tried once"
        " more after the next start.",
    )


def _may_pass(error: LivepickError) -> bool:
    # A model error on a single micrograph is retried with a new session. A file that is gone may
    # mean that its folder is, which the watcher finds out meanwhile.
    return error.retryable or isinstance(error, ModelError | VanishedFileError)

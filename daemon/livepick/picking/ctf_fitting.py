"""Fits of the CTF: a job of its own for each picked micrograph, behind all picks.

A fit is given to the workers only while there are fewer picks in progress than workers: none is
waiting then, and the next one waits for the rest of one fit at most, about half a second. Only
while micrographs are merely picked again for a newer model, which may take hours, there is a fit
after every tenth of them.

What is due is in the ledger. The latest micrographs, which the operator looks at, come first; after
a restart, the rest is fitted while there is nothing else to do. A fit that fails never affects the
micrograph.
"""

import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.job import CtfJob, WorkerDiedError
from livepick.core.formats.header import printable
from livepick.core.imaging.ctf import CtfFit
from livepick.core.imaging.quality import CtfFigures
from livepick.errors import EngineError, LivepickError, VanishedFileError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.ctf_queries import CtfQueries
from livepick.ledger.inbox import CtfFitted
from livepick.ledger.record_ctf import outcome_of
from livepick.ledger.rows import MicrographRow
from livepick.ledger.writer import LedgerWriter
from livepick.picking.engine import Engine
from livepick.picking.instruments import Instruments
from livepick.picking.output_sync import Outputs
from livepick.picking.tasks import fit_ctf

__all__ = ["CtfFitting"]

FIT_SECONDS = 120.0
"""Time limit of a fit. It takes half a second, unless the file is read from a slow share."""

MOST_TRIES = 2
RETRY_SECONDS = 60.0
"""Tries of a micrograph whose worker ended or whose file could not be read, and the time between
them. The next start of the service tries once more."""

ENGINE_PAUSE_SECONDS = 30.0
"""Time without fits after one that no worker could be found for."""

REPICKS_PER_FIT = 10

OFF = "off"
"""Stands for the settings of the microscope while ``micrograph.ctf`` is off."""

_log = logging.getLogger(__name__)


class CtfFitting:
    """Gives fits to the workers, and records their outcomes. For the dispatch thread.

    Parameters
    ----------
    config
        Returns the config that applies now.
    ledger, engine, outputs, instruments
        Those of the dispatch loop.
    finished
        Called from another thread when a fit has ended; ``settle`` takes the message.
    unexpected
        Counts the unexpected errors that are passed over.
    work
        Function that a worker calls with a job; tests pass their own.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        *,
        ledger: LedgerWriter,
        engine: Engine,
        outputs: Outputs,
        instruments: Instruments,
        finished: Callable[[CtfFitted], None],
        unexpected: UnexpectedErrors | None = None,
        work: Callable[[CtfJob], CtfFit] = fit_ctf,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._queries = CtfQueries(ledger.database)
        self._engine = engine
        self._outputs = outputs
        self._instruments = instruments
        self._finished = finished
        self._unexpected = unexpected or UnexpectedErrors()
        self._work = work
        self._running: set[int] = set()
        self._tries: dict[int, int] = {}
        self._retry_at: dict[int, float] = {}
        self._pause_until = 0.0
        self._repicks = 0
        self._settings = ""
        self._nothing_is_due: tuple[int, frozenset[Path], int] | None = None
        self._logged: set[type[BaseException]] = set()
        self._told: set[str] = set()

    def __len__(self) -> int:
        return len(self._running)

    def picked(self) -> None:
        """Note that a pick has ended."""
        self._repicks += 1

    def turn(self, *, picks: int, new_picks_wait: bool, without: Collection[Path]) -> None:
        """Start the fits for which there is room.

        Parameters
        ----------
        picks
            Number of picks in progress, in workers or waiting for one.
        new_picks_wait
            True if micrographs without picks are waiting.
        without
            Watched folders that are unavailable.

        Raises
        ------
        LedgerWriteError
            Writing to the ledger failed.
        """
        config = self._config()
        if not config.micrograph.fits_ctf:
            self._forget_untrusted()
            return
        if time.monotonic() < self._pause_until:
            return
        self._use_settings(str(config.optics))
        workers = (self._engine.capacity + 1) // 2  # which take one job, and have one waiting
        room = workers - picks - len(self._running)
        if room < 1 <= workers and not new_picks_wait and not self._running:
            room = int(self._repicks >= REPICKS_PER_FIT)
        if room < 1:
            return
        for row in self._due(room, without):
            self._repicks = 0
            self._start(row, config)

    def settle(self, message: CtfFitted) -> None:
        """Record the outcome of a fit.

        Raises
        ------
        LedgerWriteError
            Writing to the ledger failed; call it again.
        """
        row, future = message.row, message.future
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            pass
        elif error is None:
            self._record(row, future.result(), message.settings)
        elif isinstance(error, EngineError):
            self._pause_until = time.monotonic() + ENGINE_PAUSE_SECONDS
        elif _may_pass(error) and self._tries.get(row.id, 0) + 1 < MOST_TRIES:
            self._tries[row.id] = self._tries.get(row.id, 0) + 1
            self._retry_at[row.id] = time.monotonic() + RETRY_SECONDS
        else:
            self._give_up(row, error, message.settings)
        self._running.discard(row.id)

    def _forget_untrusted(self) -> None:
        """Forget the fits without figures: nobody is to act on them while fits are off."""
        if self._settings != OFF:
            self._ledger.ctf.forget_untrusted()
            self._settings = OFF

    def _use_settings(self, settings: str) -> None:
        """Make fits with other settings, and those that failed before the start, due again."""
        if settings == self._settings:
            return
        if count := self._ledger.ctf.forget_fits(settings):
            _log.info("CTF: %d micrographs are fitted again, with %s", count, settings)
            self._outputs.figures_changed()
        self._settings = settings

    def _due(self, room: int, without: Collection[Path]) -> list[MicrographRow]:
        now = time.monotonic()
        self._retry_at = {key: at for key, at in self._retry_at.items() if at > now}
        but = self._running | self._retry_at.keys()
        known = (self._ledger.changes, frozenset(without), len(but))
        if self._nothing_is_due == known:
            return []
        rows = self._queries.due(room, without=without, but=but)
        self._nothing_is_due = None if rows else known
        return rows

    def _start(self, row: MicrographRow, config: Config) -> None:
        optics = config.optics
        job = CtfJob(
            row.path,
            row.version,
            row.pixel_size_angstrom or 0.0,
            voltage_kv=optics.voltage_kv,
            spherical_aberration_mm=optics.spherical_aberration_mm,
            amplitude_contrast=optics.amplitude_contrast,
        )
        settings = self._settings

        def report(done: Future[CtfFit]) -> None:
            self._finished(CtfFitted(row, done, settings))

        self._running.add(row.id)
        self._engine.submit_timed(FIT_SECONDS, self._work, job).add_done_callback(report)

    def _record(self, row: MicrographRow, fit: CtfFit, settings: str) -> None:
        if settings != self._settings:
            return  # the settings were edited while it ran: it is due again
        if not self._ledger.ctf.fitted(row.id, row.content, fit, settings):
            return
        self._instruments.ctf_fitted(outcome_of(fit))
        if not fit.is_possible and fit.reason not in self._told:
            self._told.add(fit.reason)
            _log.info("CTF: %s is not fitted: %s", printable(row.relative), fit.reason)
        if fit.ctf is not None:
            self._outputs.figures_changed()
            self._instruments.ctf_found(CtfFigures.of(fit.ctf))

    def _give_up(self, row: MicrographRow, error: BaseException, settings: str) -> None:
        """Record that there is no fit. The first error of each kind is logged as a warning."""
        name = printable(row.relative)
        if not self._ledger.ctf.failed(row.id, row.content, str(error), settings):
            return
        self._instruments.ctf_fitted("failed")
        if not isinstance(error, LivepickError) and not _may_pass(error):
            self._unexpected.passed_over("ctf", name, _as_exception(error))
        level = logging.DEBUG if type(error) in self._logged else logging.WARNING
        self._logged.add(type(error))
        _log.log(level, "%s: the CTF cannot be fitted: %s", name, error)


def _may_pass(error: BaseException) -> bool:
    """Return True if another try may succeed."""
    if isinstance(error, LivepickError):
        return error.retryable or isinstance(error, VanishedFileError)
    return isinstance(error, WorkerDiedError | OSError)


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(repr(error))

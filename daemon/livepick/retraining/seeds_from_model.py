"""Seeds from a model that is not in use: the workers pick micrographs with its bundle.

The bundle may come from elsewhere. A network sees every particle at the same size in pixels, so a
bundle for another specimen, microscope and pixel size works if the micrographs are scaled by the
diameter of the particle at hand. Or it is the session's first picker, when a trained model is in
use: a run that learned from the picks of its predecessor would learn its mistakes.
"""

import itertools
import logging
import time
from collections.abc import Collection, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.bundle import ModelCard, read_card
from livepick.core.contracts.job import Job, Result, WorkerDiedError
from livepick.core.formats.file_version import FileVersion
from livepick.errors import (
    EngineError,
    LivepickError,
    ModelError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.models.bundle_on_disk import verify_graph
from livepick.retraining.holdout_split import is_suitable_for_training
from livepick.retraining.seed_sources import (
    MicrographOrder,
    Seeds,
    Tally,
    WaitReason,
    seeds_by,
    wait_for_micrographs,
    with_seeds,
)
from livepick.retraining.trial_picking import DEATHS, QUEUE_SECONDS, TRIAL_SECONDS, Submit

__all__ = ["SeedsFromModel"]

AT_ONCE = 4
"""Maximum number of jobs given to the workers at a time; the session's own jobs run between them.
"""

MOST_TRIED = 5
"""Maximum number of micrographs to try, in multiples of ``bootstrap.micrographs``: a model that
finds too little in that many is of no use."""

RETRY_SECONDS = 300.0
"""Pause before a micrograph that was gone or unreadable is tried again."""

_log = logging.getLogger(__name__)

Key = tuple[int, FileVersion]
"""Micrograph id and content version."""


@dataclass(frozen=True, slots=True)
class _Submitted:
    future: Future[Result]
    since: float
    """Monotonic seconds."""


class SeedsFromModel:
    """Picks micrographs with a bundle, a few at a time, without waiting for any of them.

    Parameters
    ----------
    submit
        Function that submits a job to the workers.
    bundle
        Folder of the model.
    order
        MicrographOrder of the micrographs.
    own
        True if it is the session's first picker, not a bundle from elsewhere.
    """

    def __init__(
        self,
        config: Config,
        ledger: LedgerReader,
        submit: Submit,
        bundle: Path,
        *,
        order: MicrographOrder,
        own: bool = False,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._submit = submit
        self._path = bundle
        self._order = order
        self._own = own
        self._card: ModelCard | None = None
        self._results: dict[Key, Result | None] = {}
        self._submitted: dict[Key, _Submitted] = {}
        self._retry_at: dict[Key, float] = {}
        """Monotonic seconds of the next try of micrographs that were gone or unreadable."""
        self._faults = 0
        self._refused: LivepickError | None = None

    def collect(self, held_out: Collection[Path]) -> Seeds | WaitReason:
        """Submit the next micrographs to the workers; return the seeds once there are enough."""
        try:
            card = self._usable()
        except ModelError as error:
            return WaitReason(f"Training cannot start: {error}", "trouble")
        if (early := wait_for_micrographs(self._config, self._ledger)) is not None:
            return early
        self._take_results()
        tally, tried = Tally(self._config, held_out), 0
        most = MOST_TRIED * tally.wanted
        rows = itertools.islice(self._order.rows(held_out), most)
        for row in rows:
            if not self._count(row, tally, card.threshold):
                self._submit_jobs(itertools.chain([row], rows))
                return WaitReason(
                    f"The model of bootstrap.picks ({self._path.name}) is picking the first"
                    f" training set: {len(tally.fit)} of {tally.wanted} micrographs are done.",
                    "at work",
                )
            if tally.is_enough:
                return self._seeds(tally, card)
            tried += 1
        missing = tally.missing()
        if tried == most and missing is not None:
            return WaitReason(
                f"Training cannot start: the model of bootstrap.picks ({self._path.name}) was tried"
                f" on {tried} micrographs. {missing.sentence} It may not recognize these particles;"
                " check particle.diameter_angstrom, or set bootstrap.picks: blob.",
                "trouble",
            )
        return missing or WaitReason("Training starts.", "at work")

    def _usable(self) -> ModelCard:
        """Return the card of the bundle; read it again on each call until it is valid."""
        if self._refused is not None:
            raise self._refused
        if self._card is None:
            path = self._path.resolve()  # a job must not contain a link that may change
            card = read_card(path)
            verify_graph(path, card)
            self._path, self._card = path, card
        return self._card

    def _count(self, row: MicrographRow, tally: Tally, threshold: float) -> bool:
        """Count a micrograph; return False if its picks are not available yet."""
        masked = row.masked_fraction
        if _is_hopeless(row):
            tally.take(row, 0, masked)
        elif _key(row) not in self._results:
            return False
        elif (result := self._results[_key(row)]) is not None:
            good = len(result.picks.above(threshold))
            tally.take(row, good, result.quality.masked_fraction)
        return True

    def _submit_jobs(self, rows: Iterable[MicrographRow]) -> None:
        """Submit micrographs to the workers, up to ``AT_ONCE`` at a time."""
        particle = self._config.particle
        for row in rows:
            if len(self._submitted) >= AT_ONCE:
                return
            key = _key(row)
            if key in self._submitted or key in self._results or _is_hopeless(row):
                continue
            job = Job(
                path=row.path,
                version=row.version,
                bundle=self._path,
                device=self._config.picking.device,
                pixel_size_angstrom=self._config.micrograph.pixel_size_angstrom,
                trust=self._config.micrograph.trust,
                diameter_angstrom=None if self._own else particle.diameter_angstrom,
                contrast=None if self._own else particle.contrast,
            )
            self._submitted[key] = _Submitted(self._submit(job), time.monotonic())

    def _take_results(self) -> None:
        """Collect the results of finished jobs."""
        self._forget_lost()
        for key, job in list(self._submitted.items()):
            late = time.monotonic() - job.since > TRIAL_SECONDS + QUEUE_SECONDS
            if not job.future.done() and not late:
                continue
            del self._submitted[key]
            try:
                self._results[key] = job.future.result(timeout=0)
            except CancelledError:
                continue  # the workers were told to end
            except EngineError:
                raise  # not a fault of the model
            except WorkerDiedError as error:
                if error.cause != "outside":
                    self._blame(error)
            except (ModelError, BrokenExecutor) as error:
                self._blame(error)  # the micrograph is tried again, unless the model is given up
            except TimeoutError:
                job.future.cancel()
                self._leave_out(key, f"it takes more than {TRIAL_SECONDS:g} s")
            except Exception as error:  # noqa: BLE001 - a fault of one file must not end the session
                may_be_back = isinstance(error, VanishedFileError | UnreadableFileError)
                reason = str(error) or type(error).__name__
                self._leave_out(key, reason, may_be_back=may_be_back)

    def _forget_lost(self) -> None:
        """Forget the errors of files that may be back by now."""
        now = time.monotonic()
        for key in [key for key, at in self._retry_at.items() if now >= at]:
            del self._retry_at[key], self._results[key]

    def _leave_out(self, key: Key, reason: str, *, may_be_back: bool = False) -> None:
        self._results[key] = None
        if may_be_back:
            self._retry_at[key] = time.monotonic() + RETRY_SECONDS
        row = self._ledger.get(key[0])
        name = row.relative if row is not None else "a micrograph"
        _log.warning("%s: left out of the training set: %s", name, reason)

    def _blame(self, error: BaseException) -> None:
        """Give the model up after ``DEATHS`` faults, because they cost the session its workers."""
        self._faults += 1
        if self._faults < DEATHS:
            return
        what = error.what if isinstance(error, ModelError) else "its worker died each time"
        self._refused = ModelError(
            f"model {self._path} does not run: {what}",
            "Name another bundle in bootstrap.picks, or use blob, and restart the service.",
        )

    def _seeds(self, tally: Tally, card: ModelCard) -> Seeds:
        results = [(row, self._results[_key(row)]) for row in tally.fit]
        return Seeds(
            [with_seeds(row, result.picks) for row, result in results if result is not None],
            seeds_from=seeds_by(card) if self._own else "model",
            threshold=card.threshold,
            parent=card.version if self._own else None,
        )


def _key(row: MicrographRow) -> Key:
    return row.id, row.version


def _is_hopeless(row: MicrographRow) -> bool:
    masked = row.masked_fraction
    return not is_suitable_for_training(masked_fraction=masked, picks=1)

"""The model and the settings used for picking, and the micrographs that a change makes due."""

import logging
from collections.abc import Callable
from pathlib import Path

from livepick.config.sections import Device, Repick, Trust
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.job import Job, Result
from livepick.errors import ModelError
from livepick.ledger.inbox import PickingChanged
from livepick.ledger.requeue import RetryFailed
from livepick.ledger.rows import Claim
from livepick.ledger.writer import LedgerWriter

__all__ = ["CurrentModel", "Replacement"]

Replacement = Callable[[int, ModelError], tuple[Path, ModelCard] | None]
"""Sets aside a model that does not run, given its version and the error, and returns folder and
card of another one; None if there is none."""

_log = logging.getLogger(__name__)


AT_ONCE = 5000
"""Maximum number of micrographs that are queued for another model at once."""


class CurrentModel:
    """The model and settings of the next job.

    Parameters
    ----------
    ledger
        Ledger in which outdated micrographs are queued again.
    bundle, card
        Folder and card of the model used at the start.
    device
        Device to pick on.
    pixel_size_angstrom
        Pixel size from the config. None: read from the header of each micrograph.
    trust
        Which pixel size counts if config and header differ. None: that is an error.
    threshold
        Threshold from the config. None: the model's own.
    repick
        Which micrographs are picked again after a change of model.
    is_fallback
        True if the model is used because the one that should pick cannot be.
    """

    def __init__(
        self,
        ledger: LedgerWriter,
        *,
        bundle: Path,
        card: ModelCard,
        device: Device = "cpu",
        pixel_size_angstrom: float | None = None,
        trust: Trust | None = None,
        threshold: float | None = None,
        repick: Repick = "provisional",
        is_fallback: bool = False,
    ) -> None:
        self._is_fallback = is_fallback
        self._ledger = ledger
        self._bundle = bundle
        self._card = card
        self._device: Device = device
        self._pixel_size_angstrom = pixel_size_angstrom
        self._trust: Trust | None = trust
        self._threshold = threshold
        self._repick: Repick = repick
        self._left: tuple[Repick, float | None] | None = None
        """Policy and threshold of a change for which more micrographs are due; None: for none."""

    def begin(self) -> None:
        """Record the model at the start, and queue the micrographs that are due for it."""
        if count := self._use(retry_failed="harmless"):
            _log.info("model %d: %d micrographs are picked again", self._card.version, count)

    @property
    def repicks(self) -> bool:
        """True if micrographs with picks are picked again at all."""
        return self._repick != "none"

    @property
    def version(self) -> int:
        """Version of the model in use."""
        return self._card.version

    def job(self, claim: Claim) -> Job:
        """Return the job that picks a micrograph."""
        return Job(
            path=claim.path,
            version=claim.version,
            bundle=self._bundle,
            device=self._device,
            pixel_size_angstrom=self._pixel_size_angstrom,
            threshold=self._threshold,
            trust=self._trust,
            graph_sha256=self._card.graph_sha256,
        )

    def promote(self, bundle: Path, card: ModelCard) -> None:
        """Pick with another model from now on."""
        self._bundle, self._card, self._is_fallback = bundle, card, False
        count = self._use()
        _log.info(
            "model %d (%s): used from now on, %d micrographs are picked again",
            card.version,
            card.kind,
            count,
        )

    def fall_back(self, bundle: Path, card: ModelCard) -> None:
        """Pick with an earlier model from now on; what has picks keeps them."""
        if card.version == self._card.version:
            return
        self._bundle, self._card, self._is_fallback = bundle, card, True
        self._use()
        _log.error("model %d (%s): used in place of a damaged one", card.version, card.kind)

    def change_settings(self, change: PickingChanged) -> None:
        """Pick with other settings from now on."""
        with self._ledger.database.transaction():
            if change.repick != self._repick:
                self._ledger.requeue.cancel_stale()  # queued under the previous policy
            count = self._queue_stale(change.repick, change.threshold)
        self._threshold, self._repick = change.threshold, change.repick
        _log.info(
            "picking: threshold %s and repick %s from now on, %d micrographs are picked again",
            "auto" if change.threshold is None else f"{change.threshold:g}",
            change.repick,
            count,
        )

    def queue_if_outdated(self, result: Result) -> None:
        """Queue the outdated micrographs if the job of ``result`` began before a change."""
        current = (self._card.version, self._lowest_score(self._threshold))
        if (result.model_version, result.threshold) != current and not self._is_fallback:
            self._queue_stale(self._repick, self._threshold, retry_failed="none")

    def turn(self) -> None:
        """Queue more of the micrographs that are due, if a change left many."""
        if self._left is not None:
            repick, threshold = self._left
            if self._queue_some(repick, threshold, "none", AT_ONCE) < AT_ONCE:
                self._left = None

    def _use(self, *, retry_failed: RetryFailed = "all") -> int:
        """Record the model in use, queue the micrographs that are due for it; return how many.

        Picks by a model trained for another particle count as provisional.
        """
        card, repick = self._card, self._repick
        with self._ledger.database.transaction():
            another = self._ledger.session.use_model(
                card.version, card.kind, card.particle_fingerprint
            )
            if self._is_fallback:
                return 0
            if another and repick != "none":
                # All at once: after a restart, it is not known that all are due.
                self._left = None
                return self._queue_some("all", self._threshold, retry_failed, -1)
            return self._queue_stale(repick, self._threshold, retry_failed=retry_failed)

    def _queue_stale(
        self, repick: Repick, threshold: float | None, *, retry_failed: RetryFailed = "all"
    ) -> int:
        """Queue the micrographs due for the current model and a threshold; return how many.

        Of many, ``turn`` queues the rest, a part at a time: no picks are written meanwhile.
        """
        count = self._queue_some(repick, threshold, retry_failed, AT_ONCE)
        self._left = None
        if count >= AT_ONCE:
            self._left = (repick, threshold)
            count += self._ledger.requeue.stale_count(
                self._card.version,
                repick=repick,
                threshold=self._lowest_score(threshold),
                for_all=threshold is not None,
            )
        return count

    def _queue_some(
        self, repick: Repick, threshold: float | None, retry_failed: RetryFailed, most: int
    ) -> int:
        return self._ledger.requeue.stale(
            self._card.version,
            repick=repick,
            threshold=self._lowest_score(threshold),
            for_all=threshold is not None,
            retry_failed=retry_failed,
            most=most,
        )

    def _lowest_score(self, threshold: float | None) -> float:
        """Return the lowest score at which a pick counts."""
        return self._card.threshold if threshold is None else threshold

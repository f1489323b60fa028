"""Registry of the model bundles on disk: list, promote and roll back.

``models/champion.json`` records the promotions (``livepick.models.promotions``). The current model
is the last one promoted; if that is damaged or does not run, the one before. It is the blob picker
before the first promotion, and if that model was made for another particle in another session.

A bundle is checked before it is used (``livepick.models.bundle_on_disk``).
"""

import logging
import threading
import time
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.bundle import ModelCard, bundle_name, numbered_folders
from livepick.core.contracts.run import RUNS
from livepick.errors import ModelError
from livepick.models.blob_picker import publish_blob_picker
from livepick.models.bundle_on_disk import Bundle, BundleChecks, read_bundle, verified_bundle
from livepick.models.promotions import (
    By,
    Promotion,
    append_promotion,
    lock_models,
    read_promotions,
    rollback_trail,
)

__all__ = ["MODELS", "Models"]

MODELS = "models"
"""Name of the folder of bundles in the state directory."""

_log = logging.getLogger(__name__)


class Models:
    """The folder of bundles of one session."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.version_lock = threading.RLock()
        """Lock held from allocating a version until its bundle or run exists: the service makes
        the blob picker in one thread and orders runs in another."""
        self._warned: set[str] = set()
        self._checks = BundleChecks()

    def bundles(self) -> list[Bundle]:
        """Return the readable bundles, sorted by version; damaged ones are left out."""
        found = []
        for path in numbered_folders(self.directory):
            try:
                found.append(read_bundle(path))
            except ModelError as error:
                self._warn(f"model {path.name}: left out: {error}")
        return sorted(found, key=lambda bundle: bundle.card.version)

    def next_version(self, *, besides: Path | None = None) -> int:
        """Return the next version not used by a bundle or a numbered folder in ``besides``."""
        taken = [int(path.name) for path in numbered_folders(self.directory)]
        if besides is not None:
            taken += [int(path.name) for path in numbered_folders(besides)]
        return max(taken, default=-1) + 1

    def promotions(self) -> list[Promotion]:
        """Return the promotion history, the latest last; empty if it is damaged."""
        try:
            return read_promotions(self.directory)
        except ModelError as error:
            self._warn(f"models: the blob picker is used: {error}")
        except OSError as error:
            self._warn(
                f"models: the blob picker is used: {error.filename} cannot be read:"
                f" {error.strerror}. Let the service's user read it."
            )
        return []

    def last_promotion(self) -> Promotion | None:
        """Return the last promotion; None if there is none."""
        promotions = self.promotions()
        return promotions[-1] if promotions else None

    def promoted(self) -> Bundle | None:
        """Return the bundle that was promoted last; None if there is none or it is damaged."""
        promotion = self.last_promotion()
        if promotion is None:
            return None
        try:
            return read_bundle(self._path(promotion.version))
        except ModelError as error:
            self._warn(f"model {promotion.version}: not used: {error}")
            return None

    def fault(self) -> ModelError | None:
        """Return why the model promoted last cannot be used; None if it can, or there is none."""
        promotion = self.last_promotion()
        if promotion is None:
            return None
        found = self._checks.check(self._path(promotion.version))
        return found if isinstance(found, ModelError) else None

    def set_aside(self, version: int, error: ModelError) -> None:
        """Do not use a model any more that does not run, until its files or the service change."""
        self._checks.set_aside(self._path(version), error)

    def trained(self, fingerprint: str) -> Bundle | None:
        """Return the newest trained bundle with this training fingerprint."""
        fitting = [
            bundle
            for bundle in self.bundles()
            if bundle.card.kind == "trained" and bundle.card.fingerprint == fingerprint
        ]
        return fitting[-1] if fitting else None

    def blob(self, config: Config) -> Bundle | None:
        """Return the newest blob picker for the particle of ``config``."""
        wanted = config.particle_fingerprint()
        fitting = [
            bundle
            for bundle in self.bundles()
            if bundle.card.kind == "blob" and bundle.card.particle_fingerprint == wanted
        ]
        intact = (bundle for bundle in reversed(fitting) if self._usable(bundle.path))
        return next(intact, None)

    def current(self, config: Config) -> Bundle:
        """Return the bundle currently used for picking.

        Raises
        ------
        ModelError
            No promoted model fits the particle, and there is no blob picker.
        """
        current = self._current(config)
        if current is None:
            raise ModelError(
                f"{self.directory} has no model for this particle",
                "Start the service once: it makes the blob picker.",
            )
        return current

    def fitting(self, version: int, config: Config) -> Bundle:
        """Return a bundle that may be used with ``config``: intact, and made for its particle.

        A bundle for another particle is accepted if it was used earlier in this session.

        Raises
        ------
        ModelError
            The bundle does not exist, is damaged, or is for another particle.
        """
        bundle = verified_bundle(self._path(version))
        card, particle = bundle.card, config.particle
        if not self._fits(card, config):
            raise ModelError(
                f"model {version} was made for another particle ({card.diameter_angstrom:g} Å,"
                f" {card.contrast}) than the config's ({particle.diameter_angstrom:g} Å,"
                f" {particle.contrast})",
                "Choose one that fits (livepick models list CONFIG), or set the section particle"
                " back to what it was made for.",
            )
        return bundle

    def promote(
        self,
        version: int,
        *,
        by: By,
        why: str,
        fingerprint: str,
        session: str = "",
        rollback: bool = False,
    ) -> Bundle:
        """Make a bundle the current model with one rename; a repeat by the service changes nothing.

        Parameters
        ----------
        version
            Version of the bundle.
        by
            Who made the decision.
        why
            Reason for the history, as one sentence.
        fingerprint
            Training fingerprint of the config that the decision is for.
        session
            Name of the microscope session.
        rollback
            True to undo the promotions made since this version was in use.

        Raises
        ------
        ModelError
            The bundle does not exist, is damaged, or its graph does not match its card.
        LedgerWriteError
            Writing failed, for example because the disk is full. The current model is the old
            one, or the new one if only the last sync failed.
        """
        with lock_models(self.directory):
            bundle = verified_bundle(self._path(version))
            promotion = Promotion(
                version=version,
                at=time.time(),
                by=by,
                why=why,
                fingerprint=fingerprint,
                session=session,
                rollback=rollback,
            )
            append_promotion(self.directory, promotion)
        return bundle

    def rollback_target(self, config: Config) -> Bundle | None:
        """Return the bundle used before the current one, as given by ``promotions.rollback_trail``.

        Bundles that were removed or do not fit ``config`` are skipped. Before the first promotion
        the blob picker was in use.
        """
        bundles = {bundle.card.version: bundle for bundle in self.bundles()}
        current, blob = self._current(config), self.blob(config)
        earlier = [bundles.get(version) for version in reversed(rollback_trail(self.promotions()))]
        for bundle in [*earlier, blob]:
            if bundle and bundle != current and self._fits(bundle.card, config):
                return bundle
        return None

    def ensure_blob(self, config: Config) -> Bundle:
        """Return the blob picker for the particle of ``config``; make it if it does not exist.

        Raises
        ------
        ModelError
            The blob picker could not be written.
        """
        present = self.blob(config)
        if present is not None:
            return present
        with self.version_lock:
            version = self.next_version(besides=self.directory.parent / RUNS)
            path, card = publish_blob_picker(self.directory, config, version)
        _log.info("model %d: blob picker for %g Å", version, config.particle.diameter_angstrom)
        return Bundle(path, card)

    def _path(self, version: int) -> Path:
        return self.directory / bundle_name(version)

    def _current(self, config: Config) -> Bundle | None:
        trail = rollback_trail(self.promotions())
        usable = (self._usable(self._path(number)) for number in reversed(trail))
        promoted = next((bundle for bundle in usable if bundle is not None), None)
        if promoted and self._fits(promoted.card, config):
            return promoted
        return self.blob(config)

    def _usable(self, path: Path) -> Bundle | None:
        """Return a bundle; None, with a warning, if it is damaged or does not run."""
        found = self._checks.check(path)
        if isinstance(found, ModelError):
            self._warn(f"model {path.name}: not used: {found}")
            return None
        return found

    def _fits(self, card: ModelCard, config: Config) -> bool:
        """Return True if a model may be used: it fits the particle, or was used in this session.

        After an edit of the particle a new model is trained. The current model stays in use until
        the new one is at least as good. Another session has another sample.
        """
        return card.particle_fingerprint == config.particle_fingerprint() or any(
            promotion.version == card.version and promotion.session == config.session.name
            for promotion in self.promotions()
        )

    def _warn(self, message: str) -> None:
        """Log a warning only once, because the folder is checked every second."""
        if message not in self._warned:
            self._warned.add(message)
            _log.warning("%s", message)

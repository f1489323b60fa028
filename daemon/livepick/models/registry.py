"""Registry of the model bundles on disk: list, promote and roll back.

``models/champion.json`` records the promotions (``livepick.models.promotions``). The current model
is the last one promoted; if that is damaged or does not run, the one before. It is the first picker
before the first promotion, and if that model was made for another particle in another session. The
first picker is the general model or the blob picker (``bootstrap.picks``); there always is a blob
picker, to stand in for a general model that is damaged or does not run.

A bundle is checked before it is used (``livepick.models.bundle_on_disk``).

This is one file because all of it reads the same folder through the same checks.
"""

import logging
import threading
import time
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.bundle import Kind, ModelCard, bundle_name, numbered_folders
from livepick.core.contracts.run import RUNS
from livepick.errors import ModelError
from livepick.models.blob_picker import publish_blob_picker
from livepick.models.bundle_on_disk import (
    Bundle,
    BundleChecks,
    FileState,
    read_bundle,
    state_of_file,
    verified_bundle,
)
from livepick.models.general_model import SHIPPED, publish_general_picker
from livepick.models.promotions import (
    PROMOTIONS_FILE,
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
    """The folder of bundles of one session.

    Parameters
    ----------
    directory
        Folder of the bundles.
    shipped
        Folder of the general model that a session gets a copy of.
    """

    def __init__(self, directory: Path, *, shipped: Path = SHIPPED) -> None:
        self.directory = directory
        self._shipped = shipped
        self.version_lock = threading.RLock()
        """Lock held from allocating a version until its bundle or run exists: the service makes
        first pickers in one thread and orders runs in another."""
        self._warned: set[str] = set()
        self._checks = BundleChecks()
        self._history: tuple[FileState | None, list[Promotion]] = (None, [])
        self._not_made: ModelError | None = None
        """Why there is no copy of the general model for the particle; None if there is one."""
        self._stands_in: ModelError | None = None
        """Why the blob picker is used in place of the general model; None if it is not."""

    def bundles(self) -> list[Bundle]:
        """Return the readable bundles, sorted by version; damaged ones are left out."""
        found = []
        for path in numbered_folders(self.directory):
            try:
                found.append(self._checks.read(path))
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
        state = state_of_file(self.directory / PROMOTIONS_FILE)
        known_state, known = self._history  # asked for several times a second
        if state is not None and state == known_state:
            return known
        try:
            found = read_promotions(self.directory)
        except ModelError as error:
            self._warn(f"models: the first picker is used: {error}")
        except OSError as error:
            self._warn(
                f"models: the first picker is used: {error.filename} cannot be read:"
                f" {error.strerror}. Let the service's user read it."
            )
        else:
            self._history = state, found
            return found
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
        """Return why the model that should be used cannot be; None if it can.

        That is the one promoted last or, before the first promotion, the first picker.
        """
        promotion = self.last_promotion()
        if promotion is not None:
            found = self._checks.check(self._path(promotion.version))
            if isinstance(found, ModelError):
                return found
        return self._stands_in

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
        return self._newest("blob", config)

    def first_picker(self, config: Config) -> Bundle | None:
        """Return the picker of the session until a model is trained, if it has been made."""
        return self._first_picker(config)[0]

    def current(self, config: Config) -> Bundle:
        """Return the bundle currently used for picking.

        Raises
        ------
        ModelError
            No promoted model fits the particle, and there is no first picker.
        """
        current = self._current(config)
        if current is None:
            raise ModelError(
                f"{self.directory} has no model for this particle",
                "Start the service once: it makes the first picker.",
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
        path = self._path(version)
        if not path.is_dir():
            raise ModelError(
                f"there is no model {version} in {self.directory}",
                "List the models: livepick models list CONFIG",
            )
        bundle = verified_bundle(path)
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
        the first picker was in use.
        """
        bundles = {bundle.card.version: bundle for bundle in self.bundles()}
        current, first = self._current(config), self.first_picker(config)
        earlier = [bundles.get(version) for version in reversed(rollback_trail(self.promotions()))]
        for bundle in [*earlier, first]:
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
            path, card = publish_blob_picker(self.directory, config.particle, version)
        _log.info("model %d: blob picker for %g Å", version, config.particle.diameter_angstrom)
        return Bundle(path, card)

    def ensure_first_picker(self, config: Config) -> Bundle:
        """Return the first picker for the particle of ``config``; make it if it does not exist.

        If the general model is missing or damaged, that is logged, ``fault`` returns it, and the
        blob picker is used.

        Raises
        ------
        ModelError
            A bundle could not be written.
        """
        blob = self.ensure_blob(config)
        if config.bootstrap.first_picker == "blob":
            return blob
        if not any(_is_intact(bundle.path) for bundle in self._made_for("general", config)):
            self._make_general(config)
        return self.first_picker(config) or blob

    def _path(self, version: int) -> Path:
        return self.directory / bundle_name(version)

    def _current(self, config: Config) -> Bundle | None:
        trail = rollback_trail(self.promotions())
        usable = (self._usable(self._path(number)) for number in reversed(trail))
        promoted = next((bundle for bundle in usable if bundle is not None), None)
        if promoted and self._fits(promoted.card, config):
            self._stands_in = None
            return promoted
        first, self._stands_in = self._first_picker(config)
        return first

    def _first_picker(self, config: Config) -> tuple[Bundle | None, ModelError | None]:
        """Return the first picker, and why it is not the general model where that is wanted."""
        if config.bootstrap.first_picker == "blob":
            return self.blob(config), None
        general = self._newest("general", config)
        if general is not None:
            return general, None
        found = [self._checks.check(bundle.path) for bundle in self._made_for("general", config)]
        faults = [fault for fault in found if isinstance(fault, ModelError)]
        return self.blob(config), next(
            reversed(faults),
            self._not_made
            or ModelError(
                f"{self.directory} has no general model for this particle",
                "Restart the service: it makes another copy.",
            ),
        )

    def _make_general(self, config: Config) -> None:
        """Publish the general model for the particle of ``config``, or save why that failed."""
        with self.version_lock:
            version = self.next_version(besides=self.directory.parent / RUNS)
            try:
                publish_general_picker(
                    self.directory, config.particle, version, shipped=self._shipped
                )
            except ModelError as error:
                self._not_made = error
                _log.error("models: the blob picker is used: %s", error)
                return
        self._not_made = None
        _log.info("model %d: general model for %g Å", version, config.particle.diameter_angstrom)

    def _made_for(self, kind: Kind, config: Config) -> list[Bundle]:
        """Return the bundles of a kind for the particle of ``config``, sorted by version."""
        wanted = config.particle_fingerprint()
        return [
            bundle
            for bundle in self.bundles()
            if bundle.card.kind == kind and bundle.card.particle_fingerprint == wanted
        ]

    def _newest(self, kind: Kind, config: Config) -> Bundle | None:
        """Return the newest bundle of a kind, for the particle of ``config``, that can be used."""
        made = reversed(self._made_for(kind, config))
        return next((bundle for bundle in made if self._usable(bundle.path)), None)

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


def _is_intact(path: Path) -> bool:
    """Return True if the files of a bundle are as they were made; it may not run all the same."""
    try:
        verified_bundle(path)
    except ModelError:
        return False
    return True

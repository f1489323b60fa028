"""Registry of the model bundles on disk: list, promote, roll back, and remove old ones.

``models/champion.json`` records the model in use (``livepick.models.promotions``). The blob picker
is used before the first promotion, and when a new session finds a champion made for another
particle.
"""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.bundle import (
    GRAPH,
    ModelCard,
    bundle_name,
    numbered_folders,
    read_card,
    sha256,
)
from livepick.core.contracts.run import RUNS
from livepick.errors import LedgerWriteError, ModelError
from livepick.models.blob_picker import publish_blob_picker
from livepick.models.promotions import By, Promotion, alone, extend, read_promotions, trail
from livepick.models.prune import parents_of_runs_under_way, remove, sweep

__all__ = ["MODELS", "Bundle", "Models"]

MODELS = "models"
"""Name of the folder of bundles in the state directory."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model bundle on disk."""

    path: Path
    card: ModelCard


class Models:
    """The folder of bundles of one session."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.numbering = threading.RLock()
        """Lock held from allocating a version until its bundle or run exists: the service makes
        the blob picker in one thread and orders runs in another."""
        self._told: set[str] = set()

    def bundles(self) -> list[Bundle]:
        """Return the readable bundles, sorted by version; damaged ones are left out."""
        found = []
        for path in numbered_folders(self.directory):
            try:
                found.append(Bundle(path, read_card(path)))
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
        """Return the history of champions, the current one last; empty if it is damaged."""
        try:
            return read_promotions(self.directory)
        except ModelError as error:
            self._warn(f"champion: the blob picker serves instead: {error}")
        except OSError as error:
            self._warn(
                f"champion: the blob picker serves instead: {error.filename} cannot be read:"
                f" {error.strerror}. Let the service's user read it."
            )
        return []

    def promotion(self) -> Promotion | None:
        """Return the last promotion, which is that of the current champion."""
        promotions = self.promotions()
        return promotions[-1] if promotions else None

    def pointer(self) -> Bundle | None:
        """Return the bundle that was promoted last; None if there is none or it is damaged."""
        promotion = self.promotion()
        if promotion is None:
            return None
        path = self.directory / bundle_name(promotion.version)
        try:
            return Bundle(path, read_card(path))
        except ModelError as error:
            self._warn(f"champion: cannot be used, the blob picker serves instead: {error}")
            return None

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
        return fitting[-1] if fitting else None

    def champion(self, config: Config) -> Bundle:
        """Return the bundle currently used for picking.

        Raises
        ------
        ModelError
            No champion fits the particle, and there is no blob picker.
        """
        serving = self._serving(config)
        if serving is None:
            raise ModelError(
                f"{self.directory} has no model for this particle",
                "Start the service once: it makes the blob picker.",
            )
        return serving

    def fitting(self, version: int, config: Config) -> Bundle:
        """Return a bundle that may be used with ``config``: intact, and made for its particle.

        A bundle for another particle is accepted if it was used earlier in this session.

        Raises
        ------
        ModelError
            The bundle does not exist, is damaged, or is for another particle.
        """
        bundle = self._verified(version)
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
        """Make a bundle the champion with one rename; a repeat by the service changes nothing.

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
            Writing failed, for example because the disk is full. The champion is the old one, or
            the new one if only the last sync failed.
        """
        with alone(self.directory):
            bundle = self._verified(version)
            promotion = Promotion(
                version=version,
                at=time.time(),
                by=by,
                why=why,
                fingerprint=fingerprint,
                session=session,
                rollback=rollback,
            )
            extend(self.directory, promotion)
        return bundle

    def rollback_target(self, config: Config) -> Bundle | None:
        """Return the bundle used before the current one, as given by ``promotions.trail``.

        Bundles that were removed or do not fit ``config`` are skipped. Before the first promotion
        the blob picker was in use.
        """
        bundles = {bundle.card.version: bundle for bundle in self.bundles()}
        serves, blob = self._serving(config), self.blob(config)
        earlier = [bundles.get(version) for version in reversed(trail(self.promotions()))]
        for bundle in [*earlier, blob]:
            if bundle and bundle != serves and self._fits(bundle.card, config):
                return bundle
        return None

    def prune(self, keep: int, config: Config) -> list[Bundle]:
        """Remove the oldest trained bundles beyond ``keep``, and return them.

        Bundles that are needed stay, whatever their age: the champion and the one to roll back to,
        blob pickers, the model of the current settings (otherwise it would be trained again), and
        the parent of a run in progress. Run folders stay too: they record which micrographs were
        held out.

        Raises
        ------
        LedgerWriteError
            A bundle could not be removed.
        """
        with alone(self.directory):
            trained = [bundle for bundle in self.bundles() if bundle.card.kind == "trained"]
            needed = self._needed(config)
            old = trained[: max(0, len(trained) - keep)]
            removed = [bundle for bundle in old if bundle.card.version not in needed]
            try:
                sweep(self.directory)
                for bundle in removed:
                    remove(bundle.path)
            except OSError as error:
                raise LedgerWriteError(
                    f"{error.filename}: a model could not be removed: {error.strerror}",
                    "Look at the permissions of the state directory.",
                ) from error
        return removed

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
        with self.numbering:
            version = self.next_version(besides=self.directory.parent / RUNS)
            path, card = publish_blob_picker(self.directory, config, version)
        _log.info("model %d: blob picker for %g Å", version, config.particle.diameter_angstrom)
        return Bundle(path, card)

    def _serving(self, config: Config) -> Bundle | None:
        promoted = self.pointer()
        if promoted and self._fits(promoted.card, config):
            return promoted
        return self.blob(config)

    def _fits(self, card: ModelCard, config: Config) -> bool:
        """Return True if a model may be used: it fits the particle, or was used in this session.

        Editing the particle asks for another model. Until there is one that is no worse, the
        current model stays in use. Another session has another sample.
        """
        return card.particle_fingerprint == config.particle_fingerprint() or any(
            promotion.version == card.version and promotion.session == config.session.name
            for promotion in self.promotions()
        )

    def _verified(self, version: int) -> Bundle:
        path = self.directory / bundle_name(version)
        card = read_card(path)
        verify_graph(path, card)
        return Bundle(path, card)

    def _needed(self, config: Config) -> set[int]:
        """Return the versions that must not be removed."""
        needed = parents_of_runs_under_way(self.directory.parent / RUNS, self.directory)
        for bundle in (
            self.pointer(),
            self._serving(config),
            self.rollback_target(config),
            self.trained(config.training_fingerprint()),
        ):
            if bundle is not None:
                needed.add(bundle.card.version)
        return needed

    def _warn(self, message: str) -> None:
        """Log a warning only once, because the folder is checked every second."""
        if message not in self._told:
            self._told.add(message)
            _log.warning("%s", message)


def verify_graph(path: Path, card: ModelCard) -> None:
    """Check that the graph of a bundle is the one that its card was written for.

    Raises
    ------
    ModelError
        The graph is missing, or is a different one.
    """
    graph = path / GRAPH
    try:
        digest = sha256(graph.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{graph} cannot be read: {error}", "Restore the bundle, or train again."
        ) from error
    if digest != card.graph_sha256:
        raise ModelError(
            f"{graph} is not the graph that its card names", "Restore the bundle, or train again."
        )

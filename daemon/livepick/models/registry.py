"""Model bundles on disk: list them, say which one picks, promote, roll back, remove old ones.

Which one picks is in ``models/champion.json`` (``livepick.models.promotions``). Before the first
promotion, and where a new session finds a champion of another particle, the blob picker does.
"""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.bundle import GRAPH, ModelCard, bundle_name, read_card, sha256
from livepick.core.contracts.run import RUNS
from livepick.errors import LedgerWriteError, ModelError
from livepick.models.blob_picker import publish_blob_picker
from livepick.models.promotions import By, Promotion, alone, extend, read_promotions, trail
from livepick.models.prune import numbered, parents_of_runs_under_way, remove, sweep

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
        """Held from asking for a version until its bundle or its run is there: the service makes a
        blob picker in one thread, and orders runs in another."""
        self._told: set[str] = set()

    def bundles(self) -> list[Bundle]:
        """Return the bundles that can be read, by version; a damaged one is left out."""
        found = []
        for path in numbered(self.directory):
            try:
                found.append(Bundle(path, read_card(path)))
            except ModelError as error:
                self._warn(f"model {path.name}: left out: {error}")
        return sorted(found, key=lambda bundle: bundle.card.version)

    def next_version(self, *, besides: Path | None = None) -> int:
        """Return a version that no bundle has taken, nor a numbered folder of ``besides``."""
        taken = [int(path.name) for path in numbered(self.directory)]
        if besides is not None:
            taken += [int(path.name) for path in numbered(besides)]
        return max(taken, default=-1) + 1

    def promotions(self) -> list[Promotion]:
        """Return the history of champions, the present one last; none if it is damaged."""
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
        """Return the last promotion, of the present champion."""
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
        """Return the newest trained bundle of a training fingerprint."""
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
        """Return the bundle that picks now.

        Raises
        ------
        ModelError
            No champion fits the particle, and there is no blob picker either.
        """
        serving = self._serving(config)
        if serving is None:
            raise ModelError(
                f"{self.directory} has no model for this particle",
                "Start the service once: it makes the blob picker.",
            )
        return serving

    def fitting(self, version: int, config: Config) -> Bundle:
        """Return a bundle that may pick for ``config``: whole, and made for its particle.

        Or for another one, if it has picked in this session before.

        Raises
        ------
        ModelError
            There is no such bundle, it is damaged, or it is for another particle.
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
        """Make a bundle the champion, in one rename; the service doing it again changes nothing.

        Parameters
        ----------
        version
            Of the bundle.
        by
            Who decided.
        why
            A sentence for the history.
        fingerprint
            The training fingerprint of the config that this is decided for.
        session
            Name of the microscope session.
        rollback
            It takes back what was promoted since.

        Raises
        ------
        ModelError
            There is no such bundle, it is damaged, or its graph is not the card's.
        LedgerWriteError
            The disk is full, say. The champion is the old one, or, if no more than the last sync
            failed, the new one.
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
        """Return the bundle that picked before the present one, as ``champion.trail`` says.

        One that was removed, or that does not fit ``config``, is passed over.
        Before the first promotion the blob picker served.
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

        What is needed stays, whatever its age: the champion and the one to roll back to, blob
        pickers, the model of the present settings (else it would be trained again), and the parent
        of a run under way. Folders of runs stay too: they say which micrographs were held out.

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
        """Return the blob picker for the particle of ``config``, made now if it is not there.

        Raises
        ------
        ModelError
            It could not be written.
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
        """Whether a model may pick: it knows the particle, or has picked in this session.

        An edit of the particle is a wish for another model, and until there is one that is no
        worse, the present one goes on. In another session there is another sample.
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
        """Return the versions that something may want at any moment."""
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
        """Log a warning once: the folder is looked at every second."""
        if message not in self._told:
            self._told.add(message)
            _log.warning("%s", message)


def verify_graph(path: Path, card: ModelCard) -> None:
    """Check that the graph of a bundle is the one that its card was written for.

    Raises
    ------
    ModelError
        It is missing or another.
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

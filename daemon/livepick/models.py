"""Model bundles on disk: list them, make the blob picker, say which one picks, promote.

The champion is a symbolic link ``models/champion`` → ``NNNN``, replaced by one rename: the pointer
itself is the truth, whatever the ledger or a run folder says. A pointer whose bundle was made for
another particle does not count (the config was edited since), and the blob picker serves until a
model for this particle is trained.
"""

import concurrent.futures
import logging
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path

from livepick import __version__
from livepick.config import Config
from livepick.core.bundle import GRAPH, ModelCard, bundle_name, publish, read_card, sha256
from livepick.core.files import TEMPORARY_PREFIX, fsync_folder
from livepick.core.run import RUNS
from livepick.errors import ModelError

__all__ = ["CHAMPION", "MODELS", "Bundle", "Models"]

MODELS = "models"
"""Name of the folder of bundles in the state directory."""

CHAMPION = "champion"

BLOB_THRESHOLD = 0.5
"""The blob picker's scores are made so that this is where particles begin."""

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
        self._told: set[str] = set()

    def bundles(self) -> list[Bundle]:
        """Return the bundles that can be read, by version; a damaged one is left out."""
        found = []
        for path in self._numbered():
            try:
                found.append(Bundle(path, read_card(path)))
            except ModelError as error:
                self._warn(f"model {path.name}: left out: {error}")
        return sorted(found, key=lambda bundle: bundle.card.version)

    def next_version(self, *, besides: Path | None = None) -> int:
        """Return a version that no bundle has taken, nor a numbered folder of ``besides``."""
        taken = [int(path.name) for path in self._numbered()]
        if besides is not None and besides.is_dir():
            taken += [int(path.name) for path in besides.iterdir() if path.name.isdigit()]
        return max(taken, default=-1) + 1

    def pointer(self) -> Bundle | None:
        """Return the bundle that the champion link names; None without a link or with a bad one."""
        link = self.directory / CHAMPION
        try:
            # Resolved to its own name, so that a job never carries the moving link.
            path = self.directory / link.readlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"{link}: no link: {error.strerror}")
            return None
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
        promoted = self.pointer()
        if promoted and promoted.card.particle_fingerprint == config.particle_fingerprint():
            return promoted
        blob = self.blob(config)
        if blob is None:
            raise ModelError(
                f"{self.directory} has no model for this particle",
                "Start the service once: it makes the blob picker.",
            )
        return blob

    def promote(self, version: int) -> Bundle:
        """Point the champion link to a bundle, in one rename; doing it again changes nothing.

        Raises
        ------
        ModelError
            There is no such bundle, it is damaged, or its graph is not the card's.
        """
        path = self.directory / bundle_name(version)
        card = read_card(path)
        verify_graph(path, card)
        link = self.directory / CHAMPION
        if link.is_symlink() and str(link.readlink()) == path.name:
            return Bundle(path, card)
        draft = self.directory / f"{TEMPORARY_PREFIX}{CHAMPION}.tmp"
        draft.unlink(missing_ok=True)  # of a service that was killed here
        draft.symlink_to(path.name)
        draft.replace(link)
        fsync_folder(self.directory)
        return Bundle(path, card)

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
        particle = config.particle
        graph, diameter_px, normalization = _make_blob_apart()
        card = ModelCard(
            version=self.next_version(besides=self.directory.parent / RUNS),
            kind="blob",
            fingerprint=config.particle_fingerprint(),
            particle_fingerprint=config.particle_fingerprint(),
            diameter_angstrom=particle.diameter_angstrom,
            min_distance_angstrom=particle.diameter_angstrom * particle.min_distance_fraction,
            contrast=particle.contrast,
            pixel_size_angstrom=particle.diameter_angstrom / diameter_px,
            normalization=normalization,
            threshold=BLOB_THRESHOLD,
            threshold_source="fixed: 3.5 standard deviations of the response",
            graph_sha256=sha256(graph),
            created_at=time.time(),
            livepick_version=__version__,
        )
        path = publish(self.directory, card, {GRAPH: graph})
        _log.info("model %d: blob picker for %g Å", card.version, particle.diameter_angstrom)
        return Bundle(path, card)

    def _warn(self, message: str) -> None:
        """Log a warning once: the folder is looked at every second."""
        if message not in self._told:
            self._told.add(message)
            _log.warning("%s", message)

    def _numbered(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return [path for path in self.directory.iterdir() if path.name.isdigit() and path.is_dir()]


def _make_blob_apart() -> tuple[bytes, int, str]:
    """Make the blob picker in a process that ends: onnx and scipy stay out of the service."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as once:
        return once.submit(_make_blob).result()


def _make_blob() -> tuple[bytes, int, str]:
    """Return the graph, the particle's diameter that it expects, and the normalization."""
    from livepick.core.blobs import blob_graph  # noqa: PLC0415 - see above
    from livepick.core.prepare import DIAMETER_PX, NORMALIZATION  # noqa: PLC0415

    return blob_graph(DIAMETER_PX), DIAMETER_PX, NORMALIZATION


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

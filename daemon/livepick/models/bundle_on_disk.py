"""A model bundle on disk: read, and checked against the digest in its card before it is used.

It is checked again when its files change, so a bundle that is restored is used again.
"""

from dataclasses import dataclass
from pathlib import Path

from livepick.core.contracts.bundle import (
    CARD,
    GRAPH,
    MOST_GRAPH_BYTES,
    ModelCard,
    bundle_name,
    read_card,
    sha256,
)
from livepick.errors import ModelError
from livepick.host.foreign_files import read_bounded

__all__ = [
    "Bundle",
    "BundleChecks",
    "FileState",
    "read_bundle",
    "state_of_file",
    "verified_bundle",
    "verify_graph",
]

FileState = tuple[int, int, int, int]
"""State of a file; it changes when the file does."""

_State = tuple[FileState | None, ...]
"""State of the files of a bundle."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model bundle on disk."""

    path: Path
    card: ModelCard


class BundleChecks:
    """Reads and checks bundles, each once unless its files change."""

    def __init__(self) -> None:
        self._checked: dict[Path, tuple[_State, Bundle | ModelError]] = {}
        self._read: dict[Path, tuple[_State, Bundle]] = {}

    def read(self, path: Path) -> Bundle:
        """Return a bundle as ``read_bundle``, without a check of its graph."""
        state = (state_of_file(path / CARD),)
        known = self._read.get(path)
        if known is None or known[0] != state:
            known = self._read[path] = (state, read_bundle(path))
        return known[1]

    def check(self, path: Path) -> Bundle | ModelError:
        """Return a bundle, or what is wrong with it. Its files are read only if they changed."""
        state = _state_of(path)
        known = self._checked.get(path)
        if known is not None and known[0] == state:
            return known[1]
        found: Bundle | ModelError
        try:
            found = verified_bundle(path)
        except ModelError as error:
            found = error
        self._checked[path] = (state, found)
        return found

    def set_aside(self, path: Path, error: ModelError) -> None:
        """Let ``check`` return this error until the files change."""
        self._checked[path] = (_state_of(path), error)


def verified_bundle(path: Path) -> Bundle:
    """Return the bundle in a numbered folder, after a check of its graph.

    Raises
    ------
    ModelError
        Its card or its graph cannot be used.
    """
    bundle = read_bundle(path)
    verify_graph(path, bundle.card)
    return bundle


def _state_of(path: Path) -> _State:
    return tuple(state_of_file(path / name) for name in (CARD, GRAPH))


def state_of_file(path: Path) -> FileState | None:
    """Return the state of a file; None if there is none, or it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def read_bundle(path: Path) -> Bundle:
    """Return the bundle in a numbered folder.

    Raises
    ------
    ModelError
        Its card cannot be used, or is that of another bundle.
    """
    card = read_card(path)
    if bundle_name(card.version) != path.name:
        raise ModelError(
            f"{path / CARD} is the card of model {card.version}",
            "Remove this bundle or restore it whole; livepick trains another.",
        )
    return Bundle(path, card)


def verify_graph(path: Path, card: ModelCard) -> None:
    """Check that the graph of a bundle is the one that its card was written for.

    Raises
    ------
    ModelError
        The graph is missing, or is a different one.
    """
    graph = path / GRAPH
    try:
        digest = sha256(read_bounded(graph, limit_bytes=MOST_GRAPH_BYTES))
    except OSError as error:
        raise ModelError(
            f"{graph} cannot be read: {error.strerror}", "Restore the bundle, or train again."
        ) from error
    if digest != card.graph_sha256:
        raise ModelError(
            f"{graph} is not the graph that its card names", "Restore the bundle, or train again."
        )

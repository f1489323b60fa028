"""The blob picker as a bundle: an analytic graph for the particle diameter, without training."""

import time
from pathlib import Path

from livepick import __version__
from livepick.config.schema import particle_fingerprint
from livepick.config.sections import Particle
from livepick.core.contracts.bundle import GRAPH, ModelCard, publish, sha256
from livepick.errors import EngineError
from livepick.host.isolated_call import ProcessDiedError, call_isolated

__all__ = ["BLOB_THRESHOLD", "publish_blob_picker"]

MAKE_SECONDS = 120.0
"""Time limit; it takes a second, and longer from a slow disk."""

TRIES = 3
"""A process may be killed by accident; this many in a row are not an accident."""

BLOB_THRESHOLD = 0.5
"""Score at which particles begin; the blob picker's scores are scaled to make it so."""


def publish_blob_picker(models: Path, particle: Particle, version: int) -> tuple[Path, ModelCard]:
    """Publish a blob picker for a particle in a folder of bundles.

    Raises
    ------
    ModelError
        It could not be written.
    EngineError
        No process could be started for it.
    """
    graph, diameter_px, normalization = _make_apart()
    card = ModelCard(
        version=version,
        kind="blob",
        fingerprint=particle_fingerprint(particle),
        particle_fingerprint=particle_fingerprint(particle),
        diameter_angstrom=particle.diameter_angstrom,
        min_distance_angstrom=particle.diameter_angstrom * particle.min_distance_fraction,
        edge_fraction=particle.edge_fraction,
        contrast=particle.contrast,
        pixel_size_angstrom=particle.diameter_angstrom / diameter_px,
        normalization=normalization,
        threshold=BLOB_THRESHOLD,
        threshold_source="fixed: scores are relative to what noise gives in each micrograph",
        graph_sha256=sha256(graph),
        created_at=time.time(),
        livepick_version=__version__,
    )
    return publish(models, card, {GRAPH: graph}), card


def _make_apart() -> tuple[bytes, int, str]:
    """Make the graph in a short-lived process, to keep onnx and scipy out of the service."""
    for left in reversed(range(TRIES)):
        try:
            return call_isolated(_make, timeout_seconds=MAKE_SECONDS)
        except (ProcessDiedError, TimeoutError, OSError) as error:
            if not left:
                raise EngineError(
                    f"the blob picker could not be made in a process of its own: {error}",
                    "Check the load and the memory of the machine, and the system log.",
                ) from error
    raise AssertionError("unreachable")


def _make() -> tuple[bytes, int, str]:
    """Return the graph, the particle diameter it expects in pixels, and the normalization."""
    from livepick.core.imaging.blob_detector import blob_graph  # noqa: PLC0415 - see above
    from livepick.core.imaging.preprocess import DIAMETER_PX, NORMALIZATION  # noqa: PLC0415

    return blob_graph(DIAMETER_PX), DIAMETER_PX, NORMALIZATION

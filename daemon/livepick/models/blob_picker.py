"""The blob picker as a bundle: an analytic graph for the particle diameter, without training."""

import time
from pathlib import Path

from livepick import __version__
from livepick.config.schema import particle_fingerprint
from livepick.config.sections import Particle
from livepick.core.contracts.bundle import GRAPH, ModelCard, publish, sha256
from livepick.models.graph_process import make_in_process

__all__ = ["BLOB_THRESHOLD", "publish_blob_picker"]

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
    graph, diameter_px, normalization = make_in_process(_make)
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


def _make() -> tuple[bytes, int, str]:
    """Return the graph, the particle diameter it expects in pixels, and the normalization."""
    # This runs in a process of its own, so that the service loads neither onnx nor scipy.
    from livepick.core.imaging.blob_detector import blob_graph  # noqa: PLC0415
    from livepick.core.imaging.preprocess import DIAMETER_PX, NORMALIZATION  # noqa: PLC0415

    return blob_graph(DIAMETER_PX), DIAMETER_PX, NORMALIZATION

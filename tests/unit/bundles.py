"""A blob picker that runs, as a bundle on disk."""

from livepick.core.contracts.bundle import GRAPH, ModelCard, publish, sha256
from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.preprocess import DIAMETER_PX, NORMALIZATION


def publish_blob(models, *, diameter_angstrom, contrast):
    """Publish a blob picker without an edge rule in a folder of bundles; return its folder."""
    graph = blob_graph(DIAMETER_PX)
    card = ModelCard(
        version=0,
        kind="blob",
        fingerprint="f",
        particle_fingerprint="p",
        diameter_angstrom=diameter_angstrom,
        min_distance_angstrom=0.6 * diameter_angstrom,
        contrast=contrast,
        pixel_size_angstrom=diameter_angstrom / DIAMETER_PX,
        normalization=NORMALIZATION,
        threshold=0.5,
        threshold_source="test",
        graph_sha256=sha256(graph),
        created_at=0.0,
        livepick_version="test",
    )
    return publish(models, card, {GRAPH: graph})


def promote(models, version, *, by="operator", why="a test", fingerprint="f", rollback=False):
    """Make a bundle the current model, for no particular reason."""
    models.promote(version, by=by, why=why, fingerprint=fingerprint, rollback=rollback)

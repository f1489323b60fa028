"""The general model that ships with livepick: a network trained on many different particles.

It is an ordinary bundle, in the package's folder ``general``, made by ``python -m
livepick_trainer.pretrain``. A session gets a bundle for its own particle whose graph has the blob
picker, too (``core.imaging.joint_detector``). A network sees every particle at the same size in
pixels, so only the scale differs.
"""

import dataclasses
import time
from importlib import resources
from pathlib import Path

from livepick import __version__
from livepick.config.schema import particle_fingerprint
from livepick.config.sections import Particle
from livepick.core.contracts.bundle import (
    GRAPH,
    MOST_GRAPH_BYTES,
    ModelCard,
    publish,
    read_card,
    sha256,
)
from livepick.errors import ModelError
from livepick.host.foreign_files import read_bounded
from livepick.models.bundle_on_disk import verify_graph
from livepick.models.graph_process import make_in_process

__all__ = ["SHIPPED", "publish_general_picker", "read_general_card"]

SHIPPED = Path(str(resources.files("livepick.models").joinpath("general")))
"""Folder of the general model in the installed package."""

THRESHOLD = 0.5
"""Score at which particles begin, in each micrograph."""

_REMEDY = "Install livepick again, or use the blob picker (bootstrap.picks: blob)."


def read_general_card(shipped: Path = SHIPPED) -> ModelCard:
    """Return the card of the general model, after a check of its graph.

    Parameters
    ----------
    shipped
        Folder of the bundle.

    Raises
    ------
    ModelError
        The bundle is missing or damaged, or is not a general model.
    """
    try:
        card = read_card(shipped)
        verify_graph(shipped, card)
    except ModelError as error:
        raise ModelError(f"the general model cannot be used: {error.what}", _REMEDY) from error
    if card.kind != "general":
        raise ModelError(
            f"the general model cannot be used: {shipped} is a model of kind {card.kind}", _REMEDY
        )
    return card


def publish_general_picker(
    models: Path, particle: Particle, version: int, *, shipped: Path = SHIPPED
) -> tuple[Path, ModelCard]:
    """Publish the general model, joined with the blob picker, in a folder of bundles.

    Parameters
    ----------
    models
        Folder of the bundles.
    particle
        Particle to pick.
    version
        Version of the new bundle.
    shipped
        Folder of the general model.

    Raises
    ------
    ModelError
        The general model is missing or damaged, or the bundle could not be written.
    EngineError
        No process could be started to make the graph.
    """
    general = read_general_card(shipped)
    network = read_bounded(shipped / GRAPH, limit_bytes=MOST_GRAPH_BYTES)
    try:
        graph = make_in_process(_make, network)
    except ValueError as error:
        raise ModelError(
            f"the general model cannot be used: {shipped / GRAPH}: {error}", _REMEDY
        ) from error
    scale = particle.diameter_angstrom / general.diameter_angstrom
    card = dataclasses.replace(
        general,
        version=version,
        fingerprint=particle_fingerprint(particle),
        particle_fingerprint=particle_fingerprint(particle),
        diameter_angstrom=particle.diameter_angstrom,
        min_distance_angstrom=particle.diameter_angstrom * particle.min_distance_fraction,
        edge_fraction=particle.edge_fraction,
        contrast=particle.contrast,
        pixel_size_angstrom=general.pixel_size_angstrom * scale,
        lowpass_angstrom=general.lowpass_angstrom and general.lowpass_angstrom * scale,
        threshold=THRESHOLD,
        threshold_source="fixed: scores are relative to what noise gives in each micrograph",
        graph_sha256=sha256(graph),
        created_at=time.time(),
        livepick_version=__version__,
        weights_sha256=None,  # they stay in the package
    )
    return publish(models, card, {GRAPH: graph}), card


def _make(network: bytes) -> bytes:
    """Return the graph of the network and the blob picker."""
    # This runs in a process of its own, so that the service loads neither onnx nor scipy.
    from livepick.core.imaging.joint_detector import joint_graph  # noqa: PLC0415
    from livepick.core.imaging.preprocess import DIAMETER_PX  # noqa: PLC0415

    return joint_graph(network, DIAMETER_PX)

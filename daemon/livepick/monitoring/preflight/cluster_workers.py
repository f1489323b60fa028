"""Preflight check of the workers of a Dask cluster: each says what it sees, and runs the model."""

import contextlib
import time
from collections.abc import Iterator

from livepick.config.schema import Config
from livepick.core.contracts.cluster_view import NodeView
from livepick.core.formats.header import printable
from livepick.errors import ConfigError, ModelError
from livepick.models.registry import MODELS, Models
from livepick.monitoring.preflight.check import Check
from livepick.picking.start_cluster import connect_cluster, question

__all__ = ["cluster_workers"]

CONNECT_SECONDS = 25.0
"""Time limit of the connection to the scheduler."""

ANSWER_SECONDS = 120.0
"""Time limit of the answers of the workers; loading CUDA can take a minute."""

LOOK_SECONDS = 0.2

ASIDE = "Run nvidia-smi there. The worker tries that GPU again every few minutes."

GIB = 1 << 30


def cluster_workers(config: Config) -> Iterator[Check]:
    """Check that each worker fits the session, and that one at least does."""
    model = None
    if (folder := config.state.directory / MODELS).is_dir():
        with contextlib.suppress(ModelError):
            model = Models(folder).current(config)
    try:
        executor = connect_cluster(config, lambda: question(config, model))
    except ConfigError as error:
        yield Check("cluster", "fault", error.what, error.remedy)
        return
    try:
        give_up = time.monotonic() + CONNECT_SECONDS
        while not executor.view.is_connected and time.monotonic() < give_up:
            time.sleep(LOOK_SECONDS)
        give_up = time.monotonic() + ANSWER_SECONDS
        while executor.view.count("asked") and time.monotonic() < give_up:
            time.sleep(LOOK_SECONDS)
        view, fault = executor.view, executor.fault
    finally:
        executor.shutdown()
    yield from (_of_node(node) for node in view.nodes)
    if fault is not None:
        yield Check("workers that fit", "fault", fault.what, fault.remedy)


def _of_node(node: NodeView) -> Check:
    name = f"worker on {node.host}"
    if node.state != "accepted":
        why = printable(node.reason or "it has not answered yet")
        return Check(name, "warning", f"{node.name}: {why}", printable(node.remedy))
    memory = f", {node.memory_bytes / GIB:.1f} GiB" if node.memory_bytes else ""
    found = f"{node.name}, {node.slots} at a time{memory}, livepick {node.version or 'unknown'}"
    if node.gpus_aside:
        gpus = "; ".join(f"{gpu.name} is set aside: {gpu.reason}" for gpu in node.gpus_aside)
        return Check(name, "warning", f"{found}; {printable(gpus)}", ASIDE)
    return Check(name, "ok", found)

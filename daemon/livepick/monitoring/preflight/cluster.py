"""Preflight checks of a Dask cluster: its scheduler, and each worker, which runs the model."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from livepick.config.engine_section import EngineSettings
from livepick.config.schema import Config
from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.formats.header import printable
from livepick.errors import ConfigError, ModelError
from livepick.host.certificate_end import SOON_SECONDS, authority_ends_at
from livepick.host.isolated_call import ProcessDiedError, call_isolated
from livepick.models.registry import MODELS, Models
from livepick.monitoring.preflight.check import Check
from livepick.picking.start_cluster import connect_cluster, question

__all__ = ["cluster"]

NAME = "cluster"

FILE_SECONDS = 20.0
"""Time limit of a look at the scheduler's file."""

CONNECT_SECONDS = 25.0
"""Time limit of the connection to the scheduler."""

ANSWER_SECONDS = 120.0
"""Time limit of the answers of the workers; loading CUDA can take a minute."""

LOOK_SECONDS = 0.2

ASIDE = "Run nvidia-smi there. The worker tries that GPU again every few minutes."

GIB = 1 << 30


def cluster(config: Config) -> Iterator[Check]:
    """Check that the scheduler answers, that each worker fits the session, and one at least does.

    It connects once, as the service does, and leaves nothing behind.
    """
    if (hangs := _scheduler_file(config.engine)) is not None:
        yield hangs
        return
    model = None
    if (folder := config.state.directory / MODELS).is_dir():
        with contextlib.suppress(ModelError):
            model = Models(folder).current(config)
    try:
        executor = connect_cluster(config, lambda: question(config, model))
    except ConfigError as error:
        yield Check(NAME, "fault", error.what, error.remedy)
        return
    try:
        executor.wait_for_answer(CONNECT_SECONDS)
        view = executor.view
        yield _pool(view)
        if not view.is_connected:
            return
        give_up = time.monotonic() + ANSWER_SECONDS
        while executor.view.count("asked") and time.monotonic() < give_up:
            time.sleep(LOOK_SECONDS)
        view, fault = executor.view, executor.fault
    finally:
        executor.shutdown()
    yield from _workers(config, view)
    if fault is not None and view.nodes:
        yield Check("workers that fit", "fault", fault.what, fault.remedy)
    yield from _certificates(config.engine)


def _scheduler_file(engine: EngineSettings) -> Check | None:
    """Return a fault if the file system of the scheduler's file does not respond."""
    if engine.scheduler_file is None:
        return None
    with contextlib.suppress(FileNotFoundError, PermissionError):  # the connection will say it
        try:
            call_isolated(Path.stat, engine.scheduler_file, timeout_seconds=FILE_SECONDS, log=False)
        except (TimeoutError, ProcessDiedError) as error:
            return Check(
                NAME,
                "fault",
                f"engine.scheduler_file could not be looked at: {error or type(error).__name__}",
                "Check that the file system of engine.scheduler_file responds.",
            )
    return None


def _pool(view: ClusterView) -> Check:
    if not view.is_connected:
        what = f"the scheduler ({view.scheduler}) is not connected: {view.fault}"
        return Check(NAME, "fault", what, view.remedy or "Start it, or correct engine.scheduler.")
    offers = [node.slots for node in view.nodes if node.slots]
    if not offers:
        return Check(
            NAME,
            "warning",
            f"the scheduler {view.scheduler} has no livepick worker, so micrographs will wait",
            "Start livepick worker on the machines that pick (deploy/cluster.md).",
        )
    return Check(
        NAME,
        "ok",
        f"{view.scheduler}: {len(offers)} worker{'s' if len(offers) > 1 else ''} for {sum(offers)}"
        f" micrograph{'s' if sum(offers) > 1 else ''} at a time",
    )


def _workers(config: Config, view: ClusterView) -> Iterator[Check]:
    for node in view.nodes:
        yield _of_node(node)
    trains = [node for node in view.nodes if node.state == "accepted" and node.heavy]
    if config.engine.heavy == "cluster" and view.nodes and not trains:
        yield Check(
            "training on the cluster",
            "warning",
            "engine.heavy is cluster, and no worker that fits offers to train",
            "Start one of them with livepick worker --heavy; meanwhile it is trained here.",
        )


def _of_node(node: NodeView) -> Check:
    name = f"worker on {node.host}"
    if node.state != "accepted":
        why = printable(node.reason or "it has not answered yet")
        return Check(name, "warning", f"{node.name}: {why}", printable(node.remedy))
    memory = f", {node.memory_bytes / GIB:.1f} GiB" if node.memory_bytes else ""
    found = f"{node.name}, {node.slots} at a time{memory}, livepick {node.version or 'unknown'}"
    found += ", trains" if node.heavy else ""
    if node.gpus_aside:
        gpus = "; ".join(f"{gpu.name} is set aside: {gpu.reason}" for gpu in node.gpus_aside)
        return Check(name, "warning", f"{found}; {printable(gpus)}", ASIDE)
    return Check(name, "ok", found)


def _certificates(engine: EngineSettings) -> Iterator[Check]:
    ends_at = None if engine.tls is None else authority_ends_at(engine.tls.ca)
    if ends_at is not None and ends_at - time.time() < SOON_SECONDS:
        day = time.strftime("%Y-%m-%d", time.localtime(ends_at))
        yield Check(
            "certificates",
            "warning",
            f"the certificates of the cluster end on {day}",
            "Make new ones, copy them to all machines, and restart scheduler, workers and services"
            " (deploy/cluster.md).",
        )

"""Start of the workers: their number, and the onnxruntime provider that they obtain."""

import contextlib
import logging
import os
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass

from livepick.config.sections import Picking
from livepick.core.contracts.job import CUDA
from livepick.errors import ModelError
from livepick.models.registry import Bundle
from livepick.picking.engine import Engine, local
from livepick.picking.tasks import probe

__all__ = ["PROBE_SECONDS", "Workers", "start_workers"]

PROBE_SECONDS = 240.0
"""Timeout of the provider probe; loading CUDA from a slow disk can take minutes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workers:
    """Worker processes of this machine."""

    engine: Engine
    provider: str
    """The onnxruntime provider that runs the model."""
    count: int


def start_workers(picking: Picking, model: Bundle, ending: contextlib.ExitStack) -> Workers:
    """Start the workers, and run the model in one of them to determine the provider.

    Without a configured number, the CPU gets a worker per core but one, and a GPU gets one. The
    service does not wait for a missing GPU: systemd starts it again.

    Parameters
    ----------
    picking
        Settings of picking.
    model
        The current model.
    ending
        Stops the workers at its end.

    Raises
    ------
    ProviderError
        A GPU is required but not available.
    ModelError
        The model cannot be run.
    """
    count = picking.workers or max(1, len(os.sched_getaffinity(0)) - 1)
    engine = local(count)
    ending.callback(engine.stop)
    try:
        provider = engine.submit(probe, model.path, picking.device).result(PROBE_SECONDS)
    except (BrokenExecutor, TimeoutError) as error:
        raise ModelError(
            f"a worker could not run model {model.card.version}: {error!r}",
            "Run livepick check, and search the system log for an out-of-memory kill.",
        ) from error
    if provider == CUDA and picking.workers is None and count > 1:
        engine.stop()
        engine, count = local(1), 1  # more would share one GPU, and its memory
        ending.callback(engine.stop)
    if provider != CUDA and picking.device == "prefer-gpu":
        _log.warning("picking: there is no usable GPU, so the CPU is used (picking.device)")
    _log.info("picking: %d worker%s on %s", count, "s" if count > 1 else "", provider)
    return Workers(engine, provider, count)

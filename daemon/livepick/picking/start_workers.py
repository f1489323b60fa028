"""Start of the workers: their number, and the onnxruntime provider that they obtain."""

import contextlib
import logging
from dataclasses import dataclass

from livepick.config.sections import Picking
from livepick.core.contracts.job import CUDA, WorkerDiedError
from livepick.errors import EngineError, MemoryLimitError, ModelError, TimeLimitError
from livepick.host.processors import usable_processors
from livepick.models.bundle_on_disk import Bundle
from livepick.picking.engine import Engine, local
from livepick.picking.job_limits import JobLimits
from livepick.picking.tasks import probe
from livepick.picking.worker_pool import START_SECONDS

__all__ = ["PROBE_SECONDS", "Workers", "start_workers"]

PROBE_SECONDS = 240.0
"""Timeout of the provider probe; loading CUDA from a slow disk can take minutes."""

PROBE_TRIES = 3
"""A worker may be killed by accident; this many in a row are not an accident."""

WAIT_SECONDS = 3 * START_SECONDS
"""Time in which the workers must start."""

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
    EngineError
        Workers cannot be started, or are killed by other programs.
    """
    count = picking.workers or max(1, usable_processors() - 1)
    engine = local(count, JobLimits.of(picking, count))
    ending.callback(engine.stop)
    provider = _provider(engine, picking, model)
    if provider == CUDA and picking.workers is None and count > 1:
        engine.stop()
        engine, count = local(1, JobLimits.of(picking, 1)), 1  # more would share one GPU
        ending.callback(engine.stop)
    if provider != CUDA and picking.device == "prefer-gpu":
        _log.warning("picking: there is no usable GPU, so the CPU is used (picking.device)")
    _log.info("picking: %d worker%s on %s", count, "s" if count > 1 else "", provider)
    return Workers(engine, provider, count)


def _provider(engine: Engine, picking: Picking, model: Bundle) -> str:
    """Run the model in a worker, and return the provider; try again if the worker is killed."""
    for left in reversed(range(PROBE_TRIES)):
        try:
            job = engine.submit_timed(PROBE_SECONDS, probe, model.path, picking.device)
            return job.result(PROBE_SECONDS + WAIT_SECONDS)
        except WorkerDiedError as error:
            if left:
                continue
            if error.cause == "crash":
                raise ModelError(
                    f"model {model.card.version} ends its worker: {error}",
                    "Run livepick check. If the model is damaged, roll back to another one.",
                ) from error
            raise EngineError(
                f"a worker was killed each time that it loaded model {model.card.version}: {error}",
                "Search the system log for an out-of-memory kill.",
            ) from error
        except MemoryLimitError as error:  # a small image: the limit is too low for any model
            raise EngineError(error.what, error.remedy) from error
        except TimeLimitError as error:
            raise ModelError(
                f"model {model.card.version} takes more than {PROBE_SECONDS:g} s for a small image",
                "Check that the disk of the state folder and the GPU respond, and run livepick"
                " check. If the model is damaged, roll back to another one.",
            ) from error
        except TimeoutError as error:
            raise EngineError(
                "no worker process could be started in time",
                "Check the load of the machine and the log lines above.",
            ) from error
    raise AssertionError("unreachable")

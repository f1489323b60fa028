"""Start of the workers: their number, and the onnxruntime provider that they obtain."""

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livepick.config.schema import Config
from livepick.config.sections import Picking
from livepick.core.contracts.job import CUDA, WorkerDiedError
from livepick.errors import EngineError, MemoryLimitError, ModelError, ProviderError, TimeLimitError
from livepick.host.gpu_signs import gpu_sign
from livepick.host.processors import usable_processors
from livepick.models.bundle_on_disk import Bundle
from livepick.picking.engine import Engine, local
from livepick.picking.gpu_pins import GpuPin, pins
from livepick.picking.job_limits import JobLimits
from livepick.picking.start_cluster import start_cluster
from livepick.picking.tasks import probe
from livepick.picking.worker_pool import START_SECONDS

if TYPE_CHECKING:
    from livepick.picking.cluster.client import ClusterExecutor

__all__ = [
    "PROBE_SECONDS",
    "WAIT_SECONDS",
    "Workers",
    "start_no_workers",
    "start_workers",
    "start_workers_on_cluster",
]

PROBE_SECONDS = 240.0
"""Timeout of the provider probe; loading CUDA from a slow disk can take minutes."""

PROBE_TRIES = 3
"""A worker may be killed by accident; this many in a row are not an accident."""

WAIT_SECONDS = 3 * START_SECONDS
"""Time in which the workers must start."""

IDLE_SECONDS = 60.0
"""Time after which a worker ends that has no more pictures to draw."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workers:
    """Worker processes of this machine, or the nodes of a cluster."""

    engine: Engine
    provider: str
    """The onnxruntime provider that runs the model; empty: not known yet, of a cluster."""
    count: int
    cluster: "ClusterExecutor | None" = None
    """The cluster, if the workers are there."""


def start_workers(config: Config, model: Bundle, ending: contextlib.ExitStack) -> Workers:
    """Start the workers, and run the model in one of them to determine the provider.

    Without a configured number, the CPU gets a worker per core but one, and each GPU gets one, or
    ``engine.cuda.in_flight`` of them. On each GPU of ``engine.devices`` the model is run. One that
    fails is set aside if another one works: a session that was started again at night continues.
    The service does not wait for a missing GPU: systemd starts it again.

    Parameters
    ----------
    config
        Settings of the session.
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
    picking, cuda = config.picking, config.engine.cuda
    if devices := pins(config.engine.devices or ()):
        if (workers := _start_on_gpus(config, devices, model, ending)) is not None:
            return workers
        _log.warning("picking: none of engine.devices can be used, so the CPU is used")
    count = config.workers or max(1, usable_processors() - 1)
    engine = local(count, JobLimits.of(picking, count), cuda=cuda)
    ending.callback(engine.stop)
    provider = _provider(engine, picking, model)
    if provider == CUDA and config.workers is None and count != cuda.in_flight:
        engine.stop()
        count = cuda.in_flight  # more would share one GPU
        engine = local(count, JobLimits.of(picking, count), cuda=cuda)
        ending.callback(engine.stop)
    if provider != CUDA and picking.device == "prefer-gpu" and (sign := gpu_sign()):
        _log.warning("picking: the GPU cannot be used, so the CPU is: %s", sign)
    _log.info("picking: %d worker%s on %s", count, "s" if count > 1 else "", provider)
    return Workers(engine, provider, count)


def start_no_workers(config: Config, ending: contextlib.ExitStack) -> Workers:
    """Return an engine without a process, for a session that is over.

    It starts one worker when the page needs a picture, and ends it when it has been idle for a
    while. No GPU is used, and no cluster.
    """
    on_cpu = config.picking.model_copy(update={"device": "cpu"})
    engine = local(1, JobLimits.of(on_cpu, 1), idle_seconds=IDLE_SECONDS)
    ending.callback(engine.stop)
    return Workers(engine, "", 0)


def start_workers_on_cluster(
    config: Config, model: Bundle, current: Callable[[], Bundle], ending: contextlib.ExitStack
) -> Workers:
    """Run the model once on this machine, on the CPU, and begin to connect to the cluster.

    A model that does not run here is at fault; later, a node that does not run it is.

    Parameters
    ----------
    config
        Settings of the session.
    model
        The current model.
    current
        Returns the model that is current later.
    ending
        Leaves the cluster at its end.

    Raises
    ------
    ModelError
        The model cannot be run.
    EngineError
        A worker process cannot be started on this machine.
    ConfigError
        Dask is not installed, or a file of ``engine.tls`` cannot be used.
    LedgerWriteError
        The state folder cannot be written to.
    """
    on_cpu = config.picking.model_copy(update={"device": "cpu"})
    here = local(1, JobLimits.of(on_cpu, 1))
    try:
        _provider(here, on_cpu, model)
    finally:
        here.stop()
    cluster = start_cluster(config, current, ending)
    _log.info("picking: on the workers of the Dask cluster of %s", cluster.view.scheduler)
    return Workers(Engine(cluster), "", 0, cluster=cluster)


def _start_on_gpus(
    config: Config, devices: Sequence[GpuPin], model: Bundle, ending: contextlib.ExitStack
) -> Workers | None:
    """Start workers on GPUs; return None if there are none, and the CPU may be used."""
    picking, cuda = config.picking, config.engine.cuda
    count = config.workers or len(devices) * cuda.in_flight
    for device in devices[count:]:
        _log.warning("%s: not used, as there are only %d workers", device.name, count)
    devices = devices[:count]
    engine = local(count, JobLimits.of(picking, count), devices=devices, cuda=cuda)
    ending.callback(engine.stop)
    with ThreadPoolExecutor(len(devices), "probe") as probes:
        faults = list(probes.map(lambda device: _fault(engine, picking, model, device), devices))
    tried = list(zip(devices, faults, strict=True))
    failed = [(device, fault) for device, fault in tried if fault is not None]
    if len(failed) == len(tried):
        engine.stop()
        is_lost = all(isinstance(fault, ProviderError) for _, fault in failed)
        if is_lost and picking.device == "prefer-gpu":
            return None
        device, fault = failed[0]
        raise type(fault)(f"{device.name}: {fault.what}", fault.remedy) from fault
    for device, fault in failed:
        engine.set_aside(device, fault.what)
    names = ", ".join(device.name for device, fault in tried if fault is None)
    _log.info("picking: %d worker%s on %s", count, "s" if count > 1 else "", names)
    return Workers(engine, CUDA, count)


def _fault(engine: Engine, picking: Picking, model: Bundle, device: GpuPin) -> ModelError | None:
    """Return why a GPU does not run the model; None if it does."""
    try:
        provider = _provider(engine, picking, model, device)
    except ModelError as error:
        return error
    if provider == CUDA:
        return None
    return ProviderError(
        f"onnxruntime offers only {provider}", "Run nvidia-smi and livepick check."
    )


def _provider(engine: Engine, picking: Picking, model: Bundle, device: GpuPin | None = None) -> str:
    """Run the model in a worker, and return the provider; try again if the worker is killed."""
    if device is None:
        submit = functools.partial(engine.submit_timed, PROBE_SECONDS)
    else:
        submit = functools.partial(engine.submit_to, device, PROBE_SECONDS)
    for left in reversed(range(PROBE_TRIES)):
        try:
            job: Future[str] = submit(probe, model.path, picking.device)
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

"""Checks of a machine before it joins a cluster: its GPU, cores, memory and folders.

Each raises an error with a remedy. A wrong option is a ``ConfigError``, which trying again does not
help; a GPU or a folder that is missing may come back.
"""

import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from livepick.config.engine_section import CudaSettings
from livepick.config.sections import Device
from livepick.errors import ConfigError, EngineError, ModelError, ProviderError
from livepick.host.isolated_call import ProcessDiedError, call_isolated
from livepick.host.memory import total_bytes
from livepick.host.processors import usable_processors
from livepick.host.trainer_packages import missing_packages
from livepick.models.general_model import SHIPPED
from livepick.picking import tasks
from livepick.picking.gpu_pins import PROBES_AT_A_TIME, GpuPin, pins
from livepick.picking.job_limits import JobLimits

__all__ = ["Offer", "check_machine"]

PROBE_SECONDS = 240.0
"""Timeout of a probe; loading CUDA from a slow disk can take minutes."""

TRAINING_THREADS = 2
"""Default of ``training.threads``."""

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Offer:
    """Hardware of this machine, and its offer to the cluster."""

    workers: int
    """Number of worker processes, each of one thread."""
    devices: tuple[int, ...]
    """GPUs that the workers are bound to, in turn; empty: as CUDA chooses, or none."""
    provider: str
    """The onnxruntime provider that runs the model."""
    limits: JobLimits
    """Limits of jobs that come without any."""
    heavy: bool
    """True to offer training and 2D classes."""
    folders: tuple[Path, ...]
    """Folders that can be read here."""
    cuda: CudaSettings = field(default_factory=CudaSettings)
    """Use of the GPUs."""

    @property
    def lines(self) -> list[str]:
        """The offer in plain words."""
        gib = self.limits.limits().memory_bytes / GIB
        gpus = ", ".join(map(str, self.devices))
        jobs = f"{self.workers} micrograph{'s' if self.workers > 1 else ''} at a time"
        cores = usable_processors()
        return [
            f"machine    {socket.gethostname()}, {cores} cores, {total_bytes() / GIB:.1f} GiB",
            f"provider   {self.provider}" + (f", GPU {gpus}" if gpus else ""),
            f"workers    {self.workers}, each with one thread and at most {gib:.1f} GiB",
            *(f"folder     {folder}: can be read" for folder in self.folders),
            f"offers     {jobs}" + (", and one heavy job such as a training" if self.heavy else ""),
        ]


def check_machine(
    *,
    device: Device,
    workers: int | None,
    devices: Sequence[int],
    memory_limit_gib: float | None,
    heavy: bool,
    folders: Sequence[Path],
    cuda: CudaSettings,
) -> Offer:
    """Check what this machine has, and return what it offers.

    Parameters
    ----------
    device
        ``require-gpu``, or ``cpu`` to do without it.
    workers
        Number of worker processes. None: one a GPU, or one a core.
    devices
        Ids of the GPUs to use.
    memory_limit_gib
        Memory limit of a worker. None: as in ``JobLimits``.
    heavy
        True to offer heavy jobs, too.
    folders
        Folders that must be readable.
    cuda
        Use of the GPUs.

    Raises
    ------
    ConfigError
        The options contradict each other or the machine.
    ProviderError
        The GPU is required but not available.
    ModelError
        The model that ships with livepick does not run here.
    EngineError
        A folder cannot be read.
    """
    if device == "cpu" and cuda != CudaSettings():
        raise ConfigError(
            "--cuda is of GPUs, and --device is cpu", "Leave out one of the two options."
        )
    count = worker_count(
        device, workers, devices, usable_processors(), heavy=heavy, in_flight=cuda.in_flight
    )
    limits = _limits(count, memory_limit_gib)
    if heavy:
        _check_trainer()
    for folder in folders:
        _check_folder(folder)
    provider = find_provider(device, devices)
    return Offer(count, tuple(devices), provider, limits, heavy, tuple(folders), cuda)


def worker_count(
    device: Device,
    workers: int | None,
    devices: Sequence[int],
    cores: int,
    *,
    heavy: bool,
    in_flight: int = 1,
) -> int:
    """Return the number of workers. Each has one thread, so there are at most as many as cores.

    Without GPUs, each core gets one by default, but for those of a training.

    Raises
    ------
    ConfigError
        The options contradict each other or the number of cores.
    """
    if device == "cpu" and devices:
        raise ConfigError(
            "--devices names GPUs, and --device is cpu", "Leave out one of the two options."
        )
    if len(set(devices)) < len(devices):
        raise ConfigError(
            f"--devices names a GPU twice: {','.join(map(str, devices))}",
            "Name each once; --workers is the number of workers on all of them.",
        )
    free = max(1, cores - TRAINING_THREADS) if heavy else cores
    count = workers or (free if device == "cpu" else in_flight * max(1, len(devices)))
    if count < len(devices):
        raise ConfigError(
            f"--workers is {count}, and --devices names {len(devices)} GPUs",
            "Each GPU needs a worker: raise --workers, leave it out, or name fewer GPUs.",
        )
    if count > cores:
        raise ConfigError(
            f"{count} workers need {count} cores, and this process has {cores}",
            "Lower --workers or name fewer --devices; in a batch job, ask for more cores"
            " (--cpus-per-task).",
        )
    return count


def _limits(workers: int, memory_limit_gib: float | None) -> JobLimits:
    limit_bytes = None if memory_limit_gib is None else int(memory_limit_gib * GIB)
    limits = JobLimits(workers, memory_limit_bytes=limit_bytes)
    each_bytes = limits.limits().memory_bytes
    if workers * each_bytes > total_bytes():
        raise ConfigError(
            f"{workers} workers of {each_bytes / GIB:.1f} GiB need more than the"
            f" {total_bytes() / GIB:.1f} GiB that this process may use",
            "Lower --workers or --memory-limit-gib; in a batch job, ask for more memory (--mem).",
        )
    return limits


def _check_trainer() -> None:
    if absent := missing_packages():
        raise ConfigError(
            f"--heavy offers trainings, and here is not installed: {', '.join(absent)}",
            'Install it next to livepick (pip install "livepick[trainer,dask]"), or leave out'
            " --heavy.",
        )


def _check_folder(folder: Path) -> None:
    """Raise EngineError if a folder cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError as error:
        raise EngineError(
            f"--mount {folder} cannot be read: {error.strerror}",
            "Mount the file system at the same path as on the machine of the service, and check"
            " that this user may read it.",
        ) from error


def find_provider(device: Device, devices: Sequence[int]) -> str:
    """Run the model that ships with livepick, once on each GPU; return the provider.

    Raises
    ------
    ProviderError
        A GPU is required but not available.
    ModelError
        The model does not run.
    """
    with ThreadPoolExecutor(PROBES_AT_A_TIME, "probe") as probes:
        found = probes.map(lambda pin: _try_on(pin, device), _pins(devices) or (None,))
    return set(found).pop()


def _try_on(pin: GpuPin | None, device: Device) -> str:
    """Run the model that ships with livepick in a process of its own; return the provider."""
    gpu = "the GPU" if pin is None else pin.name
    place = "the CPU" if device == "cpu" else gpu
    try:
        return call_isolated(probe_on, pin, device, timeout_seconds=PROBE_SECONDS, log=False)
    except ProviderError as error:
        raise ProviderError(
            f"{gpu} cannot be used: {error.what.partition(': ')[2]}",
            "Check nvidia-smi, the driver and that only onnxruntime-gpu is installed"
            " (deploy/README.md). To offer the CPU instead, start with --device cpu.",
        ) from error
    except (ProcessDiedError, OSError) as error:
        raise ModelError(
            f"the model that ships with livepick does not run on {place}:"
            f" {error or type(error).__name__}",
            "Check the memory of the machine, the GPU's driver and the installation of"
            " onnxruntime.",
        ) from error


def _pins(devices: Sequence[int]) -> tuple[GpuPin, ...]:
    try:
        return pins(devices)
    except ProviderError as error:  # it names the setting of the service
        what, remedy = (
            text.replace("engine.devices", "--devices") for text in (error.what, error.remedy)
        )
        raise ProviderError(what, remedy) from error


def probe_on(pin: GpuPin | None, device: Device) -> str:
    """Run the shipped model, with one GPU visible. Called in a process of its own.

    Parameters
    ----------
    pin
        The GPU; None: as CUDA chooses.
    device
        Device to pick on.
    """
    if pin is not None:
        os.environ.update(pin.environment)
    return tasks.probe(SHIPPED, device)

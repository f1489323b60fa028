"""The GPU that a worker process sees: its number in ``engine.devices``, and its environment.

``engine.devices`` counts the GPUs that the service may use. Without ``CUDA_VISIBLE_DEVICES`` in the
environment of the service, these are all of the machine, numbered as in ``nvidia-smi``. Slurm, a
container or an administrator may have set that variable: then a number of ``engine.devices`` is a
place in its list, whose entries are numbers or UUIDs. So ``devices: [0, 1]`` are the two GPUs of a
job, whichever the scheduler chose, and a worker never gets one that was not given to the service.

The variable is set in the process of the worker before onnxruntime is loaded, because CUDA reads it
once. The worker then sees one GPU, which is its number 0.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from livepick.errors import ProviderError

__all__ = ["PROBES_AT_A_TIME", "VISIBLE", "GpuPin", "pins", "visible_gpus"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Variable that hides the other GPUs from CUDA; -1 hides all."""

PROBES_AT_A_TIME = 4
"""GPUs on which a model is tried at the same time: each try takes processor time and memory of the
machine."""

ORDER = "CUDA_DEVICE_ORDER"
"""By default CUDA puts the fastest GPU first, and ``nvidia-smi`` sorts by the place on the bus."""


@dataclass(frozen=True, slots=True)
class GpuPin:
    """One GPU for a worker."""

    index: int
    """Its number in ``engine.devices``."""

    visible: str
    """Value of ``CUDA_VISIBLE_DEVICES`` in the worker: a number or a UUID."""

    by_bus: bool = True
    """True if the number is that of ``nvidia-smi``; False if the environment decides."""

    @property
    def name(self) -> str:
        """Name for messages, as ``GPU 1``, or ``GPU 1 (GPU-8f0c…)``."""
        same = self.visible == str(self.index)
        return f"GPU {self.index}" if same else f"GPU {self.index} ({self.visible})"

    @property
    def environment(self) -> dict[str, str]:
        """Variables to set in the worker."""
        order = {ORDER: "PCI_BUS_ID"} if self.by_bus else {}
        return {VISIBLE: self.visible, **order}


def pins(devices: Sequence[int], environ: Mapping[str, str] = os.environ) -> tuple[GpuPin, ...]:
    """Return the GPUs of a list of numbers.

    Parameters
    ----------
    devices
        Numbers as in ``engine.devices``.
    environ
        Environment of the service.

    Raises
    ------
    ProviderError
        ``CUDA_VISIBLE_DEVICES`` is set, and has fewer GPUs.
    """
    inherited = environ.get(VISIBLE)
    if inherited is None:
        return tuple(GpuPin(index, str(index), by_bus=ORDER not in environ) for index in devices)
    given = _usable(inherited)
    for index in devices:
        if index >= len(given):
            raise ProviderError(
                f"engine.devices has {index}, and {VISIBLE}={inherited!r} gives livepick"
                f" {len(given) or 'no'} GPU{'' if len(given) == 1 else 's'}, which are counted"
                " from 0",
                f"Correct engine.devices, ask the scheduler for more GPUs, or unset {VISIBLE}.",
            )
    return tuple(GpuPin(index, given[index], by_bus=False) for index in devices)


def visible_gpus(devices: Sequence[int], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables for a process that may use all GPUs of a list; none for an empty list.

    Parameters
    ----------
    devices, environ
        As for ``pins``.

    Raises
    ------
    ProviderError
        As ``pins``.
    """
    each = pins(devices, environ)
    if not each:
        return {}
    return {**each[0].environment, VISIBLE: ",".join(pin.visible for pin in each)}


def _usable(visible: str) -> list[str]:
    """Return the entries that CUDA uses: those before the first one that is not a GPU."""
    usable: list[str] = []
    for entry in (each.strip() for each in visible.split(",")):
        if not (entry.isdigit() or entry.startswith(("GPU-", "MIG-"))):  # "-1", "NoDevFiles", ""
            break
        usable.append(entry)
    return usable

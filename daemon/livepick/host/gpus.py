"""Memory and load of this machine's NVIDIA GPUs, from NVML, the driver's own library.

A separate thread queries the driver every few seconds, because a driver that hangs must delay
neither a scrape nor the watchdog. Without the Python library (the extra ``gpu``), a driver or a
GPU, there are no figures, which is not a fault; ``livepick_inference_provider_active`` reports
whether a GPU is used for picking.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from livepick.host.unexpected_errors import UnexpectedErrors

__all__ = ["Gpu", "GpuMonitor", "Nvml", "nvml"]

QUERY_SECONDS = 10.0
"""Time between two queries of the driver."""

STALE_SECONDS = 60.0
"""Figures older than this are not reported: the driver hangs."""

NOT_SUPPORTED = 3
"""NVML_ERROR_NOT_SUPPORTED: the GPU works but lacks this figure (MIG, shared memory)."""

_log = logging.getLogger(__name__)


Nvml = Any
"""The module ``pynvml`` of nvidia-ml-py, which has no types, or a substitute for it."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; a figure that it does not have is None."""

    index: int
    """Index as in ``nvidia-smi``, whatever ``CUDA_VISIBLE_DEVICES`` hides from picking."""
    memory_used_bytes: int | None
    """Memory used by all programs, including what the driver reserves for itself."""
    memory_size_bytes: int | None
    busy: float | None
    """Fraction of the last second or less in which the GPU was busy, 0 to 1."""


def nvml() -> Nvml | None:
    """Return the library; None if it is not installed."""
    try:
        import pynvml  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return pynvml


class GpuMonitor:
    """Queries the GPUs: call ``run`` in a thread of its own, and ``stop`` from another.

    Parameters
    ----------
    library
        NVML; None if it is not installed.
    clock
        Monotonic clock, in seconds.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        library: Nvml | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._unexpected = unexpected or UnexpectedErrors()
        self._library = library
        self._clock = clock
        self._initialized = False
        self._last: tuple[float, tuple[Gpu, ...]] = (float("-inf"), ())
        self._stop = threading.Event()

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs, as of the last query. May be read from any thread."""
        queried_at, gpus = self._last
        return gpus if self._clock() - queried_at < STALE_SECONDS else ()

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stop.set()

    def run(self) -> None:
        """Query the GPUs until stopped."""
        if self._library is None:
            self._stop.wait()
            return
        while True:
            with self._unexpected.passing_over("monitoring", "the query of the GPUs"):
                self.query()
            if self._stop.wait(QUERY_SECONDS):
                return

    def query(self) -> None:
        """Query the GPUs once. A driver that is missing now may be there the next time."""
        if self._library is None:
            return
        gpus: list[Gpu] = []
        why: Exception | None = None
        try:
            if not self._initialized:
                self._library.nvmlInit()
                self._initialized = True
            count = self._library.nvmlDeviceGetCount()
        except self._library.NVMLError as error:
            count, why = 0, error
        for index in range(count):
            try:
                gpus.append(self._read_gpu(self._library, index))
            except self._library.NVMLError as error:  # the others may work
                why = error
        if not gpus:
            self._shut_down(self._library)
        self._log_changes(gpus, why)
        self._last = (self._clock(), tuple(gpus))

    def _shut_down(self, library: Nvml) -> None:
        """Shut NVML down, so that the next query starts it again: a reloaded driver needs that."""
        if self._initialized:
            with contextlib.suppress(library.NVMLError):
                library.nvmlShutdown()
        self._initialized = False

    def _read_gpu(self, library: Nvml, index: int) -> Gpu:
        handle = library.nvmlDeviceGetHandleByIndex(index)
        memory = _if_supported(library, lambda: library.nvmlDeviceGetMemoryInfo(handle))
        rates = _if_supported(library, lambda: library.nvmlDeviceGetUtilizationRates(handle))
        return Gpu(
            index,
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_size_bytes=None if memory is None else int(memory.total),
            busy=None if rates is None else rates.gpu / 100,
        )

    def _log_changes(self, gpus: Iterable[Gpu], why: Exception | None) -> None:
        before = {gpu.index for gpu in self._last[1]}
        now = {gpu.index for gpu in gpus}
        if new := now - before:
            _log.info("gpu %s: found", _listed(new))
        if gone := before - now:
            reason = why or "the driver does not list it"
            _log.warning("gpu %s: no longer available: %s", _listed(gone), reason)


def _if_supported(library: Nvml, ask: Callable[[], Any]) -> Any | None:
    try:
        return ask()
    except library.NVMLError as error:
        if getattr(error, "value", None) == NOT_SUPPORTED:
            return None
        raise


def _listed(indices: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(indices)))

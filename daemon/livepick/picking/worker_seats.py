"""Places of worker processes on the GPUs, and the judgement which GPU has failed.

Worker number i runs on GPU number i modulo the number of GPUs. A worker that ends is replaced in
its own place, and so on its own GPU. Without GPUs, a place is only a number.

A GPU that fails must not end the session, nor may its failures count against the micrographs. A job
that fails as if the GPU were at fault is run on another one; see ``WorkerPool``. Each such failure
is a strike, and a job that succeeds clears the strikes. After three in a row the GPU is set aside:
it gets no more jobs, and is tried again every five minutes with one. The last GPU is never set
aside: if it fails too, the failures are reported as they are.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from livepick.core.contracts.device_aside import DeviceAside
from livepick.picking.gpu_pins import GpuPin

__all__ = ["Seats"]

STRIKES = 3
"""Failures in a row after which a GPU is set aside."""

ASIDE_SECONDS = 300.0
"""Time after which a GPU that was set aside is tried again."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Record:
    strikes: int = 0
    reason: str = ""
    aside_seconds: float | None = None
    """Time since it was set aside; None: in use."""
    on_trial: bool = False
    """True if it was set aside, is tried again, and has not succeeded yet."""


@dataclass(slots=True)
class Seats:
    """Places for workers. For the thread of the pool; ``aside`` may be called from any.

    Parameters
    ----------
    count
        Number of workers.
    devices
        GPUs; none: the workers are not bound to one.
    """

    count: int
    devices: Sequence[GpuPin] = ()
    _records: dict[GpuPin, _Record] = field(init=False)

    def __post_init__(self) -> None:
        self._records = {device: _Record() for device in self.devices}

    def device(self, seat: int) -> GpuPin | None:
        """Return the GPU of a place."""
        return self.devices[seat % len(self.devices)] if self.devices else None

    def free(self, taken: Collection[int], *, without: Collection[GpuPin] = ()) -> int | None:
        """Return a place for another worker, on a GPU with few strikes; None if there is none.

        Parameters
        ----------
        taken
            Places that have a worker.
        without
            GPUs that do not count.
        """
        seats = [
            seat
            for seat in range(self.count)
            if seat not in taken
            and self.is_usable(device := self.device(seat))
            and device not in without
        ]
        return min(seats, key=lambda seat: self.strikes(self.device(seat)), default=None)

    def strikes(self, device: GpuPin | None) -> int:
        """Return the number of failures in a row."""
        return 0 if device is None else self._records[device].strikes

    def is_usable(self, device: GpuPin | None) -> bool:
        """Return True unless the GPU has been set aside."""
        return device is None or self._records[device].aside_seconds is None

    def others(self, without: Collection[GpuPin]) -> bool:
        """Return True if there is a GPU in use that is not one of these."""
        return any(
            self.is_usable(device) and device not in without
            for device in self.devices[: self.count]
        )

    def succeeded(self, device: GpuPin | None) -> None:
        """Note that a GPU works."""
        if device is not None:
            record = self._records[device]
            if record.strikes and record.aside_seconds is None:
                if record.on_trial:
                    _log.info("%s: works again", device.name)
                record.strikes, record.on_trial = 0, False

    def failed(self, device: GpuPin, reason: str) -> None:
        """Note a failure, and set the GPU aside if it is one too many and not the last one."""
        record = self._records[device]
        record.strikes += 1
        record.reason = reason
        if record.strikes < STRIKES or record.aside_seconds is not None:
            return
        if self.others({device}):
            self.set_aside(device, reason)

    def set_aside(self, device: GpuPin, reason: str) -> None:
        """Give a GPU no more jobs for a while."""
        self._records[device] = _Record(STRIKES, reason, 0.0)
        _log.error(
            "%s: set aside, the others go on; it is tried again in %g min: %s",
            device.name,
            ASIDE_SECONDS / 60,
            reason,
        )

    def count_time(self, seconds: float) -> None:
        """Take a GPU into use again after a while: one more failure sets it aside again."""
        for device, record in self._records.items():
            if record.aside_seconds is None:
                continue
            record.aside_seconds += seconds
            if record.aside_seconds >= ASIDE_SECONDS:
                record.aside_seconds, record.strikes = None, STRIKES - 1
                record.on_trial = True
                _log.info("%s: tried again", device.name)

    def aside(self) -> tuple[DeviceAside, ...]:
        """Return the GPUs that get no jobs, or only one to try them again."""
        return tuple(
            DeviceAside(device.name, record.reason)
            for device, record in self._records.items()
            if record.aside_seconds is not None or record.on_trial
        )

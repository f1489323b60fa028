"""Limits of a job: the time that it may take, and the memory that its worker may use.

Both have defaults that an ordinary session never reaches. They are for a file, a model or a file
system that would otherwise occupy a worker for ever or take the memory of the whole machine.
"""

from dataclasses import dataclass

from livepick.config.sections import Picking
from livepick.host.memory import recent_total_bytes

__all__ = ["JobLimits", "Limits"]

START_SECONDS = 300.0
"""Part of the time limit that does not depend on the file: loading CUDA can take minutes."""

LEAST_BYTES_PER_SECOND = 1e6
"""Speed at which a slow share delivers files, to all workers together."""

UNKNOWN_BYTES = 500e6
"""Size to assume for a file whose size is not known here."""

MEMORY_FRACTION = 0.6
"""Part of the memory that the workers may use together; the trainer and the service need some."""

LEAST_MEMORY_BYTES = 1 << 30
"""Default memory limit of a worker on a machine with many cores and little memory."""

MOST_MEMORY_BYTES = 16 << 30
"""Default memory limit of a worker on a large machine: more than any micrograph needs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one job."""

    seconds: float
    """Time from its start in a worker; a suspended machine does not count."""
    memory_bytes: int
    """Memory of its worker."""
    alone: bool = False
    """True if no other job runs."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Limits of the jobs of a pool of workers, from the settings of picking."""

    workers: int
    time_limit_seconds: float | None = None
    """None: 300 s, and for each worker 1 s per megabyte of the file."""
    memory_limit_bytes: int | None = None
    """None: 0.6 of the memory divided by the number of workers, between 1 and 16 GiB."""

    @classmethod
    def of(cls, picking: Picking, workers: int) -> "JobLimits":
        """Return the limits that the settings of picking give."""
        gib = picking.memory_limit_gib
        limit_bytes = None if gib is None else int(gib * (1 << 30))
        return cls(workers, picking.time_limit_seconds, limit_bytes)

    def limits(self, size_bytes: float | None = None, *, alone: bool = False) -> Limits:
        """Return the limits of a job.

        Parameters
        ----------
        size_bytes
            Size of its file; None: not known.
        alone
            True if no other job runs: by default it may then use the memory of all workers.
        """
        return Limits(self._seconds(size_bytes), self._memory_bytes(alone=alone), alone)

    def _seconds(self, size_bytes: float | None) -> float:
        if self.time_limit_seconds is not None:
            return self.time_limit_seconds
        size = UNKNOWN_BYTES if size_bytes is None else size_bytes
        return START_SECONDS + self.workers * size / LEAST_BYTES_PER_SECOND

    def _memory_bytes(self, *, alone: bool) -> int:
        if self.memory_limit_bytes is not None:
            return self.memory_limit_bytes
        together = int(MEMORY_FRACTION * recent_total_bytes())
        share = max(LEAST_MEMORY_BYTES, min(MOST_MEMORY_BYTES, together // self.workers))
        return max(share, together) if alone else share

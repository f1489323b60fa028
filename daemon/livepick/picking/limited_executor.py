"""Executors whose jobs have a time limit and a memory limit."""

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from livepick.core.contracts.device_aside import DeviceAside
from livepick.errors import EngineError
from livepick.picking.job_limits import JobLimits, Limits

__all__ = ["LimitedExecutor"]


class LimitedExecutor(Executor):
    """Workers that enforce the limits of their jobs."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Give a job to a worker, with the limits of a job of unknown size."""
        return self.submit_within(self.limits.limits(), fn, *args, **kwargs)

    @abstractmethod
    def submit_within(
        self, limits: Limits, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Give a job to a worker.

        Its future raises ``TimeLimitError`` or ``MemoryLimitError`` if it exceeds a limit,
        ``WorkerDiedError`` if its worker died, and ``EngineError`` if there is no worker for it.

        Raises
        ------
        EngineError
            The executor has been shut down.
        """

    @property
    @abstractmethod
    def capacity(self) -> int:
        """Number of jobs that keeps every worker busy: one running and one waiting for each."""

    @property
    @abstractmethod
    def limits(self) -> JobLimits:
        """Limits of jobs."""

    @property
    def deaths(self) -> int:
        """Number of workers that have died or have been killed."""
        return 0

    @property
    def left_behind(self) -> int:
        """Number of killed processes that do not end."""
        return 0

    @property
    def devices_aside(self) -> tuple[DeviceAside, ...]:
        """GPUs that have failed, and get no jobs for a while."""
        return ()

    @property
    def fault(self) -> EngineError | None:
        """Reason why no job can run now; None if jobs run, or if it shows only with a job."""
        return None

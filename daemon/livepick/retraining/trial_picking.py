"""Trial of a model that is not in use yet: it picks micrographs on the same workers."""

import logging
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import TypeVar

from livepick.core.contracts.job import Job, Result, WorkerDiedError
from livepick.errors import (
    EngineError,
    MicrographError,
    ModelError,
    StalledError,
    TimeLimitError,
)

__all__ = ["DEATHS", "QUEUE_SECONDS", "TRIAL_SECONDS", "Submit", "result_of", "try_job"]

TRIAL_SECONDS = 600.0
"""Time limit for one micrograph in a worker; a slower model is of no use."""

QUEUE_SECONDS = 3600.0
"""Longest wait for a free worker: each may be occupied by a micrograph up to its time limit."""

DEATHS = 3
"""Worker deaths after which a model is rejected; a single one may be due to another job in the
same pool."""

_REMEDY = "The current model stays in use; increase training.generation to train another."

R = TypeVar("R")

_log = logging.getLogger(__name__)

Submit = Callable[[Job], Future[Result]]
"""Submits a job to the workers."""


def try_job(name: str, job: Job, submit: Submit) -> Result | MicrographError:
    """Pick a micrograph; return the error if the micrograph is unusable, whatever the model.

    A worker that waited all the time waited for the micrograph, not for the model.

    Raises
    ------
    ModelError
        The model, called ``name``, does not run, takes far too long, or crashes its worker.
    EngineError
        Workers cannot be started, are killed by other programs, or none is free for a long time.
    """
    try:
        return _result_of(name, lambda: submit(job))
    except MicrographError as error:
        if isinstance(error, TimeLimitError) and not isinstance(error, StalledError):
            raise _too_slow(name, error) from error
        _log.info("%s: not tried on %s: %s", name, job.path.name, error)
        return error


def result_of(name: str, submit: Callable[[], Future[R]]) -> R:
    """Return the result of a job that runs a model; submit it again if its worker dies.

    Raises
    ------
    ModelError
        The model, called ``name``, does not run, takes far too long, or crashes its worker.
    EngineError
        Workers cannot be started, are killed by other programs, or none is free for a long time.
    MicrographError
        Whatever else the job raises.
    """
    try:
        return _result_of(name, submit)
    except TimeLimitError as error:
        raise _too_slow(name, error) from error


def _too_slow(name: str, error: TimeLimitError) -> ModelError:
    return ModelError(f"{name} takes too long: {error.what}", _REMEDY)


def _result_of(name: str, submit: Callable[[], Future[R]]) -> R:
    for left in reversed(range(DEATHS)):
        try:
            return submit().result(timeout=TRIAL_SECONDS + QUEUE_SECONDS)
        except BrokenExecutor as error:
            if left:
                continue
            if isinstance(error, WorkerDiedError) and error.cause == "outside":
                raise EngineError(
                    f"{name} could not be tried: {error}",
                    "Find out what kills the processes of livepick.",
                ) from error
            raise ModelError(
                f"the worker died each time that {name} was tried; memory may be short", _REMEDY
            ) from error
        except TimeoutError as error:
            raise EngineError(
                f"{name} could not be tried: no worker was free",
                "Check that the file systems of the micrographs respond.",
            ) from error
    raise AssertionError("unreachable")

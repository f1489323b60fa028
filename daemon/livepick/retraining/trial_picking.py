"""Trial of a model that is not in use yet: it picks micrographs on the same workers."""

import logging
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future

from livepick.core.contracts.job import Job, Result
from livepick.errors import MicrographError, ModelError

__all__ = ["DEATHS", "TRIAL_SECONDS", "Submit", "try_job"]

TRIAL_SECONDS = 600.0
"""Time limit for one micrograph; a slower model is of no use."""

DEATHS = 3
"""Worker deaths after which a model is rejected; a single one may be due to another job in the
same pool."""

_log = logging.getLogger(__name__)

Submit = Callable[[Job], Future[Result]]
"""Submits a job to the workers."""


def try_job(name: str, job: Job, submit: Submit) -> Result | None:
    """Pick a micrograph; return None if the micrograph is unusable, whatever the model.

    Raises
    ------
    ModelError
        The model, called ``name``, does not run, takes far too long, or crashes its worker.
    EngineError
        Workers cannot be started.
    """
    remedy = "The current model stays in use; increase training.generation to train another."
    for left in reversed(range(DEATHS)):
        try:
            return submit(job).result(timeout=TRIAL_SECONDS)
        except MicrographError as error:
            _log.info("%s: not tried on %s: %s", name, job.path.name, error)
            return None
        except BrokenExecutor as error:
            if not left:
                raise ModelError(
                    f"the worker died each time that {name} was tried; memory may be short", remedy
                ) from error
        except TimeoutError as error:
            raise ModelError(
                f"{name} takes more than {TRIAL_SECONDS:g} s for a micrograph", remedy
            ) from error
    raise AssertionError("unreachable")

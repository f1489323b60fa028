"""A new model is tried on one micrograph before it is let loose on a session."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future

from livepick.errors import MicrographError, ModelError
from livepick.worker import Job, Result

__all__ = ["Submit", "try_model"]

TRIAL_SECONDS = 600.0
"""A model that takes longer for one micrograph is of no use."""

DEATHS = 3
"""So often a worker may die meanwhile: it may have been another job in the same pool."""

_log = logging.getLogger(__name__)

Submit = Callable[[Job], Future[Result]]
"""Gives a job to the workers."""


def try_model(name: str, jobs: Sequence[Job], submit: Submit) -> None:
    """Run jobs with a new model until one went well.

    A micrograph that went bad since the training says nothing of the model; if all of them did,
    the model gets the benefit of the doubt.

    Raises
    ------
    ModelError
        The model does not run, takes far too long, or stops its worker.
    """
    remedy = "The model in use goes on; set training.generation to train another."
    deaths = 0
    left = list(jobs)
    while left:
        try:
            submit(left[0]).result(timeout=TRIAL_SECONDS)
        except MicrographError as error:
            _log.info("%s: not tried on %s: %s", name, left.pop(0).path.name, error)
        except BrokenExecutor as error:
            deaths += 1
            if deaths == DEATHS:
                raise ModelError(
                    f"a worker died each time that {name} was tried; is there memory", remedy
                ) from error
        except TimeoutError as error:
            raise ModelError(
                f"{name} takes over {TRIAL_SECONDS:g} s for a micrograph", remedy
            ) from error
        else:
            return

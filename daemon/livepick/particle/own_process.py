"""Measuring and picking of one micrograph in a process of its own, with low priority."""

import os

from livepick.core.contracts.job import Job, Result
from livepick.core.contracts.particle_measurement import ParticleEvidence, ParticleJob
from livepick.host.isolated_call import call_isolated
from livepick.particle import tasks as measuring
from livepick.picking import tasks as picking

__all__ = ["NICENESS", "measure_apart", "pick_apart"]

MEASURE_SECONDS = 600.0
"""Time limit for one micrograph. It takes seconds, but a process of low priority may get little of
a busy machine."""

NICENESS = 10
"""Priority below that of the workers and of the trainer."""


def measure_apart(job: ParticleJob, *, is_urgent: bool) -> ParticleEvidence:
    """Measure the particle in one micrograph.

    Parameters
    ----------
    job
        The micrograph, and how to read it.
    is_urgent
        True if nothing is picked until this is known, so that it gets the usual priority.

    Raises
    ------
    MicrographError
        The file is incomplete, unreadable, not a micrograph, or contains no image.
    ModelError
        The bundle of the general model is damaged.
    TimeoutError
        It took too long.
    ProcessDiedError
        The process was killed, or crashed.
    OSError
        No process can be started.
    """
    measure = measuring.measure if is_urgent else _measure_quietly
    return call_isolated(measure, job, timeout_seconds=MEASURE_SECONDS, log=False)


def pick_apart(job: Job) -> Result:
    """Pick one micrograph. Raises what ``measure_apart`` raises."""
    return call_isolated(_pick_quietly, job, timeout_seconds=MEASURE_SECONDS, log=False)


def _measure_quietly(job: ParticleJob) -> ParticleEvidence:
    os.nice(NICENESS)
    return measuring.measure(job)


def _pick_quietly(job: Job) -> Result:
    os.nice(NICENESS)
    return picking.pick(job)

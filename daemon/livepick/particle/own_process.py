"""Measuring and picking of one micrograph in a process of its own, with low priority."""

import os

from livepick.core.contracts.job import Job, Result
from livepick.core.contracts.particle_measurement import ParticleEvidence, ParticleJob
from livepick.host.isolated_call import call_isolated
from livepick.particle import tasks as measuring
from livepick.picking import tasks as picking

__all__ = ["NICENESS", "measure_apart", "pick_apart"]

MEASURE_SECONDS = 180.0
"""Time limit for one micrograph, with the start of the process, on a busy machine."""

NICENESS = 10
"""Priority below that of the workers and of the trainer."""


def measure_apart(job: ParticleJob) -> ParticleEvidence:
    """Measure the particle in one micrograph.

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
    return call_isolated(_measure_quietly, job, timeout_seconds=MEASURE_SECONDS, log=False)


def pick_apart(job: Job) -> Result:
    """Pick one micrograph. Raises what ``measure_apart`` raises."""
    return call_isolated(_pick_quietly, job, timeout_seconds=MEASURE_SECONDS, log=False)


def _measure_quietly(job: ParticleJob) -> ParticleEvidence:
    os.nice(NICENESS)
    return measuring.measure(job)


def _pick_quietly(job: Job) -> Result:
    os.nice(NICENESS)
    return picking.pick(job)

"""Functions that the main process passes to the workers, as in ``livepick.picking.tasks``.

Each of them imports its module when it is called, in the worker.
"""

from livepick.core.contracts.particle_measurement import (
    ExamplesJob,
    ParticleEvidence,
    ParticleJob,
)

__all__ = ["example_circles", "measure"]


def measure(job: ParticleJob) -> ParticleEvidence:
    """Measure the particle in one micrograph, over all diameters and both contrasts.

    Raises
    ------
    MicrographError
        The file is incomplete, unreadable, not a micrograph, or contains no image.
    ModelError
        The bundle of the general model is damaged.
    """
    from livepick.particle import measure as measuring  # noqa: PLC0415 - see above

    return measuring.measure(job)


def example_circles(job: ExamplesJob) -> tuple[bytes, ...]:
    """Return a PNG for each candidate: the same area, with circles of its diameter on particles.

    Raises
    ------
    MicrographError
        The file is incomplete, unreadable, not a micrograph, or contains no image.
    ModelError
        The bundle of the general model is damaged.
    """
    from livepick.particle import examples  # noqa: PLC0415 - see above

    return examples.example_circles(job)

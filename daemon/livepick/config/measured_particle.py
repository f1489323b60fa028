"""The particle of a session: as the config file gives it, completed by what was measured.

This is the one place where ``auto`` becomes a number. All other parts see a ``Config``; another
measured number is for them like an edit of the section ``particle``.
"""

import math
from dataclasses import dataclass

from livepick.config.schema import Config, WrittenConfig
from livepick.config.sections import Contrast, Particle, WrittenParticle

__all__ = ["ParticleMeasured", "resolve"]

USUAL_ANGSTROM = 150.0
"""Diameter until one is measured, if there are no bounds. Nothing is picked with it."""


@dataclass(frozen=True, slots=True)
class ParticleMeasured:
    """Diameter and contrast that were measured on the micrographs of a session."""

    diameter_angstrom: float
    contrast: Contrast


def resolve(written: WrittenConfig, measured: ParticleMeasured | None) -> Config:
    """Return a config with numbers for the particle.

    Parameters
    ----------
    written
        The config as it is in the file. What a person has given stays.
    measured
        Measurement for what is ``auto``. None: there is none yet, and a usual size is used.
    """
    if isinstance(written, Config):
        return written
    particle = written.particle
    given = {key: getattr(particle, key) for key in particle.model_fields_set}
    if particle.diameter_angstrom == "auto":
        given["diameter_angstrom"] = (
            _usual_angstrom(particle) if measured is None else measured.diameter_angstrom
        )
    if particle.contrast == "auto":
        given["contrast"] = "dark" if measured is None else measured.contrast
    sections = {key: getattr(written, key) for key in written.model_fields_set}
    return Config(**sections | {"particle": Particle(**given)})


def _usual_angstrom(particle: WrittenParticle) -> float:
    between = particle.diameter_between_angstrom
    return USUAL_ANGSTROM if between is None else round(math.sqrt(between[0] * between[1]))

"""State of the measurement of a session's particle, as it is kept in the ledger.

``livepick.particle.session_verdict`` makes it from the evidence of the first micrographs. The
config, the page, ``livepick status`` and the scheduler of trainings read it.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Self

from livepick.config.measured_particle import ParticleMeasured
from livepick.config.sections import Contrast, WrittenParticle

__all__ = ["ANSWER_SECONDS", "ParticleExample", "ParticleState", "question_of"]

ANSWER_SECONDS = 1800.0
"""Time that training waits for a person who is asked about the particle. Then it begins with the
better guess, or with the number that was given."""


@dataclass(frozen=True, slots=True)
class ParticleExample:
    """Positions found in one micrograph as if the particle had a certain diameter."""

    micrograph_id: int
    content: int
    """Content of the micrograph that they belong to."""
    diameter_angstrom: float
    contrast: Contrast
    pixel_size_angstrom: float
    height_px: int
    width_px: int
    """Size of the micrograph."""
    positions: tuple[tuple[float, float], ...]
    """The best positions as ``(x, y)`` in pixels of the micrograph, the best first."""


@dataclass(frozen=True, slots=True)
class ParticleState:
    """Size and contrast of the particle as far as known, and the open question."""

    question: str
    """``question_of`` the settings that this answers; other settings need another answer."""
    given_angstrom: float | None = None
    given_contrast: Contrast | None = None
    """Value given by a person; None: it is ``auto``."""
    used: ParticleMeasured | None = None
    """Diameter and contrast that are used for what is ``auto``. None: none are found yet."""
    best: ParticleMeasured | None = None
    """Best guess. None: no micrograph shows particles yet."""
    second: ParticleMeasured | None = None
    """Another guess that is close: a person should choose. None: there is none."""
    confidence: float = 0.0
    """Probability that the best guess is right within a fifth."""
    micrographs: int = 0
    """Micrographs measured."""
    voices: int = 0
    """Those of them that show particles."""
    left_out: int = 0
    """Micrographs that could not be measured."""
    wanted: int = 0
    """Micrographs with particles that are wanted."""
    is_settled: bool = False
    """True if nothing is measured any more: what is used stays as it is."""
    settled_by: str = ""
    """Reason why it is settled in spite of doubt, as a clause; empty if the micrographs agree."""
    contradiction: str = ""
    """Contradiction between the micrographs and a given value, as a clause; empty if none."""
    agrees: bool = False
    """True if enough micrographs agree with what a person gave."""
    asked_at: float = 0.0
    """Unix time at which the question or the contradiction was first said; 0: not yet."""
    fault: str = ""
    """Reason why nothing can be measured at present, as a clause; empty if it can."""
    remedy: str = ""
    """Remedy for that, in full sentences."""
    examples: tuple[ParticleExample, ...] = ()

    @classmethod
    def begin(cls, particle: WrittenParticle) -> Self:
        """Return the state in which nothing has been measured."""
        diameter, contrast = particle.diameter_angstrom, particle.contrast
        return cls(
            question_of(particle),
            given_angstrom=None if diameter == "auto" else diameter,
            given_contrast=None if contrast == "auto" else contrast,
        )

    @property
    def is_automatic(self) -> bool:
        """True if something of the particle is measured and not given."""
        return self.given_angstrom is None or self.given_contrast is None

    @property
    def is_asking(self) -> bool:
        """True if a person should choose between two guesses."""
        return self.second is not None and self.asked_at > 0 and not self.is_settled

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON-serializable values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the state that ``to_json`` wrote.

        Raises
        ------
        ValueError
            It is of another version of livepick.
        """
        try:
            guesses = {
                key: None if values[key] is None else ParticleMeasured(**values[key])
                for key in ("used", "best", "second")
            }
            examples = tuple(
                ParticleExample(**each | {"positions": tuple(map(tuple, each["positions"]))})
                for each in values["examples"]
            )
            return cls(**values | guesses | {"examples": examples})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a particle: {error}") from error


def question_of(particle: WrittenParticle) -> str:
    """Return a text that changes with every setting that the measurement answers."""
    return json.dumps(
        [particle.diameter_angstrom, particle.diameter_between_angstrom, particle.contrast]
    )

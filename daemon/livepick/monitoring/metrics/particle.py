"""Metrics of the measurement of the particle's size."""

from livepick.core.contracts.particle_state import ParticleState
from livepick.monitoring.metrics.instruments import InstrumentFactory

__all__ = ["ParticleMetrics"]


class ParticleMetrics:
    """Metrics of the evidence that the first micrographs give about the particle."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._contradiction = make.gauge(
            "particle_contradiction",
            "Do the micrographs contradict the config's diameter or contrast? 1 if so.",
        )
        self._question = make.gauge(
            "particle_question", "Should somebody choose between two diameters? 1 if so."
        )
        self._diameter = make.gauge(
            "particle_measured_diameter_angstrom",
            "What diameter do the micrographs suggest? 0 if none.",
        )
        self._settled = make.gauge(
            "particle_settled", "Is the measurement or comparison of the particle's size over?"
        )
        self._micrographs = make.gauge(
            "particle_measured_micrographs",
            "On how many micrographs was the particle's size measured?",
            result=("particles", "nothing", "left_out"),
        )

    def show(self, state: ParticleState | None) -> None:
        """Set all of them."""
        if state is None:
            return
        self._contradiction.set(bool(state.contradiction))
        self._question.set(state.is_asking)
        self._diameter.set(0.0 if state.best is None else state.best.diameter_angstrom)
        self._settled.set(state.is_settled)
        self._micrographs.labels("particles").set(state.voices)
        self._micrographs.labels("nothing").set(state.micrographs - state.voices)
        self._micrographs.labels("left_out").set(state.left_out)

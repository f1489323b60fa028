"""Preflight check of the particle: what is given, what will be measured, and what was."""

from pathlib import Path

from livepick.config.sections import WrittenParticle
from livepick.core.contracts.particle_state import ParticleState, question_of
from livepick.monitoring.particle_status import guess_in_words, particle_sentence
from livepick.monitoring.preflight.check import Check

__all__ = ["particle"]

_NAME = "particle"


def particle(written: WrittenParticle, state: ParticleState | None, general_model: Path) -> Check:
    """Check that the particle is known, or can be measured.

    Parameters
    ----------
    written
        The particle as it is in the config file.
    state
        What the session knows about it; None: nothing.
    general_model
        Folder of the model that measures it.
    """
    answer = state if state is not None and state.question == question_of(written) else None
    if answer is not None and answer.contradiction:
        return Check(
            _NAME,
            "warning",
            f"the micrographs contradict the config: {answer.contradiction}",
            "Look at the page of the session, and correct the config if it is wrong.",
        )
    if not written.is_automatic:
        given = f"{written.diameter_angstrom:g} Å, {written.contrast}"
        return Check(_NAME, "ok", f"{given}; it is compared with the first five micrographs")
    if answer is not None and answer.used is not None:
        found = guess_in_words(answer.used)
        if answer.is_settled:
            return Check(_NAME, "ok", f"auto, measured in this session: {found}")
        return Check(_NAME, "ok", particle_sentence(answer))
    automatic = [
        name
        for name, value in (
            ("diameter", written.diameter_angstrom),
            ("contrast", written.contrast),
        )
        if value == "auto"
    ]
    if not general_model.is_dir():
        return Check(
            _NAME,
            "fault",
            f"{' and '.join(automatic)} cannot be measured: the general model is not installed",
            "Install livepick again, or give particle.diameter_angstrom and particle.contrast.",
        )
    return Check(
        _NAME,
        "ok",
        f"{' and '.join(automatic)} will be measured on the first micrographs; the first training"
        " waits for it",
    )

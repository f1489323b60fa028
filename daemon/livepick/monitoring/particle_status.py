"""Sentences about the particle's size, with remedies, for page, status and log."""

import time
from collections.abc import Iterator

from livepick.config.measured_particle import ParticleMeasured
from livepick.core.contracts.particle_state import ANSWER_SECONDS, ParticleState
from livepick.monitoring.problem import Problem

__all__ = ["guess_in_words", "particle_problems", "particle_sentence"]

ACCEPTED_RATIO = 1.2
"""Bounds around a given diameter that accept it, as proposed in the remedy."""


def guess_in_words(guess: ParticleMeasured) -> str:
    """Return a diameter and a contrast in words."""
    return f"{guess.diameter_angstrom:g} Å, {guess.contrast}"


def particle_sentence(state: ParticleState) -> str:
    """Return what is known about the particle, as one sentence."""
    if not state.is_automatic:
        return _of_given(state)
    if state.used is None:
        if state.fault:
            return f"The particle's size cannot be measured: {state.fault}."
        if not state.micrographs:
            return "Measuring the particle's size on the first micrograph; picking begins then."
        return (
            f"Measuring the particle's size: none of {_micrographs(state.micrographs)} shows"
            " particles yet."
        )
    found = guess_in_words(state.used)
    count = _micrographs(state.micrographs)
    if state.is_settled:
        why = f"; {state.settled_by}" if state.settled_by else ""
        return (
            f"The particle was measured: {found} ({count}, confidence"
            f" {100 * state.confidence:.0f} %){why}."
        )
    return (
        f"Measuring the particle's size: {found}, so far;"
        f" {state.voices} of {state.wanted} micrographs with particles."
    )


def _of_given(state: ParticleState) -> str:
    if state.contradiction:
        return f"The micrographs contradict the config: {state.contradiction}."
    if state.is_settled:
        return (
            f"The given size was compared with {_micrographs(state.micrographs)}: no contradiction."
        )
    if state.fault:
        return f"The given size cannot be compared with the micrographs: {state.fault}."
    return f"The given size is being compared: {state.micrographs} of {state.wanted} micrographs."


def particle_problems(state: ParticleState | None, *, now: float) -> Iterator[Problem]:
    """Yield the problems with the particle's size and contrast.

    ``now``: unix seconds.
    """
    if state is None:
        return
    if state.contradiction:
        yield Problem(
            "particle_contradicted",
            "attention",
            f"The micrographs contradict the config: {state.contradiction}.",
            f"{_if_wrong(state)} {_training(state, now, _given(state))}",
        )
    elif state.is_asking and state.best is not None and state.second is not None:
        first, second = state.best, state.second
        if first.contrast == second.contrast:
            choice = f"{first.diameter_angstrom:g} Å or {second.diameter_angstrom:g} Å wide"
            line = (
                f"particle.diameter_angstrom: {first.diameter_angstrom:g} or"
                f" {second.diameter_angstrom:g}"
            )
        else:
            choice = f"{guess_in_words(first)} or {guess_in_words(second)}"
            line = (
                f"particle.diameter_angstrom: {first.diameter_angstrom:g} with particle.contrast:"
                f" {first.contrast}, or {second.diameter_angstrom:g} with {second.contrast}"
            )
        yield Problem(
            "particle_in_doubt",
            "attention",
            f"Is the particle {choice}? The micrographs allow both.",
            f"Look at both on the page, and set {line} in the config. Picking goes on with the"
            f" first. {_training(state, now, f'{first.diameter_angstrom:g} Å')}",
        )
    if state.is_automatic and state.used is None and state.fault:
        yield Problem(
            "particle_not_measured",
            "bad",
            f"The particle's size cannot be measured: {state.fault}.",
            f"{state.remedy} Until then, nothing is picked; nothing is lost.",
        )


def _if_wrong(state: ParticleState) -> str:
    """Return what to do if the config is wrong, and if the micrographs are."""
    best = state.best
    if best is None or (state.given_contrast is not None and best.contrast != state.given_contrast):
        other = "bright" if state.given_contrast == "dark" else "dark"
        return (
            f"Look at the micrographs: if their particles are {other}, set particle.contrast:"
            f" {other} in the config, and all is picked again by itself."
        )
    given = state.given_angstrom or best.diameter_angstrom
    low, high = given / ACCEPTED_RATIO, given * ACCEPTED_RATIO
    return (
        f"Look at both on the page: if the config is wrong, set particle.diameter_angstrom:"
        f" {best.diameter_angstrom:g}, and all is picked again by itself. If it is right, accept it"
        f" with particle.diameter_between_angstrom: [{low:.0f}, {high:.0f}]."
    )


def _given(state: ParticleState) -> str:
    return "the measured size" if state.given_angstrom is None else f"{state.given_angstrom:g} Å"


def _training(state: ParticleState, now: float, with_what: str) -> str:
    until = state.asked_at + ANSWER_SECONDS
    if now < until:
        clock = time.strftime("%H:%M %z", time.localtime(until))
        return f"Training waits until {clock} for an answer, and then begins with {with_what}."
    return f"Training no longer waits for an answer, and uses {with_what}."


def _micrographs(count: int) -> str:
    return "1 micrograph" if count == 1 else f"{count} micrographs"

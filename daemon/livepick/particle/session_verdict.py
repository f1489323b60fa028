"""Rules for the particle of a session: what is used, what is asked, what training waits for.

Pure functions from evidence and settings to a ``ParticleState``. What is ``auto`` gets a
provisional answer from the first micrograph that shows particles. The answer may change until it is
settled, which is before the first training, and never by itself afterwards. What a person has given
is only compared with the micrographs, and never overridden.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

from livepick.config.measured_particle import ParticleMeasured
from livepick.config.sections import Contrast, WrittenParticle
from livepick.core.contracts.particle_measurement import (
    DEFAULT_BOUNDS_ANGSTROM,
    LADDER_ANGSTROM,
    ParticleEvidence,
    ParticleGuess,
)
from livepick.core.contracts.particle_state import ANSWER_SECONDS, ParticleState, question_of
from livepick.particle.decide import contradiction, decide

__all__ = ["Seen", "judge_particle", "picks_wait", "training_waits", "wants_more"]

COMPARED = 5
"""Micrographs with which a given diameter and contrast are compared."""

COMPARED_IN_DOUBT = 10
"""The same, if the first of them contradict it: more evidence may clear it."""

POOLED = 10
"""Micrographs with particles that settle what is ``auto``."""

MOST_POOLED = 30
"""Micrographs after which the best guess is taken, even if it is in doubt."""

HELD_TRIES = 5
"""Micrographs after which picking begins, although none of them shows particles."""

LEAST_VOICES = 3
"""Fewest micrographs with particles that settle anything."""

MOST_LEFT_OUT = 50
"""Micrographs that cannot be measured, after which measuring ends."""

CHANGED_RATIO = 1.1
"""Before it is settled, another diameter is used only if it differs by more than this."""

SETTLED_RATIO = 1.03
"""The same, when it is settled."""

MOST_MASKED = 0.5
"""Masked fraction beyond which a micrograph has no say."""

NEAR_RATIO = 1.25
"""Diameters around a given one for which an automatic contrast is decided."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Evidence so far."""

    evidence: tuple[ParticleEvidence, ...]
    """Evidence in the order in which the micrographs landed."""
    left_out: int
    """Number of micrographs that could not be measured."""


def judge_particle(
    particle: WrittenParticle,
    seen: Seen,
    *,
    first_training: int,
    more_to_measure: bool,
    previous: ParticleState | None,
    now: float,
) -> ParticleState:
    """Return what is known about the particle after another micrograph, or after a while.

    Parameters
    ----------
    particle
        The particle as the config file gives it.
    seen
        What has been measured so far.
    first_training
        Micrographs that the first training waits for.
    more_to_measure
        True if there are micrographs that have yet to be measured.
    previous
        The last state.
    now
        Unix seconds.
    """
    if previous is None or previous.question != question_of(particle):
        previous = ParticleState.begin(particle)
    if previous.is_settled:
        return previous
    wanted = COMPARED
    if particle.is_automatic:
        wanted = max(1, min(POOLED, first_training))
    clear = [one for one in seen.evidence if one.masked_fraction <= MOST_MASKED]
    # A given contrast limits what may be found; if all is given, the micrographs are heard as they
    # are.
    is_limited = particle.is_automatic and particle.contrast != "auto"
    verdict = decide(
        clear,
        bounds_angstrom=_bounds(particle),
        contrast=_given_contrast(particle) if is_limited else None,
    )
    against = _contradiction(particle, clear)
    state = dataclasses.replace(
        previous,
        best=_rounded(verdict.best),
        second=_rounded(verdict.second),
        confidence=verdict.confidence,
        micrographs=len(seen.evidence),
        voices=verdict.voices,
        left_out=seen.left_out,
        wanted=wanted,
        contradiction=against if len(seen.evidence) >= COMPARED else "",
        agrees=verdict.is_settled and not against,
    )
    if not particle.is_automatic:
        return _compared(state, now)
    is_enough = (
        state.voices >= wanted
        or (state.micrographs >= MOST_POOLED and state.voices >= LEAST_VOICES)
        or (state.micrographs >= first_training and not more_to_measure)
    )
    if is_enough and state.best is None:
        state = dataclasses.replace(state, best=_rounded(verdict.likeliest))
    return _measured(particle, state, is_enough=is_enough, is_clear=verdict.is_settled, now=now)


def wants_more(state: ParticleState) -> bool:
    """Return True if another micrograph should be measured."""
    if state.is_settled or state.left_out >= MOST_LEFT_OUT:
        return False
    # Without particles, an automatic size waits for micrographs that show some.
    return (state.is_automatic and state.voices < LEAST_VOICES) or state.micrographs < MOST_POOLED


def picks_wait(state: ParticleState) -> bool:
    """Return True while nothing is to be picked, because the particle is not known."""
    return (
        state.is_automatic
        and state.used is None
        and state.micrographs < HELD_TRIES
        and state.left_out < MOST_LEFT_OUT
    )


def training_waits(state: ParticleState, *, more_to_measure: bool, now: float) -> str | None:
    """Return why a training waits for the particle, as a sentence; None if it does not.

    Parameters
    ----------
    state
        What is known about the particle.
    more_to_measure
        True if there are micrographs that have yet to be measured.
    now
        Unix seconds.
    """
    is_asked = state.asked_at > 0 and now - state.asked_at < ANSWER_SECONDS
    if state.contradiction and is_asked:
        return (
            f"Training waits until {_clock(state)} for an answer, because the micrographs"
            " contradict the config; then it begins all the same."
        )
    if state.is_settled:
        return None
    if not state.is_automatic:
        is_compared = state.agrees or state.micrographs >= COMPARED
        if is_compared or state.fault or not more_to_measure:
            return None
        return (
            "Training waits until the particle's size has been compared with the first"
            f" micrographs: {state.micrographs} of {COMPARED}."
        )
    return _automatic_waits(state, is_asked=is_asked)


def _automatic_waits(state: ParticleState, *, is_asked: bool) -> str:
    if state.fault:
        return f"Training waits for the particle's size, which cannot be measured: {state.fault}."
    if state.best is None:
        return "Training waits for the particle's size: no micrograph shows particles yet."
    if is_asked:
        awaited = "an answer" if state.second is not None else "more micrographs"
        return (
            f"Training waits until {_clock(state)} for {awaited}, because the particle's size is in"
            f" doubt; then it begins with {state.best.diameter_angstrom:g} Å."
        )
    return (
        f"Training waits until the particle's size is measured: {state.voices} of {state.wanted}"
        " micrographs with particles."
    )


def _clock(state: ParticleState) -> str:
    """Return the time at which nobody is waited for any more, with the zone."""
    return time.strftime("%H:%M %z", time.localtime(state.asked_at + ANSWER_SECONDS))


def _compared(state: ParticleState, now: float) -> ParticleState:
    """Return the state of a comparison with what a person gave."""
    enough = COMPARED_IN_DOUBT if state.contradiction else COMPARED
    asked_at = (state.asked_at or now) if state.contradiction else 0.0
    is_settled = state.micrographs >= enough
    return dataclasses.replace(state, asked_at=asked_at, is_settled=is_settled)


def _measured(
    particle: WrittenParticle,
    state: ParticleState,
    *,
    is_enough: bool,
    is_clear: bool,
    now: float,
) -> ParticleState:
    """Return the state of a measurement for what is ``auto``."""
    is_in_doubt = bool(state.contradiction) or (is_enough and not is_clear)
    asked_at = (state.asked_at or now) if is_in_doubt else 0.0
    if state.best is None:
        return dataclasses.replace(state, asked_at=asked_at)
    why = ""
    if is_enough and not is_clear:
        why = _impatience(state, now - asked_at)
    is_settled = is_enough and (is_clear or bool(why))
    used = _used(particle, state, SETTLED_RATIO if is_settled else CHANGED_RATIO)
    return dataclasses.replace(
        state, used=used, asked_at=asked_at, is_settled=is_settled, settled_by=why
    )


def _impatience(state: ParticleState, waited_seconds: float) -> str:
    """Return why a guess in doubt is taken now, as a clause; empty if it is not."""
    minutes = f"{ANSWER_SECONDS / 60:.0f} minutes"
    if waited_seconds >= ANSWER_SECONDS:
        if state.second is not None:
            return f"nobody has chosen in {minutes}, and it is the better of two guesses"
        return f"the micrographs did not agree in {minutes}, and it is the best guess"
    if state.micrographs >= MOST_POOLED and state.second is None:
        return f"{MOST_POOLED} micrographs do not agree, and it is the best guess"
    return ""


def _used(
    particle: WrittenParticle, state: ParticleState, changed_ratio: float
) -> ParticleMeasured | None:
    """Return what is used: what was used before, unless the best guess is another one."""
    best, before = state.best, state.used
    if best is None:
        return before
    if before is not None and before.contrast == best.contrast:
        ratio = best.diameter_angstrom / before.diameter_angstrom
        if 1 / changed_ratio <= ratio <= changed_ratio:
            return before
    given = particle.diameter_angstrom
    return best if given == "auto" else dataclasses.replace(best, diameter_angstrom=given)


def _rounded(guess: ParticleGuess | None) -> ParticleMeasured | None:
    if guess is None:
        return None
    return ParticleMeasured(float(round(guess.diameter_angstrom)), guess.contrast)


def _given_contrast(particle: WrittenParticle) -> Contrast | None:
    return None if particle.contrast == "auto" else particle.contrast


def _bounds(particle: WrittenParticle) -> tuple[float, float]:
    """Return the diameters among which the answer is."""
    given = particle.diameter_angstrom
    if given != "auto" and particle.is_automatic:
        return given / NEAR_RATIO, given * NEAR_RATIO
    return particle.diameter_between_angstrom or DEFAULT_BOUNDS_ANGSTROM


def _contradiction(particle: WrittenParticle, evidence: Sequence[ParticleEvidence]) -> str:
    """Return how the micrographs contradict what a person gave, as a clause; empty if not."""
    given = particle.diameter_angstrom
    low, high = particle.diameter_between_angstrom or DEFAULT_BOUNDS_ANGSTROM
    diameter = None
    if given != "auto" and LADDER_ANGSTROM[0] <= given <= LADDER_ANGSTROM[-1]:
        diameter = given
        if particle.diameter_between_angstrom is None:
            low, high = min(low, given / NEAR_RATIO), max(high, given * NEAR_RATIO)
    found = contradiction(
        decide(evidence, bounds_angstrom=(low, high)),
        diameter_angstrom=diameter,
        contrast=_given_contrast(particle),
    )
    return "" if found is None else found.sentence

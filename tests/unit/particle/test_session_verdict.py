"""What is used, what is asked, and what training waits for."""

import dataclasses

import pytest

from livepick.config.sections import WrittenParticle
from livepick.core.contracts.particle_state import ANSWER_SECONDS, ParticleState
from livepick.particle.session_verdict import (
    COMPARED,
    COMPARED_IN_DOUBT,
    HELD_TRIES,
    MOST_POOLED,
    Seen,
    judge_particle,
    picks_wait,
    training_waits,
    wants_more,
)
from particle_evidence import EMPTY, make_evidence

AUTO = WrittenParticle(diameter_angstrom="auto")
GIVEN = WrittenParticle(diameter_angstrom=150)
DOUBTFUL = make_evidence(120, second_angstrom=300)


def judged(particle, evidence, *, previous=None, now=1000.0, more=True, wanted=20, left_out=0):
    return judge_particle(
        particle,
        Seen(tuple(evidence), left_out),
        first_training=wanted,
        more_to_measure=more,
        previous=previous,
        now=now,
    )


def waits(state, *, now=1000.0, more=True):
    return training_waits(state, more_to_measure=more, now=now)


# --- auto ------------------------------------------------------------------------------------


def test_picking_begins_with_the_first_micrograph_that_shows_particles():
    nothing = judged(AUTO, [])
    first = judged(AUTO, [make_evidence(180)], previous=nothing)
    assert picks_wait(nothing)
    assert not picks_wait(first)
    assert first.used.diameter_angstrom == pytest.approx(180, rel=0.05)
    assert not first.is_settled
    assert "1 of 10 micrographs" in waits(first)


def test_it_settles_before_training_and_never_changes_afterwards():
    settled = judged(AUTO, [make_evidence(180)] * 10)
    assert settled.is_settled
    assert not settled.settled_by
    assert waits(settled) is None
    assert not wants_more(settled)
    assert judged(AUTO, [make_evidence(400)] * 40, previous=settled) == settled


def test_a_session_that_trains_on_few_micrographs_settles_on_as_few():
    assert judged(AUTO, [make_evidence(180)] * 4, wanted=5).is_settled is False
    assert judged(AUTO, [make_evidence(180)] * 5, wanted=5).is_settled


@pytest.mark.parametrize(("angstrom", "changes"), [(185, False), (240, True)])
def test_before_that_only_a_clearly_other_size_is_used(angstrom, changes):
    """Another size has the few micrographs picked again."""
    first = judged(AUTO, [make_evidence(180)])
    later = judged(AUTO, [make_evidence(180), *[make_evidence(angstrom)] * 4], previous=first)
    assert (later.used != first.used) is changes


def test_a_person_is_asked_and_training_goes_on_with_the_better_guess_after_a_while():
    asking = judged(AUTO, [DOUBTFUL] * 10)
    assert asking.is_asking
    assert asking.used == asking.best
    assert "for an answer" in waits(asking)
    later = 1000 + ANSWER_SECONDS
    taken = judged(AUTO, [DOUBTFUL] * 12, previous=asking, now=later)
    assert taken.is_settled
    assert "nobody has chosen in 30 minutes" in taken.settled_by
    assert waits(taken, now=later) is None


def test_further_micrographs_may_answer_the_question():
    asking = judged(AUTO, [DOUBTFUL] * 10)
    answered = judged(AUTO, [*[DOUBTFUL] * 10, *[make_evidence(120)] * 15], previous=asking)
    assert not answered.is_asking
    assert answered.is_settled


def test_the_answer_of_a_person_ends_the_question():
    asking = judged(AUTO, [DOUBTFUL] * 10)
    given = WrittenParticle(diameter_angstrom=300)
    answered = judged(given, [DOUBTFUL] * 10, previous=asking)
    assert not answered.is_asking
    assert not answered.contradiction
    assert waits(answered) is None


def test_micrographs_that_never_agree_end_in_the_best_guess():
    mixed = [make_evidence(size) for size in (70, 110, 170, 280, 430)] * 6
    state = judged(AUTO, mixed)
    assert len(mixed) == MOST_POOLED
    assert state.is_settled or state.is_asking
    late = judged(AUTO, mixed, previous=state, now=1000 + ANSWER_SECONDS)
    assert late.is_settled
    assert late.settled_by


def test_micrographs_without_particles_have_no_say():
    """Training waits for those that have; picking begins in the end."""
    empty = judged(AUTO, [EMPTY] * HELD_TRIES)
    assert empty.used is None
    assert not picks_wait(empty)
    assert "no micrograph shows particles yet" in waits(empty)
    assert wants_more(judged(AUTO, [EMPTY] * 40))
    both = judged(AUTO, [*[EMPTY] * 8, *[make_evidence(180)] * 10])
    assert both.is_settled


def test_masked_micrographs_have_no_say():
    masked = make_evidence(500, height=0.99, masked_fraction=0.7)
    assert judged(AUTO, [masked] * 10).best is None


def test_a_short_session_waits_only_a_while():
    """With fewer micrographs than it wants, it takes what there is."""
    few = [*[EMPTY] * 5, *[make_evidence(180)] * 9]
    state = judged(AUTO, few, more=False, wanted=14)
    assert state.is_settled
    two = [EMPTY, *[make_evidence(180)] * 2]
    state = judged(AUTO, two, more=False, wanted=3)
    assert not state.is_settled
    late = judged(AUTO, two, more=False, wanted=3, previous=state, now=1000 + ANSWER_SECONDS)
    assert late.is_settled


def test_bounds_limit_what_may_be_found():
    bounded = WrittenParticle(diameter_angstrom="auto", diameter_between_angstrom=[200, 400])
    found = judged(bounded, [DOUBTFUL] * 10)
    assert found.used.diameter_angstrom == pytest.approx(300, rel=0.08)
    assert found.is_settled


def test_other_bounds_ask_anew():
    settled = judged(AUTO, [DOUBTFUL] * 10, now=0)
    bounded = WrittenParticle(diameter_angstrom="auto", diameter_between_angstrom=[200, 400])
    assert judged(bounded, [DOUBTFUL] * 10, previous=settled).used.diameter_angstrom > 250


def test_the_contrast_alone_can_be_measured():
    particle = WrittenParticle(diameter_angstrom=150, contrast="auto")
    found = judged(particle, [make_evidence(150, contrast="bright")] * 10)
    assert (found.used.diameter_angstrom, found.used.contrast) == (150, "bright")


def test_a_given_contrast_is_kept_and_its_contradiction_said():
    bright = [make_evidence(150, contrast="bright")] * 10
    state = judged(AUTO, bright)
    assert "particle.contrast is dark" in state.contradiction
    assert state.used is None or state.used.contrast == "dark"


# --- given -----------------------------------------------------------------------------------


def test_a_contradicted_number_is_said_from_the_fifth_micrograph_on_and_training_waits_a_while():
    wrong = [make_evidence(300)] * COMPARED
    assert not judged(GIVEN, wrong[:-1]).contradiction
    state = judged(GIVEN, wrong)
    assert "in 5 of 5 micrographs, and particle.diameter_angstrom is 150" in state.contradiction
    assert state.used is None
    assert "because the micrographs contradict the config" in waits(state)
    assert waits(state, now=1000 + ANSWER_SECONDS) is None
    assert wants_more(state)
    assert judged(GIVEN, [make_evidence(300)] * COMPARED_IN_DOUBT, previous=state).is_settled


@pytest.mark.parametrize("factor", [0.87, 1, 1.15])
def test_a_number_that_is_about_right_is_not_contradicted(factor):
    state = judged(GIVEN, [make_evidence(150 * factor)] * COMPARED)
    assert not state.contradiction
    assert state.is_settled
    assert waits(state) is None


def test_little_evidence_contradicts_nothing():
    assert not judged(GIVEN, [EMPTY] * COMPARED).contradiction
    assert not judged(GIVEN, [*[EMPTY] * 8, *[make_evidence(300)] * 2]).contradiction
    assert not judged(GIVEN, [DOUBTFUL] * COMPARED).contradiction


def test_an_edit_of_the_number_clears_the_contradiction():
    state = judged(GIVEN, [make_evidence(300)] * COMPARED)
    right = WrittenParticle(diameter_angstrom=300)
    cleared = judged(right, [make_evidence(300)] * COMPARED, previous=state)
    assert not cleared.contradiction
    assert cleared.asked_at == 0


def test_bounds_around_a_number_accept_it():
    accepted = WrittenParticle(diameter_angstrom=150, diameter_between_angstrom=[125, 180])
    assert not judged(accepted, [make_evidence(300)] * COMPARED).contradiction


def test_a_number_beyond_what_can_be_measured_is_not_contradicted():
    state = judged(WrittenParticle(diameter_angstrom=1500), [make_evidence(300)] * 10)
    assert state.voices == 10
    assert not state.contradiction


def test_training_waits_for_the_comparison_only_while_it_goes_on():
    state = judged(GIVEN, [make_evidence(150)] * 2)
    assert "2 of 5" in waits(state)
    assert waits(judged(GIVEN, [make_evidence(150)] * 3)) is None
    assert "3 of 5" in waits(judged(GIVEN, [make_evidence(300)] * 3))
    assert waits(state, more=False) is None
    assert waits(dataclasses.replace(state, fault="the model is damaged")) is None


def test_a_fault_holds_back_an_automatic_session_and_is_named():
    state = dataclasses.replace(judged(AUTO, []), fault="the model is damaged")
    assert "cannot be measured: the model is damaged" in waits(state)


def test_the_state_survives_as_json():
    state = judged(AUTO, [DOUBTFUL] * 10)
    assert ParticleState.from_json(state.to_json()) == state
    with pytest.raises(ValueError, match="not the state of a particle"):
        ParticleState.from_json(state.to_json() | {"more": 1})

"""What is known about the particle, in words."""

import dataclasses

import pytest

from livepick.config.measured_particle import ParticleMeasured
from livepick.config.sections import WrittenParticle
from livepick.core.contracts.particle_state import ANSWER_SECONDS, ParticleState
from livepick.monitoring.particle_status import particle_problems, particle_sentence
from livepick.monitoring.preflight.particle import particle as preflight

AUTO = ParticleState.begin(WrittenParticle(diameter_angstrom="auto"))
GIVEN = ParticleState.begin(WrittenParticle(diameter_angstrom=75))
SMALL, LARGE = ParticleMeasured(120.0, "dark"), ParticleMeasured(300.0, "dark")
WRONG = dataclasses.replace(
    GIVEN, best=SMALL, contradiction="the particles look about 120 Å wide", asked_at=1000.0
)
ASKING = dataclasses.replace(AUTO, used=SMALL, best=SMALL, second=LARGE, asked_at=1000.0)


def said(state, *, now=1000.0):
    return list(particle_problems(state, now=now))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (AUTO, "on the first micrograph; picking begins then"),
        (dataclasses.replace(AUTO, micrographs=1), "none of 1 micrograph shows particles yet"),
        (dataclasses.replace(AUTO, fault="it dies"), "cannot be measured: it dies"),
        (
            dataclasses.replace(AUTO, used=SMALL, voices=3, wanted=10),
            "120 Å, dark, so far; 3 of 10",
        ),
        (
            dataclasses.replace(AUTO, used=SMALL, is_settled=True, micrographs=10, confidence=0.97),
            "was measured: 120 Å, dark (10 micrographs, confidence 97 %).",
        ),
        (
            dataclasses.replace(AUTO, used=SMALL, is_settled=True, settled_by="nobody has chosen"),
            "; nobody has chosen.",
        ),
        (dataclasses.replace(GIVEN, micrographs=2, wanted=5), "is being compared: 2 of 5"),
        (dataclasses.replace(GIVEN, fault="it dies"), "cannot be compared"),
        (WRONG, "contradict the config: the particles look about 120 Å wide."),
    ],
)
def test_each_state_has_a_sentence(state, words):
    assert words in particle_sentence(state)


def test_a_contradiction_says_what_to_do_in_both_cases_and_how_long_training_waits():
    (problem,) = said(WRONG)
    assert problem.kind == "particle_contradicted"
    assert "particle.diameter_angstrom: 120" in problem.remedy
    assert "particle.diameter_between_angstrom: [62, 90]" in problem.remedy
    assert "Training waits until" in problem.remedy
    (late,) = said(WRONG, now=1000 + ANSWER_SECONDS)
    assert "Training no longer waits for an answer, and uses 75 Å." in late.remedy


def test_a_wrong_contrast_is_not_answered_by_a_diameter():
    state = dataclasses.replace(
        GIVEN, best=ParticleMeasured(80.0, "bright"), contradiction="the particles look bright"
    )
    (problem,) = said(state)
    assert "set particle.contrast: bright" in problem.remedy
    assert "diameter_angstrom" not in problem.remedy


def test_a_question_names_both_answers():
    (problem,) = said(ASKING)
    assert problem.sentence.startswith("Is the particle 120 Å or 300 Å wide?")
    assert "particle.diameter_angstrom: 120 or 300" in problem.remedy
    other = dataclasses.replace(ASKING, second=ParticleMeasured(120.0, "bright"))
    assert "120 with particle.contrast: dark, or 120 with bright" in said(other)[0].remedy


def test_what_cannot_be_measured_is_a_problem_only_if_it_is_needed():
    assert [p.level for p in said(dataclasses.replace(AUTO, fault="it dies"))] == ["bad"]
    assert said(dataclasses.replace(GIVEN, fault="it dies")) == []
    assert said(AUTO) == said(GIVEN) == said(None) == []


def test_check_says_what_will_happen(tmp_path):
    auto, given = WrittenParticle(diameter_angstrom="auto"), WrittenParticle(diameter_angstrom=75)
    assert preflight(auto, None, tmp_path / "none").verdict == "fault"
    assert "diameter will be measured on the first" in preflight(auto, None, tmp_path).found
    settled = dataclasses.replace(AUTO, used=SMALL, is_settled=True)
    assert "measured in this session: 120 Å, dark" in preflight(auto, settled, tmp_path).found
    assert "compared with the first five" in preflight(given, None, tmp_path).found
    assert preflight(given, WRONG, tmp_path).verdict == "warning"
    assert preflight(given, settled, tmp_path).verdict == "ok"

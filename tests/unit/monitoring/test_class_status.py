"""Class averages in words: what they show, of when they are, views and problems."""

import dataclasses
import json

import pytest

from factories import make_class_averages
from livepick.classes.making_state import MakingState
from livepick.config.alert_thresholds import SESSION_SECONDS
from livepick.monitoring.class_status import (
    ClassesStatus,
    class_problems,
    classes_as_json,
    classes_sentence,
    freshness_sentence,
    noise_sentence,
    view_hint,
)

ROW = make_class_averages()
MADE = ClassesStatus(ROW, landed_last=900.0, model_version=1, threshold=0.35)


def few(**changes):
    row = dataclasses.replace(ROW, good_particles=1200, **changes)
    return dataclasses.replace(MADE, latest=row)


@pytest.mark.parametrize(
    ("making", "words"),
    [
        (None, "as soon as ten micrographs have picks"),
        (MakingState(), "as soon as ten micrographs have picks"),
        (MakingState(since=1.0), "The first class averages are being made."),
        (MakingState(waits="a training runs"), "Class averages wait: a training runs."),
        (MakingState(is_off=True), "switched off"),
        (
            MakingState(fault="torch is not installed", remedy="Install it."),
            "There are no class averages: torch is not installed. Install it.",
        ),
    ],
)
def test_without_any_it_is_said_why(making, words):
    assert words in classes_sentence(ClassesStatus(making=making))


def test_the_sentence_says_the_share_and_of_what_and_when_they_are():
    sentence = classes_sentence(MADE)
    assert sentence.startswith("75 % of the picks are in class averages that show a particle")
    assert "30 of 40 classes; 4,000 picks of 20 micrographs, the last of 01 Jan" in sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"newer": 1}, "1 micrograph was picked since."),
        ({"newer": 7, "making": MakingState(since=1.0)}, "new ones are being made."),
        ({"newer": 7, "making": MakingState(waits="a training runs")}, "new ones wait: a training"),
        ({"making": MakingState(fault="no memory")}, "New ones cannot be made: no memory."),
        ({"making": MakingState(is_off=True)}, "No more are made (class_averages.enabled)."),
        ({"model_version": 2}, "They are of picks by model 1."),
        ({"threshold": 0.41}, "They are of picks above 0.35, and the threshold is 0.41 now."),
        ({"threshold": 0.41, "model_version": 2}, "They are of picks by model 1."),
    ],
)
def test_what_is_stale_says_so(changes, words):
    sentence = freshness_sentence(dataclasses.replace(MADE, **changes))
    assert sentence.endswith(words) or words in sentence
    assert bool(sentence) is bool(words)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("balanced", ""),
        ("one_view", "prefers an orientation"),
        ("round", "A spherical particle looks like that from all sides"),
    ],
)
def test_a_dominant_view_is_a_hint_unless_it_may_be_a_sphere(state, words):
    hint = view_hint(dataclasses.replace(ROW, view_state=state, view_fraction=0.85))
    assert words in hint
    assert hint.startswith("85 % of the particles in good classes show one view") is bool(words)


def test_few_picks_in_good_classes_are_a_problem():
    (problem,) = class_problems(few(), now=1600.0)
    assert problem.kind == "few_good_classes"
    assert problem.sentence == (
        "Only 30 % of the picks are in class averages that show a particle (20 micrographs, 10 min"
        " ago)."
    )


def test_good_ones_few_particles_and_another_day_are_not():
    assert list(class_problems(MADE, now=1600.0)) == []
    assert list(class_problems(few(particles=900), now=1600.0)) == []
    assert list(class_problems(few(), now=1001.0 + SESSION_SECONDS)) == []
    assert list(class_problems(ClassesStatus(), now=1600.0)) == []


def test_the_json_has_the_figures():
    assert classes_as_json(ClassesStatus()) is None
    values = json.loads(json.dumps(classes_as_json(MADE)))
    assert (values["good_fraction"], values["micrographs"]) == (0.75, 20)
    assert values["views"] == {"state": "balanced", "largest_fraction": 0.4, "number": 5}


def test_picks_like_noise_are_told_and_the_remedy_is_the_threshold():
    row = dataclasses.replace(ROW, good_particles=150, noise_particles=3400)
    sentence = noise_sentence(row)
    assert sentence.startswith(
        "The class averages of 85 % of the picks cannot be told from averages"
    )
    assert "raise picking.threshold" in sentence
    (problem,) = class_problems(dataclasses.replace(MADE, latest=row), now=1060.0)
    assert problem.kind == "few_good_classes"
    assert "Those of 85 % cannot be told from averages of noise." in problem.sentence
    assert "raise picking.threshold" in problem.remedy
    assert classes_as_json(dataclasses.replace(MADE, latest=row))["noise_fraction"] == 0.85


def test_a_few_hundred_picks_like_noise_are_no_verdict():
    """Their averages may be too noisy, so it is said that there will be clearer ones."""
    row = dataclasses.replace(ROW, particles=300, good_particles=0, noise_particles=300)
    assert noise_sentence(row).endswith("Those of more picks are clearer.")
    assert list(class_problems(dataclasses.replace(MADE, latest=row), now=1060.0)) == []


@pytest.mark.parametrize(
    "row",
    [
        None,
        ROW,
        dataclasses.replace(ROW, good_particles=2100, noise_particles=1900),
        dataclasses.replace(ROW, good_particles=150, noise_particles=1900),
    ],
    ids=["none", "good", "half good", "few good, but few like noise"],
)
def test_noise_is_not_mentioned_unless_most_picks_are_like_it(row):
    assert noise_sentence(row) == ""

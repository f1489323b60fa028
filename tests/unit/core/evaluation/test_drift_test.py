"""Whether the latest micrographs are still what the model was promoted on."""

import re

import numpy as np
import pytest

from livepick.core.evaluation.drift_test import (
    DRIFT_FIGURES,
    LEAST_SCORES,
    REFERENCE,
    WINDOW,
    Picked,
    chance_of_ranks,
    compare,
    population_stability_index,
    stability,
)


def session(rng, count, *, picks=100, score=0.85, masked=0.05, square=0.1):
    """Return micrographs whose number and scores vary from square to square and within one."""
    made, left = [], 0
    while len(made) < count:
        if left == 0:
            left = int(rng.integers(12, 31))
            density, better = np.exp(rng.normal(0, square)), rng.normal(0, 0.01)
        left -= 1
        number = rng.poisson(picks * density * np.clip(rng.normal(1, 0.25), 0.2, 2))
        centre = score + better + rng.normal(0, 0.02)
        scores = np.clip(rng.normal(centre, 0.08, number), 0.5, 1).astype(np.float32)
        made.append(Picked(scores, float(np.clip(rng.normal(masked, 0.03), 0, 1))))
    return made


def look(micrographs, **how):
    """Return what the first and the last of a session say."""
    reference, rest = micrographs[:REFERENCE], micrographs[REFERENCE:]
    return compare(reference, rest[-WINDOW:], model_version=3, **how)


def kinds(drift):
    return [finding.kind for finding in drift.findings]


# --- statistics ----------------------------------------------------------------------------------


def test_equal_shares_have_a_stability_index_of_zero():
    """Whatever the numbers."""
    counts = np.array([40, 40, 20])
    assert population_stability_index(counts * 1000, counts * 10) == pytest.approx(0, abs=1e-2)


def test_the_stability_index_is_that_of_the_literature():
    """Shares of 1/2, 1/2 against 1/4, 3/4: 0.25 ln 2 + 0.25 ln 1.5."""
    index = population_stability_index(np.array([50_000, 50_000]), np.array([25_000, 75_000]))
    assert index == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5), abs=1e-3)


def test_without_any_change_the_index_is_what_chance_gives():
    """Yurdakul and Naranjo: 9 (1/n + 1/m) in the mean, for independent scores and ten bins."""
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(40):
        reference, window = (
            [rng.uniform(size=25).astype(np.float32) for _ in range(batches)] for batches in (8, 4)
        )
        _, _, by_chance = stability(reference, window)
        ratios.append(by_chance / (9 * (1 / 200 + 1 / 100)))
    assert 0.7 < np.mean(ratios) < 1.3


def test_scores_that_come_in_micrographs_have_a_larger_index_by_chance():
    """Each batch has a level of its own, so that numbers alone would promise too much."""
    rng = np.random.default_rng(2)
    reference, window = (
        [rng.normal(rng.normal(0, 1), 0.5, 100).astype(np.float32) for _ in range(batches)]
        for batches in (8, 4)
    )
    _, chance, by_chance = stability(reference, window)
    assert by_chance > 5 * 9 * (1 / 800 + 1 / 400)
    assert chance > 0.01


def test_the_rank_test_is_exact():
    """Four below eight are one of 495 ways; four that are equal to eight are all of them."""
    low, high = np.arange(4.0), np.arange(10.0, 18.0)
    assert chance_of_ranks(high, low, lower=True) == pytest.approx(1 / 495)
    assert chance_of_ranks(high, low, lower=False) == 1
    assert chance_of_ranks(low[:2], high[:2], lower=False) == pytest.approx(1 / 6)
    assert chance_of_ranks(np.ones(8), np.ones(4), lower=True) == 1
    assert chance_of_ranks(np.ones(0), np.ones(4), lower=True) == 1


# --- findings ------------------------------------------------------------------------------------


def test_of_few_micrographs_nothing_is_said():
    micrographs = session(np.random.default_rng(3), REFERENCE + WINDOW)
    assert look(micrographs).measures
    assert not look(micrographs[:-1]).measures
    assert not compare(micrographs[: REFERENCE - 1], micrographs, model_version=3).measures


@pytest.mark.parametrize("seed", range(5))
def test_half_the_particles_are_noticed_within_25_micrographs(seed):
    rng = np.random.default_rng([4, seed])
    before = session(rng, 90)
    after = session(rng, 25, picks=50)
    assert any("fewer_picks" in kinds(look(before + after[:n])) for n in range(26))


def test_a_finding_says_how_much_and_of_what():
    rng = np.random.default_rng(5)
    before = session(rng, REFERENCE, square=0)
    (finding,) = look(before + session(rng, WINDOW, picks=40, square=0)).findings
    assert finding.kind == "fewer_picks"
    assert re.match(
        r"the last 25 micrographs hold \d\d% of the picks of the first 50 of model 3"
        r" \(median \d\d, was \d\d\d?\): ",
        finding.sentence,
    )
    assert finding.sentence.endswith("another specimen?")


def test_seven_poor_micrographs_in_a_row_are_no_drift():
    """Whatever part of the window it has."""
    rng = np.random.default_rng(6)
    micrographs = session(rng, 80, square=0) + session(rng, 7, picks=10, square=0)
    micrographs += session(rng, 25, square=0)
    for count in range(80, len(micrographs)):
        assert kinds(look(micrographs[:count])) == []


def test_ten_stationary_sessions_raise_no_alarm():
    """After every fifth micrograph, with squares whose densities differ by 10 %."""
    for seed in range(10):
        micrographs = session(np.random.default_rng([7, seed]), 200)
        found: set[str] = set()
        for count in range(REFERENCE + WINDOW, len(micrographs), 5):
            found |= set(kinds(look(micrographs[:count], active=found)))
        assert found == set()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"picks": 220}, "more_picks"),
        ({"score": 0.68}, "lower_scores"),
        ({"score": 0.68}, "other_scores"),
        ({"score": 0.95}, "other_scores"),
        ({"masked": 0.3}, "more_masked"),
    ],
)
def test_each_change_has_its_finding(change, kind):
    rng = np.random.default_rng(8)
    drift = look(session(rng, REFERENCE) + session(rng, WINDOW, **change))
    assert kind in kinds(drift)
    assert max(drift.size(figure) for figure in DRIFT_FIGURES) >= 1


def test_what_the_reference_had_seen_is_no_change():
    """Four of its ten batches were as poor as the whole window is."""

    def exactly(picks, count):
        return [Picked(np.linspace(0.5, 1, picks, dtype=np.float32), 0.0)] * count

    drift = look(exactly(100, 30) + exactly(50, 20) + exactly(50, WINDOW))
    assert drift.size("picks") > 1
    assert drift.findings == ()


def test_few_scores_are_not_mistaken_for_other_scores():
    """Six picks a micrograph: chance alone gives an index of 0.2 between a half and the rest."""
    sizes = []
    for seed in range(10):
        rng = np.random.default_rng([11, seed])
        drift = look(session(rng, REFERENCE + WINDOW, picks=7, square=0))
        sizes.append(drift.size("score_distribution"))
    assert np.mean(sizes) < 0.3


def test_scores_of_few_picks_are_not_compared():
    """Nine scores would fill ten bins badly."""
    rng = np.random.default_rng(9)
    few = session(rng, WINDOW, picks=LEAST_SCORES / WINDOW / 2)
    drift = look(session(rng, REFERENCE) + few)
    assert {measure.figure for measure in drift.measures} == {"picks", "masked_fraction"}
    assert drift.size("score_distribution") == 0


def test_a_session_without_picks_is_as_good_as_another():
    """None at first and none now is no change, and no fault."""
    nothing = [Picked(np.zeros(0, np.float32), 0.0)] * (REFERENCE + WINDOW)
    assert look(nothing).findings == ()


def test_a_finding_that_there_is_stays_until_it_is_clearly_over():
    """Seven tenths of the picks are too many to begin with, and too few to end with."""

    def exactly(picks, count):
        return [Picked(np.linspace(0.5, 1, picks, dtype=np.float32), 0.0)] * count

    micrographs = exactly(100, REFERENCE) + exactly(70, WINDOW)
    assert kinds(look(micrographs)) == []
    assert kinds(look(micrographs, active={"fewer_picks"})) == ["fewer_picks"]
    assert kinds(look(micrographs, active={"more_masked"})) == []
    assert kinds(look(exactly(100, REFERENCE + WINDOW), active={"fewer_picks"})) == []
